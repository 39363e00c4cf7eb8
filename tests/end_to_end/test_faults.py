"""What goes wrong costs one step: a clear message, the right exit code, and everything earlier left whole."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from converter.files import hash_path
from converter.publishing.manifest import read_manifest
from tests.end_to_end.conftest import Exported, linked, mcconvert, own_bytes

BASE = ("--weights", "seeded", "--tower", "image")


def test_a_third_party_package_exports_and_is_proven(exported: Exported, plugin: Path, tmp_path: Path) -> None:
    """A stage, a runtime and a target YAML from another installed package work like built-in ones."""
    listed = mcconvert("targets", "--json", cache=exported.cache, path=plugin)
    ran = mcconvert(*BASE, "--target", "gzipped", "--out", tmp_path, cache=exported.cache, path=plugin)

    (entry,) = read_manifest(tmp_path / "mobileclip_s1").artifacts
    assert "gzipped" in json.loads(listed.out)
    assert ran.code == 0, ran.err
    assert (entry.target, entry.status) == ("gzipped", "PASSED")
    assert entry.parity is not None
    assert entry.parity.outputs[0].centred_cosine_min > 0.99999


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("abort", "crashed natively (SIGABRT)"),
        ("raise", "RuntimeError: op Erf is not supported"),
        ("half", "image/misbehaving/misbehaving"),
        ("exit", "exit code 0 and left no result"),
        ("foreign", "wrote no such file into its folder"),
        ("full", "no space left on the disk"),
        ("hang", "stopped after"),
        ("hog", "GiB of memory"),
    ],
)
def test_a_misbehaving_converter_costs_one_step(
    exported: Exported, plugin: Path, tmp_path: Path, how: str, message: str
) -> None:
    """Exit code 5, the step and its log are named, and the healthy rows of the same run are written."""
    ran = mcconvert(
        *BASE, "--target", "misbehaving", "--target", "onnx", "--out", tmp_path,
        "--set", f"misbehaving.misbehaving.options.how={how}", "--set", "limits.minutes=0.3",
        "--set", "limits.memory_gib=2", cache=exported.cache, path=plugin,
    )  # fmt: skip

    listed = {entry.step_id for entry in read_manifest(tmp_path / "mobileclip_s1").artifacts}
    log = tmp_path / "mobileclip_s1" / "logs" / "image.misbehaving.misbehaving.log"
    assert ran.code == 5
    assert message in ran.out
    assert "Traceback" not in ran.out + ran.err
    rows = ("fp32", "fp32_dynamic", "fp16", "fp16_dynamic", "int8_weights", "int8_dynamic", "int8")
    assert listed == {f"image/onnx/{row}" for row in rows}
    assert "a converter's own noise" in log.read_text()
    assert str(log) in ran.out
    assert not list((tmp_path / "mobileclip_s1").glob("misbehaving/*"))


def test_a_failed_rerun_leaves_the_earlier_artifact_whole(exported: Exported, plugin: Path, tmp_path: Path) -> None:
    """An error after a good run keeps the good file and its entry."""
    good = mcconvert(*BASE, "--target", "gzipped", "--out", tmp_path, cache=exported.cache, path=plugin)
    file = tmp_path / "mobileclip_s1" / "gzipped" / "image_fp32.onnx.gz"
    before = hash_path(file)

    bad = mcconvert(
        *BASE, "--target", "gzipped", "--out", tmp_path, "--set", "gzipped.fp32.stage=to_misbehaving",
        "--set", "gzipped.fp32.options={how: abort}", cache=exported.cache, path=plugin,
    )  # fmt: skip

    assert (good.code, bad.code) == (0, 5)
    assert hash_path(file) == before
    assert [entry.sha256 for entry in read_manifest(tmp_path / "mobileclip_s1").artifacts] == [before[0]]


def _heed_ctrl_c() -> None:
    """A shell starts what it puts into the background deaf to Ctrl-C, and these tests may be started so."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_ctrl_c_stops_the_step_and_the_next_run_goes_on(exported: Exported, plugin: Path, tmp_path: Path) -> None:
    """130, no process left, no half file, and a folder that the next run can use."""
    environment = os.environ | {"MCCONVERT_CACHE": str(exported.cache), "PYTHONPATH": str(plugin)}
    command = [
        str(Path(sys.executable).with_name("mcconvert")), *BASE, "--target", "misbehaving", "--out", str(tmp_path),
        "--set", "misbehaving.misbehaving.options.how=hang",
    ]  # fmt: skip
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=_heed_ctrl_c,
    )  # fmt: skip
    log = tmp_path / "mobileclip_s1" / "logs" / "image.misbehaving.misbehaving.log"
    _wait_for(lambda: log.exists() and "noise" in log.read_text())

    second = mcconvert(*BASE, "--target", "onnx", "--out", tmp_path, cache=exported.cache)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    third = mcconvert(*BASE, "--target", "onnx", "--out", tmp_path, cache=exported.cache)

    assert second.code == 2
    assert f"another run (process {process.pid}) is writing to" in second.err
    assert process.returncode == 130
    assert "interrupted" in err
    assert not _alive("misbehaving")
    assert third.code == 0, third.err


def test_a_killed_run_takes_its_steps_along_and_loses_only_them(
    exported: Exported, plugin: Path, tmp_path: Path
) -> None:
    """SIGKILL of the run: its step dies too, finished steps stay, the next run ends well."""
    environment = os.environ | {"MCCONVERT_CACHE": str(exported.cache), "PYTHONPATH": str(plugin)}
    command = [
        str(Path(sys.executable).with_name("mcconvert")), *BASE, "--target", "misbehaving", "--out", str(tmp_path),
        "--set", "misbehaving.misbehaving.options.how=hang",
    ]  # fmt: skip
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    log = tmp_path / "mobileclip_s1" / "logs" / "image.misbehaving.misbehaving.log"
    _wait_for(lambda: log.exists() and "noise" in log.read_text())

    process.kill()
    process.wait()
    _wait_for(lambda: not _alive(str(exported.cache)))
    again = mcconvert(*BASE, "--target", "gzipped", "--out", tmp_path, "--json", cache=exported.cache, path=plugin)

    results = {one["step_id"]: one for one in json.loads(again.out)}
    assert again.code == 0
    assert results["image/onnx/fp32"]["action"] == "reuse"


def test_a_foreign_checkpoint_is_refused_by_what_it_is(tmp_path: Path, exported: Exported) -> None:
    """Truncated, foreign, with code in it, of another model: exit code 4 and the reason; no code is run."""
    import torch

    proof = tmp_path / "ran"

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {proof}",)

    (tmp_path / "bomb.pt").write_bytes(pickle.dumps(Bomb()))
    torch.save({"x": Bomb()}, tmp_path / "bomb_in_zip.pt")
    (tmp_path / "noise.safetensors").write_bytes(os.urandom(4096))
    torch.save({"visual.some": torch.zeros(3)}, tmp_path / "other.pt")
    whole = (tmp_path / "other.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])

    for name in ("bomb.pt", "bomb_in_zip.pt", "noise.safetensors", "other.pt", "cut.pt", "absent.pt"):
        ran = mcconvert(
            "--weights", tmp_path / name, "--target", "onnx", "--quant", "fp32", "--tower", "image", "--out",
            tmp_path / "out", cache=tmp_path / "cache",
        )  # fmt: skip
        assert ran.code == 4, (name, ran.out, ran.err)
        assert name.partition(".")[0] in ran.out + ran.err
        assert "Traceback" not in ran.out + ran.err
    assert not proof.exists()


def test_a_really_full_disk_is_named_and_costs_one_step(exported: Exported, plugin: Path, tmp_path: Path) -> None:
    """On a small file system that a converter fills: exit 5, the disk is named, what was there stays whole."""
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=500m", "tmpfs", str(small)], check=False).returncode:
        pytest.skip("a small file system cannot be mounted here: run as root on Linux")
    try:
        for name in ("image.pt", "image_fp32.onnx"):
            for artifact in (exported.cache / "steps").glob(f"*/{name}"):
                shutil.copytree(artifact.parent, small / "cache" / "steps" / artifact.parent.name)
        arguments = (*BASE, "--target", "misbehaving", "--set", "misbehaving.misbehaving.options.how=fill")

        ran = mcconvert(*arguments, "--out", tmp_path / "out", cache=small / "cache", path=plugin)
        left = shutil.disk_usage(small).free
        again = mcconvert(*BASE, "--target", "onnx", "--quant", "fp32", "--tower", "image", "--dry-run", "--json",
                          cache=small / "cache")  # fmt: skip
    finally:
        subprocess.run(["umount", str(small)], check=True)

    plan = {one["step"]["id"]: one["action"] for one in json.loads(again.out)}
    assert ran.code == 5, ran.out
    assert f"the disk below {small / 'cache'} is full" in ran.out
    assert left > 50e6
    assert plan["image/onnx/fp32"] == "reuse"


def test_a_missing_extra_is_one_line_with_its_command(tmp_path: Path, exported: Exported, plugin: Path) -> None:
    """A distribution that is not installed ends with 3 and the pip command, before anything runs."""
    site = Path(shutil.copytree(plugin, tmp_path / "site"))
    stage = site / "mcconvert_gzipped_onnx" / "stage.py"
    stage.write_text(stage.read_text().replace('REQUIRES = ("onnxruntime",)', 'REQUIRES = ("no-such-library",)'))

    ran = mcconvert(*BASE, "--target", "gzipped", "--out", tmp_path / "out", cache=exported.cache, path=site)

    assert ran.code == 3
    assert ran.err.strip() == "mcconvert: gzipped needs no-such-library: pip install 'mcconvert[onnx]'"


def test_a_corrupted_cache_entry_is_made_anew(exported: Exported, tmp_path: Path) -> None:
    """A byte flipped in the cache is noticed, said, and mended."""
    cache = linked(exported.cache, tmp_path / "cache")
    ran = mcconvert(*BASE, "--target", "onnx", "--quant", "fp16", "--out", tmp_path / "o", "--json", cache=cache)
    sha256 = next(one["artifact"]["sha256"] for one in json.loads(ran.out) if one["step_id"] == "image/onnx/fp16")
    entry = next(path for path in (cache / "steps").glob("*/image_fp16.onnx") if hash_path(path)[0] == sha256)
    data = own_bytes(entry)
    data[len(data) // 2] ^= 1
    entry.write_bytes(data)

    again = mcconvert(*BASE, "--target", "onnx", "--quant", "fp16", "--out", tmp_path / "o", "--json", cache=cache)

    result = next(one for one in json.loads(again.out) if one["step_id"] == "image/onnx/fp16")
    assert (result["action"], result["reason"]) == ("run", "its files in the cache were changed or cut off")
    assert result["artifact"]["sha256"] == sha256
    assert hash_path(tmp_path / "o" / "mobileclip_s1" / "onnx" / "image_fp16.onnx")[0] == sha256


def _wait_for(condition: object, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():  # type: ignore[operator]
            return
        time.sleep(0.1)
    pytest.fail("waited too long")


def _alive(word: str) -> bool:
    """Whether a worker process whose command line holds the word is running."""
    import psutil

    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if "converter.pipeline.worker" in line and word in line:
            return True
    return False
