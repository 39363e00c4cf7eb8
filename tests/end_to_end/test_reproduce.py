"""Two exports of the small trained model, in different surroundings, hold the same bytes; a changed one is noticed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from converter.bench import reproduce
from converter.errors import ConversionError, ParityError
from converter.publishing.manifest import read_manifest

ROWS = (
    "--model", "mobileclip_nano", "--tower", "image", "--target", "torchscript", "--target", "onnx",
    "--target", "coreml", "--quant", "fp32_lite", "--quant", "static_w8a8",
)  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One model, exported with 2 threads and with 1, in two folders. Tests must not change them."""
    scratch = tmp_path_factory.mktemp("reproduce")
    bases = [scratch / run.folder for run in reproduce.RUNS]
    for base in bases:
        base.mkdir(parents=True)
    first, second = (
        reproduce.export(reproduce.ROOT, base, run, ROWS) for base, run in zip(bases, reproduce.RUNS, strict=True)
    )
    return first, second


def test_two_exports_hold_the_same_bytes(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Folder, cache, home, time zone, umask, jobs and threads leave no trace in any file of a release."""
    code = reproduce.report(*folders)
    last = capsys.readouterr().out.splitlines()[-1]

    formats = {entry.format for entry in read_manifest(folders[0]).artifacts}
    assert {"torchscript_lite", "onnx", "coreml"} <= formats
    assert last == "files compared: 6, identical: 6, different: 0"
    assert code == 0


def test_one_changed_byte_is_named(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 6, the file and the place inside it, and a count that says 1."""
    broken = Path(shutil.copytree(folders[1], tmp_path / "broken"))
    weights = next(broken.rglob("weight.bin"))
    content = bytearray(weights.read_bytes())
    content[1000] ^= 1
    weights.write_bytes(content)

    code = reproduce.report(folders[0], broken)

    printed = capsys.readouterr().out
    assert code == ParityError.exit_code
    assert "weights/weight.bin: byte 1000 is the first to differ (1 do)" in printed
    assert printed.splitlines()[-1] == "files compared: 6, identical: 5, different: 1"


def test_a_file_that_one_run_did_not_make_is_a_difference(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """What is there once cannot be equal."""
    broken = Path(shutil.copytree(folders[1], tmp_path / "broken"))
    (broken / "reference" / "image_samples.npz").unlink()

    differing = [one for one in reproduce.compare_folders(folders[0], broken) if one.difference]

    assert [(one.path, one.difference) for one in differing] == [("reference/image_samples.npz", reproduce.MISSING)]


def test_an_export_that_fails_is_no_comparison(tmp_path: Path) -> None:
    """The command's own words are in the error."""
    with pytest.raises(ConversionError, match="ended with 2"):
        reproduce.export(reproduce.ROOT, tmp_path, reproduce.RUNS[0], ["--model", f"no_such_model_{os.getpid()}"])


def test_a_folder_without_source_is_refused(tmp_path: Path) -> None:
    """There the installed package would run, twice the same one, and the comparison would prove nothing."""
    with pytest.raises(ConversionError, match="not its own source"):
        reproduce.export(tmp_path, tmp_path, reproduce.RUNS[0], ())
