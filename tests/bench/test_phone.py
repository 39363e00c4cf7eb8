"""A phone over adb: its output read, its refusals in words. The phone is a program of ours that answers as adb does."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from converter.bench.adb import Phone
from converter.bench.benchmark_model import read_output
from converter.errors import ConversionError, MissingDependencyError, UsageError
from converter.manifest import ManifestEntry
from tests.advice.made_up import entry, write_folder
from tests.bench.phone_outputs import FAILS, NEW, OLD
from tests.inference.conftest import Used, use

FAKE_ADB = f'''#!{sys.executable}
"""Answers as adb and the shell of a phone do, from a folder that stands for the phone."""
import json, os, sys, pathlib, hashlib, shutil, random
home = pathlib.Path(os.environ["FAKE_PHONE"])
facts = json.loads((home / "facts.json").read_text())
with (home / "calls.txt").open("a") as log:
    log.write(json.dumps(sys.argv[1:]) + "\\n")
words = sys.argv[1:]
if words == ["devices"]:
    print("List of devices attached")
    for serial, state in facts["devices"].items():
        print(f"{{serial}}\\t{{state}}")
    sys.exit(0)
assert words[0] == "-s", words
words = words[2:]
place = lambda path: home / "root" / path.lstrip("/")
if words[0] == "push":
    if facts.get("full"):
        print("adb: error: failed to copy: remote No space left on device"); sys.exit(1)
    place(words[2]).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(words[1], place(words[2])); sys.exit(0)
assert words[0] == "shell", words
command = words[1:]
if command[0] == "getprop":
    print(facts["props"].get(command[1], ""))
elif command[0] == "nproc":
    print(8)
elif command == ["cat", "/proc/meminfo"]:
    print("MemTotal:        7654321 kB\\nMemFree: 1 kB")
elif command == ["cat", "/proc/cpuinfo"]:
    print("processor : 0\\nFeatures\\t: fp asimd asimddp i8mm")
elif command[0] == "mkdir":
    place(command[1]).mkdir(parents=True)
elif command[0] == "rm":
    shutil.rmtree(place(command[2]))
elif command[0] == "chmod":
    pass
elif command[0].endswith("/benchmark_model"):
    assert place(command[0]).is_file()
    if facts.get("binary"):
        print(facts["binary"]); sys.exit(126)
    graph = next(word.split("=")[1] for word in command if word.startswith("--graph="))
    digest = hashlib.sha256(place(graph).read_bytes()).hexdigest()
    us = facts["us"][digest] * random.uniform(0.99, 1.01)
    if us < 0:
        print(facts["fails"]); sys.exit(1)
    print(facts["output"].replace("41350", str(us)).replace("42000", str(1.1 * us)))
else:
    print(f"/system/bin/sh: {{command[0]}}: not found"); sys.exit(127)
'''


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for a phone, and an adb on PATH that reaches it."""
    home, tools = tmp_path / "phone", tmp_path / "tools"
    home.mkdir()
    tools.mkdir()
    (tools / "adb").write_text(FAKE_ADB)
    (tools / "adb").chmod(0o755)
    (tmp_path / "benchmark_model").write_text("stands for the official binary")
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_PHONE", str(home))
    monkeypatch.setattr("converter.bench.phone.COOL_SECONDS", 0.0)
    _set(home)
    return home


@pytest.fixture
def files(tmp_path: Path) -> list[ManifestEntry]:
    """Two TFLite files and an ONNX file."""
    made = [entry(tmp_path / "model", "image/tflite/fp32", "tflite", 2000),
            entry(tmp_path / "model", "image/tflite/int8", "tflite", 1000),
            entry(tmp_path / "model", "image/onnx/fp32", "onnx")]  # fmt: skip
    write_folder(tmp_path / "model", made)
    return made


def test_the_output_is_read() -> None:
    """Of the measured runs, not of the warm-up; microseconds and MB become milliseconds and bytes."""
    found = read_output(NEW)

    assert (found.median_ms, found.p95_ms, found.load_ms, found.calls) == (41.35, 42.0, 12.345, 50)
    assert found.peak_bytes == int(25.25 * 2**20)
    assert found.exact


def test_an_older_tool_gives_means_and_says_so() -> None:
    """No median and no p95: the mean and the maximum stand in their place, marked; no memory is none."""
    found = read_output(OLD)

    assert (found.median_ms, found.p95_ms, found.peak_bytes, found.exact) == (41.4, 43.21, None, False)


@pytest.mark.parametrize(
    ("text", "words"),
    [(FAILS, "Registration failed"), ("", "printed nothing"), (NEW.replace("median=41350", "median=0"), "took 0")],
)
def test_output_without_figures_is_refused(text: str, words: str) -> None:
    """In the tool's own last words; figures that no run can have are none."""
    if words == "took 0":
        text = text.replace("avg=41400", "avg=0").replace("(avg): 41400", "(avg): 0")
    with pytest.raises(ConversionError, match=words):
        read_output(text)


def test_a_phone_is_measured(phone: Path, files: list[ManifestEntry], tmp_path: Path) -> None:
    """Each TFLite file in every round, the phone named, nothing left on it; advice then rests on the phone."""
    _set(phone, us={files[0].sha256: 30000, files[1].sha256: 12000})

    used = _bench(tmp_path, "--json")

    assert used.code == 0, used.err
    run = json.loads(used.out)["run"]
    rows = {row["step_id"]: row for row in run["rows"]}
    assert rows["image/tflite/fp32"]["latency_ms"]["median"] == pytest.approx(30.0, rel=0.02)
    assert rows["image/tflite/int8"]["latency_ms"]["median"] == pytest.approx(12.0, rel=0.02)
    assert len(rows["image/tflite/fp32"]["rounds_ms"]) == 4
    assert rows["image/onnx/fp32"]["why_not"] == "benchmark_model runs TFLite files only"
    assert run["machine"]["name"] == "Maker Model 8 over adb"
    assert run["machine"]["system"] == "Android 14 arm64-v8a"
    assert run["machine"]["instructions"] == ["asimddp", "i8mm"]
    assert list((phone / "root/data/local/tmp").iterdir()) == []
    advice = json.loads(use("advise", tmp_path / "model", "--for", "android", "--json").out)
    assert advice["towers"][0]["winner"]["step_id"] == "image/tflite/int8"
    assert advice["towers"][0]["basis"]["kind"] == "own"


def test_a_file_that_the_phone_cannot_run_costs_its_row(
    phone: Path, files: list[ManifestEntry], tmp_path: Path
) -> None:
    """The tool's words are the row's reason; the other file is measured."""
    _set(phone, us={files[0].sha256: -1, files[1].sha256: 12000})

    rows = {row["step_id"]: row for row in json.loads(_bench(tmp_path, "--json").out)["run"]["rows"]}

    assert "Registration failed" in rows["image/tflite/fp32"]["why_not"]
    assert rows["image/tflite/int8"]["latency_ms"]


@pytest.mark.parametrize(
    ("facts", "arguments", "words"),
    [
        ({"devices": {}}, (), "adb sees no device"),
        ({"devices": {"A1": "unauthorized"}}, (), "accept this computer"),
        ({"devices": {"A1": "no permissions (user in plugdev group; are your udev rules wrong?)"}}, (), "udev"),
        ({"devices": {"A1": "device", "B2": "device"}}, (), "name one: --adb A1"),
        ({"devices": {"A1": "device"}}, ("--adb", "C3"), "no device C3; it sees A1"),
    ],
)
def test_a_phone_that_cannot_be_reached_is_said(
    phone: Path, files: list[ManifestEntry], tmp_path: Path, facts: dict[str, Any], arguments: tuple[str, ...],
    words: str,
) -> None:  # fmt: skip
    """Exit code 2, what adb saw, and what to do."""
    _set(phone, **facts)

    used = _bench(tmp_path, *arguments)

    assert used.code == UsageError.exit_code
    assert words in used.err


@pytest.mark.parametrize(
    ("facts", "words"),
    [({"full": True}, "No space left"), ({"binary": "benchmark_model: not executable: 64-bit ELF file"}, "64-bit ELF")],
)
def test_what_the_phone_refuses_is_said(
    phone: Path, files: list[ManifestEntry], tmp_path: Path, facts: dict[str, Any], words: str
) -> None:
    """In the phone's words, as a refusal or as every row's reason; the folder there is removed all the same."""
    _set(phone, us={files[0].sha256: 1000, files[1].sha256: 1000}, **facts)

    used = _bench(tmp_path)

    assert words in used.err + used.out
    assert list((phone / "root/data/local/tmp").iterdir()) == []


def test_without_adb_or_binary(files: list[ManifestEntry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 3 with the package; exit code 2 without the binary."""
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "benchmark_model").write_text("")

    assert _bench(tmp_path).code == MissingDependencyError.exit_code
    assert use("bench", tmp_path / "model", "--adb", "auto").code == UsageError.exit_code


def test_nothing_but_plain_words_reaches_the_phones_shell() -> None:
    """A word that a shell would read as more than a word is refused before adb is called."""
    with pytest.raises(ValueError, match="not plain enough"):
        Phone(serial="A1", adb="/nonexistent").shell("rm", "-r", "/data/local/tmp/x; reboot")


def _bench(tmp_path: Path, *arguments: str) -> Used:
    default = () if "--adb" in arguments else ("--adb", "auto")
    return use("bench", tmp_path / "model", "--rounds", "4", "--benchmark-binary", tmp_path / "benchmark_model",
               *default, *arguments)  # fmt: skip


def _set(home: Path, us: Mapping[str, float] | None = None, **facts: Any) -> None:
    props = {"ro.product.manufacturer": "Maker", "ro.product.model": "Model 8", "ro.soc.model": "Chip 3",
             "ro.build.version.release": "14", "ro.product.cpu.abi": "arm64-v8a"}  # fmt: skip
    known = {"devices": {"A1": "device"}, "props": props, "us": us or {}, "output": NEW, "fails": FAILS}
    (home / "facts.json").write_text(json.dumps(known | facts))
