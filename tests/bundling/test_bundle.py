"""A bundle is whole, made of proven files only, and is never written over someone's work."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from pathlib import Path

import pytest

from converter.bundled import PREPROCESSING
from tests.bundling.conftest import made, rewrite
from tests.inference.conftest import use


def test_everything_is_in_sha256sums(bundles: dict[str, Path]) -> None:
    """Every file of a bundle is listed with the hash that it has; nothing else is."""
    bundle = bundles["python"]
    lines = (bundle / "SHA256SUMS").read_text().splitlines()
    listed = {path: sha256 for sha256, _, path in (line.partition("  ") for line in lines)}
    found = {
        path.relative_to(bundle).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in bundle.rglob("*")
        if path.is_file() and path.name not in ("SHA256SUMS", ".mcconvert")
    }

    assert listed == found


def test_verify_judges_the_files_of_a_bundle(bundles: dict[str, Path]) -> None:
    """The reduced manifest names two files, and both are still the model."""
    done = use("verify", bundles["server"], "--json")

    results = json.loads(done.out)
    assert done.code == 0
    assert sorted((one["step_id"], one["status"]) for one in results) == [
        ("image/onnx/fp32_dynamic", "PASSED"),
        ("text/onnx/fp32_dynamic", "PASSED"),
    ]


def test_verify_sees_a_changed_byte_in_a_bundle(bundles: dict[str, Path], tmp_path: Path) -> None:
    """The twin: one byte of the image file is another."""
    bundle = Path(shutil.copytree(bundles["python"], tmp_path / "changed"))
    _flip(bundle / "onnx/image_fp32.onnx")

    done = use("verify", bundle, "--hashes-only")

    assert done.code == 6


def test_readme_says_how_it_runs_and_what_was_proven(bundles: dict[str, Path]) -> None:
    """Commands, figures of the manifest, checks of the sample, licence."""
    page = (bundles["web"] / "README.md").read_text()

    assert "npm install --prefix sample\nnpm start --prefix sample" in page
    assert "| `onnx/image_fp32.onnx` | 2.1 MB | fp32 | 1.000000 / 1.000000 |" in page
    assert "Chromium" in page
    assert "## Licence" in page
    assert "not trained" not in page


def test_changed_bytes_are_refused(folder: Path, tmp_path: Path) -> None:
    """A file that is not the proven one is not handed over, and nothing is written."""
    _flip(folder / "onnx/image_fp32.onnx")

    done = made(folder, "python", tmp_path / "out")

    assert done.code == 6
    assert "image_fp32.onnx: its sha256 is" in done.err
    assert not (tmp_path / "out").exists()


def test_changed_reference_is_refused(folder: Path, tmp_path: Path) -> None:
    """What the sample is tested against must be the export's own."""
    _flip(folder / "reference/text.pt")

    assert made(folder, "python", tmp_path / "out").code == 6


def test_a_file_that_failed_is_refused(folder: Path, tmp_path: Path) -> None:
    """Named or not, only files that PASSED leave."""
    rewrite(folder / "manifest.json", lambda facts: _fail(facts, "image/onnx/fp32"))

    named = made(folder, "python", tmp_path / "out", "--image", "onnx/fp32")
    default = made(folder, "python", tmp_path / "out")

    assert (named.code, "only files that PASSED" in named.err) == (7, True)
    assert default.code == 0
    assert json.loads((tmp_path / "out" / PREPROCESSING).read_text())["image"]["file"] == "onnx/image_fp32_dynamic.onnx"


def test_a_verdict_that_its_figures_contradict_is_refused(folder: Path, tmp_path: Path) -> None:
    """PASSED in the manifest is believed only when the figures, judged again, say so."""

    def spoil(facts: dict[str, object]) -> None:
        (entry,) = [one for one in facts["artifacts"] if one["step_id"] == "image/onnx/fp32"]  # type: ignore[attr-defined]
        entry["parity"]["outputs"][0]["centred_cosine_min"] = 0.5

    rewrite(folder / "manifest.json", spoil)

    done = made(folder, "python", tmp_path / "out")

    assert (done.code, "its figures do not" in done.err) == (7, True)


def test_a_platform_without_its_format_is_refused(folder: Path, tmp_path: Path) -> None:
    """There is no Core ML file in this export; the message says how to make one."""
    done = made(folder, "ios", tmp_path / "out")

    assert done.code == 7
    assert "mcconvert --target coreml" in done.err


@pytest.mark.parametrize("row", ["onnx/fp61", "torchscript/fp32"])
def test_rows_that_are_not_there_are_named(folder: Path, tmp_path: Path, row: str) -> None:
    """A slip gives the rows that there are."""
    done = made(folder, "web", tmp_path / "out", "--image", row)

    assert (done.code, "onnx/fp32" in done.err) == (2, True)


def test_a_folder_of_someone_else_stays_as_it_is(nano: Path, tmp_path: Path) -> None:
    """Not ours: refused, and not a byte of it changes."""
    theirs = tmp_path / "app"
    theirs.mkdir()
    (theirs / "main.js").write_text("mine")

    done = made(nano, "web", theirs)

    assert (done.code, "left as it is" in done.err) == (2, True)
    assert [path.name for path in theirs.iterdir()] == ["main.js"]


def test_a_bundle_in_which_somebody_works_stays_as_it_is(bundles: dict[str, Path], nano: Path, tmp_path: Path) -> None:
    """A bundle of ours gives way to a new one only as long as nobody changed it."""
    bundle = Path(shutil.copytree(bundles["python"], tmp_path / "bundle"))

    untouched = made(nano, "python", bundle)
    (bundle / "sample/sample.py").write_text("print('mine')")
    touched = made(nano, "python", bundle)

    assert untouched.code == 0
    assert (touched.code, "sample/sample.py" in touched.err) == (2, True)
    assert (bundle / "sample/sample.py").read_text() == "print('mine')"


def test_untrained_weights_are_called_so_loudly(folder: Path, tmp_path: Path) -> None:
    """A bundle of untrained weights is made; console and README say what it is not good for."""
    rewrite(folder / "manifest.json", lambda facts: facts["model"].update(trained=False))

    done = made(folder, "python", tmp_path / "out")

    assert (done.code, "NOT TRAINED" in done.err) == (0, True)
    assert "**The weights are not trained.**" in (tmp_path / "out/README.md").read_text()


def test_a_text_file_without_a_tokenizer_is_refused(folder: Path, tmp_path: Path) -> None:
    """Nobody could feed it; the image tower alone is handed over."""
    rewrite(folder / "manifest.json", lambda facts: facts["model"].update(tokenizer=None))

    both = made(folder, "python", tmp_path / "both")
    image = made(folder, "python", tmp_path / "image", "--tower", "image")

    assert (both.code, "names no tokenizer" in both.err) == (7, True)
    assert image.code == 0


def test_an_archive_is_never_replaced(nano: Path, tmp_path: Path) -> None:
    """Something of that name is there: refused before anything is run."""
    (tmp_path / "web.zip").write_text("mine")

    done = made(nano, "web", tmp_path / "web", "--archive", "zip")

    assert (done.code, "is there already" in done.err) == (2, True)
    assert (tmp_path / "web.zip").read_text() == "mine"


def test_one_tower_in_an_archive_without_reference(nano: Path, tmp_path: Path) -> None:
    """The smallest bundle: no text file, no tokenizer, no reference; twice the same bytes."""
    for name in ("one", "two"):
        done = made(nano, "web", tmp_path / name / "web", "--tower", "image", "--without-reference", "--archive", "zip")
        assert done.code == 0, done.err

    first, second = (tmp_path / name / "web.zip" for name in ("one", "two"))
    names = zipfile.ZipFile(first).namelist()
    assert first.read_bytes() == second.read_bytes()
    assert {"web/onnx/image_fp32.onnx", "web/manifest.json", "web/SHA256SUMS"} <= set(names)
    assert not [name for name in names if "reference" in name or "tokenizer.json" in name or "text" in name]


def _flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.unlink()  # it may be a hard link into the cache
    file.write_bytes(data)


def _fail(facts: dict[str, object], step: str) -> None:
    for entry in facts["artifacts"]:  # type: ignore[attr-defined]
        if entry["step_id"] == step:
            entry.update(status="FAILED", failures=["centred_cosine_min 0.5 is below 0.99999"])
