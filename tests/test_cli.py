"""The command line: what it refuses, in which words, with which exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def run(*arguments: str, out: Path, environment: dict[str, str] | None = None) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of the installed command."""
    command = [str(Path(sys.executable).with_name("mcconvert")), *arguments]
    env = os.environ | {"MCCONVERT_CACHE": str(out / "cache")} | (environment or {})
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=env, cwd=out)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--model", "mobilclip_s1"], 2, "did you mean 'mobileclip_s1'?"),
        (["--target", "tflight"], 2, "did you mean 'tflite'?"),
        (["--quant", "int9"], 2, "did you mean 'int8'?"),
        (["--target", "torchscript", "--quant", "int8"], 2, "no target has that precision"),
        (["--tower", "sound"], 2, "'sound' is not one of"),
        (["--set", "onnx.fp32.options.opsett=17"], 2, "did you mean 'opset'?"),
        (["--set", "onnx.fp32.stage=to_onix"], 2, "did you mean 'to_onnx'?"),
        (["--set", "onnx.fp32.parent=onnx/fp16"], 2, "is a circle of parents"),
        (["--set", "onnx.fp32.file=../{tower}.onnx"], 2, "expected a plain file name"),
        (["--config", "absent.yaml"], 2, "does not exist"),
        (["--weights", "absent.pt"], 4, "absent.pt"),
        (["--images", "absent"], 2, "does not exist"),
        (["exprot"], 2, "No such command"),
        (["verify", "."], 2, "manifest.json"),
    ],
)
def test_mistakes_get_one_clear_message(tmp_path: Path, arguments: list[str], code: int, words: str) -> None:
    """The message names what was wrong and offers the nearest; there is no traceback."""
    weights = [] if "--weights" in arguments or "verify" in arguments else ["--weights", "seeded"]

    got, _, err = run(*weights, *arguments, out=tmp_path)

    assert got == code, err
    assert words in err
    assert "Traceback" not in err


def test_help_teaches_with_examples(tmp_path: Path) -> None:
    """Help shows commands that can be typed as they are."""
    code, out, _ = run("--help", out=tmp_path)

    assert code == 0
    assert "mcconvert --target tflite --quant int8" in out


def test_plan_runs_nothing_and_gives_reasons(tmp_path: Path) -> None:
    """Each step has an action and a reason; no folder appears."""
    code, out, _ = run("plan", "--weights", "seeded", "--json", out=tmp_path)

    plan = json.loads(out)
    assert code == 0
    assert len(plan) == 40
    assert all(one["action"] == "run" and one["reason"] for one in plan)
    assert not (tmp_path / "artifacts").exists()


def test_a_manifest_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    """The next export replaces it, and with it what it knew of other rows."""
    manifest = tmp_path / "artifacts" / "mobileclip_s1" / "manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text("{")

    code, _, err = run("plan", "--weights", "seeded", "--target", "onnx", out=tmp_path)

    assert code == 0
    assert f"{manifest}: not a manifest" in err
    assert "an export writes a new one" in err


def test_dry_run_is_the_plan(tmp_path: Path) -> None:
    """--dry-run prints what plan prints."""
    plan = run("plan", "--weights", "seeded", "--target", "onnx", out=tmp_path)
    dry = run("--dry-run", "--weights", "seeded", "--target", "onnx", out=tmp_path)

    assert plan[:2] == dry[:2]


@pytest.mark.parametrize("command", ["models", "targets", "doctor"])
def test_listings_read_as_json(tmp_path: Path, command: str) -> None:
    """Listings are for programs too."""
    code, out, err = run(command, "--json", out=tmp_path)

    assert code == 0, err
    assert json.loads(out)


@pytest.mark.parametrize(("command", "word"), [("models", "mobileclip_s0"), ("targets", "int8_dynamic")])
def test_lists_are_tables_for_people(tmp_path: Path, command: str, word: str) -> None:
    """Without --json the same is printed as a table, on standard output."""
    code, out, _ = run(command, out=tmp_path)

    assert code == 0
    assert word in out
    assert "━" in out


def test_models_filters_by_word(tmp_path: Path) -> None:
    """`mcconvert models s1` shows the models whose name holds the word."""
    _, out, _ = run("models", "mobileclip2", "--json", out=tmp_path)

    assert {one["name"].partition("_")[0] for one in json.loads(out)} == {"mobileclip2"}


@pytest.mark.parametrize(
    ("words", "expected"), [("--model mobileclip2", "mobileclip2_s0"), ("--quant sta", "static_w8a8")]
)
def test_tab_completion_offers_names(tmp_path: Path, words: str, expected: str) -> None:
    """The shell completes models and precisions from the YAML files."""
    environment = {
        "_MCCONVERT_COMPLETE": "bash_complete",
        "COMP_WORDS": f"mcconvert {words}",
        "COMP_CWORD": "2",
    }

    _, out, _ = run(out=tmp_path, environment=environment)

    assert expected in out


def test_completion_script_is_printed(tmp_path: Path) -> None:
    """`eval "$(mcconvert completion bash)"` has something to evaluate."""
    code, out, _ = run("completion", "bash", out=tmp_path)

    assert code == 0
    assert "_MCCONVERT_COMPLETE" in out


def test_clean_removes_only_what_is_ours(tmp_path: Path) -> None:
    """A folder without our tag, and a stranger's file in one with it, stay."""
    ours = tmp_path / "artifacts" / "model"
    ours.mkdir(parents=True)
    (ours / ".mcconvert").write_text("")
    (ours / "logs").mkdir()
    documents = [ours / name for name in ("sbom.cdx.json", "provenance.json", "SHA256SUMS")]
    for document in documents:
        document.write_text("")
    (ours / "mine.txt").write_text("keep me")
    stranger = tmp_path / "artifacts" / "other" / "logs"
    stranger.mkdir(parents=True)

    code, _, _ = run("clean", "--yes", out=tmp_path)

    assert code == 0
    assert (ours / "mine.txt").exists()
    assert not [path for path in (ours / "logs", *documents) if path.exists()]
    assert stranger.exists()


def test_clean_removes_stored_ranges_with_the_cache(tmp_path: Path) -> None:
    """They are ours where the cache is; a stranger's file beside them stays."""
    cache = tmp_path / "cache"
    (cache / "ranges").mkdir(parents=True)
    (cache / "ranges" / "0.json").write_text("{}")
    (cache / ".mcconvert").write_text("")
    (cache / "mine.txt").write_text("keep me")

    code, _, _ = run("clean", "--yes", out=tmp_path)

    assert code == 0
    assert sorted(path.name for path in cache.iterdir()) == ["mine.txt"]


@pytest.mark.parametrize("what", ["out", "cache"])
def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path, what: str) -> None:
    """A file where a folder should be, for results or for the cache: one message with the path, no traceback."""
    (tmp_path / "file").write_text("in the way")
    inside = str(tmp_path / "file" / "inside")
    out = inside if what == "out" else str(tmp_path / "out")
    environment = {"MCCONVERT_CACHE": inside} if what == "cache" else None

    code, _, err = run("--weights", "seeded", "--out", out, out=tmp_path, environment=environment)

    assert code == (2 if what == "out" else 5)
    assert str(tmp_path / "file") in err
    assert "Traceback" not in err


@pytest.mark.parametrize("content", [None, b"\xff\xd8\xff broken"])
def test_image_folders_without_images_are_refused(tmp_path: Path, content: bytes | None) -> None:
    """An empty folder and a broken JPEG end with exit code 2 and name what they are."""
    folder = tmp_path / "photos"
    folder.mkdir()
    if content is not None:
        (folder / "a.jpg").write_bytes(content)

    code, out, err = run(
        "--weights", "seeded", "--images", str(folder), "--tower", "image", "--target", "torchscript", out=tmp_path
    )

    assert code == 2, out + err
    assert ("a.jpg" if content else "photos") in out + err
    assert "Traceback" not in out + err


@pytest.mark.parametrize("content", ["nothing", "one colour"])
def test_calibration_data_that_sets_no_range_is_refused(tmp_path: Path, content: str) -> None:
    """An archive without a picture, or of blank pages: exit code 2 and what to give instead."""
    import zipfile

    from PIL import Image

    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
        archive.writestr("notes.txt", "no picture")
        if content == "one colour":
            for index in range(9):
                Image.new("RGB", (32, 32), (index, 0, 0)).save(tmp_path / "page.png")
                archive.write(tmp_path / "page.png", f"../{index}.png")

    code, out, err = run(
        "--model", "mobileclip_nano", "--calibration", str(tmp_path / "mine.zip"), "--tower", "image",
        "--target", "torchscript", out=tmp_path,
    )  # fmt: skip

    assert code == 2, out + err
    assert ("no image in" if content == "nothing" else "are of one colour each") in out + err
    assert "Traceback" not in out + err
