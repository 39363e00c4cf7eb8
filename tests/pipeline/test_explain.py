"""`mcconvert explain` finds what a file is, runs it in a process of its own, and says where it parts from PyTorch."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from converter.cli import cli
from converter.config import load_models
from converter.errors import ConversionError, McconvertError, UsageError
from converter.explained import Explanation, Layer, NonFinite
from converter.files import hash_path
from converter.manifest import FileRef, Manifest, ManifestEntry, ManifestReference
from converter.pipeline.explain import choose, find_folder
from converter.publishing.manifest import merge, model_part, read_manifest, write_manifest
from converter.records import Artifact, Tower, Weights
from converter.report.layers import verdict_lines
from converter.runtimes import pytorch
from tests.breaking import break_weight, noisy, weights
from tests.conftest import run_each
from tests.converted import onnx_of

WANTED = "tower.trunk.stages.2.blocks.0.mlp.fc1"


@pytest.fixture(scope="module")
def export(tiny_parents: dict[Tower, Artifact], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of the toy image tower: one ONNX file, its reference, its manifest."""
    folder = tmp_path_factory.mktemp("export") / "toy"
    parent = tiny_parents["image"]
    reference = _reference(folder, parent)
    made = onnx_of(parent, folder / "onnx")
    Path(made.path).rename(folder / "onnx" / "image_fp32.onnx")
    sha256, size_bytes = hash_path(folder / "onnx" / "image_fp32.onnx")
    made = dataclasses.replace(made, path="onnx/image_fp32.onnx", sha256=sha256, size_bytes=size_bytes)
    write_manifest(folder / "manifest.json", _manifest(folder, reference, made))
    return folder


def test_a_healthy_file_holds(export: Path) -> None:
    """Exit code 0, the verdict first, a row for each module."""
    done = _run("explain", export / "onnx" / "image_fp32.onnx", "--samples", 2)

    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("holds all along: ")
    assert "tower.trunk.stages.3.blocks.0.norm" in done.stdout
    assert "taken for image/onnx/fp32 of toy, by its path" in done.stderr
    assert "note:" not in done.stderr


def test_a_broken_copy_from_elsewhere_is_explained(export: Path, tmp_path: Path) -> None:
    """Exit code 6; layer and figures for programs, verdict and table as a picture; changed bytes are no refusal."""
    copy, picture = tmp_path / "broken.image.v2.onnx", tmp_path / "depth.svg"
    break_weight(export / "onnx" / "image_fp32.onnx", copy, f"{WANTED}.weight", noisy(0.5))

    done = _run("explain", copy, "--model", export, "--samples", 2, "--bound", 30, "--json", "--picture", picture)

    told = json.loads(done.stdout)
    assert done.exit_code == 6
    assert (told["bound_db"], told["bound_why"]) == (30.0, "--bound")
    assert told["layers"][told["suspect"]]["module"] == WANTED
    assert told["end_db"] < 60
    assert "taken for image/onnx/fp32 of toy, by its name" in done.stderr
    assert "its bytes are not those that image/onnx/fp32 was judged by" in done.stderr
    assert WANTED in picture.read_text()


def test_a_folder_without_manifest_is_refused(tmp_path: Path) -> None:
    """The message says what to give."""
    (tmp_path / "image_fp32.onnx").write_bytes(b"onnx")

    with pytest.raises(UsageError, match="no manifest.json above .*: give --model"):
        find_folder(tmp_path / "image_fp32.onnx")


def test_folders_are_no_files(export: Path) -> None:
    """Neither the export nor a folder in it; a package of Core ML is a folder too, and a file to people."""
    with pytest.raises(UsageError, match="is a whole export; explain looks into one file of it"):
        find_folder(export)
    with pytest.raises(UsageError, match="is a folder; explain looks into one file"):
        choose(export / "onnx", export, read_manifest(export), None)


@pytest.mark.parametrize(
    ("name", "tower", "message"),
    [
        ("image_fp32.onnx", "text", r"is the image tower's file \(image/onnx/fp32\), --tower says text"),
        ("image_fp32.tflite", None, r"the manifest lists no \.tflite file, only \.onnx"),
        ("absent.onnx", None, "no such file"),
    ],
)
def test_files_that_do_not_fit_are_refused(
    name: str, tower: Tower | None, message: str, export: Path, tmp_path: Path
) -> None:
    """A wrong tower, a format that was not exported, a file that is not there."""
    inside = export / "onnx" / name
    path = inside if inside.exists() else tmp_path / name
    if name == "image_fp32.tflite":
        path.write_bytes(b"")

    with pytest.raises(UsageError, match=message):
        choose(path, export, read_manifest(export), tower)


def test_a_missing_reference_is_refused(export: Path, tmp_path: Path) -> None:
    """Without the PyTorch tower there is nothing to compare with."""
    folder = Path(shutil.copytree(export, tmp_path / "copy"))
    (folder / "reference" / "image.pt").unlink()

    with pytest.raises(UsageError, match=r"reference/image\.pt is missing"):
        choose(folder / "onnx" / "image_fp32.onnx", folder, read_manifest(folder), None)


def test_a_file_that_cannot_be_read_is_refused(export: Path, tmp_path: Path) -> None:
    """The runtime's own words, and no traceback."""
    (tmp_path / "image_fp32.onnx").write_bytes((export / "onnx" / "image_fp32.onnx").read_bytes()[:1000])

    done = _run("explain", tmp_path / "image_fp32.onnx", "--model", export)

    assert isinstance(done.exception, McconvertError)
    assert done.exception.exit_code == ConversionError.exit_code
    assert "not a whole ONNX file" in str(done.exception)


def test_a_lost_number_comes_first_in_the_verdict() -> None:
    """NaN is named with its operation; losses that only add up say so."""
    explained = _explained(
        20.0, in_db=28.0, own_db=50.0, worst_db=18.0, first_below=0, suspect=0,
        nonfinite=NonFinite(name="v", kind="Sqrt", module="tower.norm", sample="a cat", count=3),
    )  # fmt: skip

    lost, parts, worst, *_ = verdict_lines(explained)

    assert lost == "Sqrt 'v' in tower.norm is the first to give NaN or infinity: 3 numbers on a cat"
    assert parts.startswith("parts at tower.fc (product): 28.0 dB in, 20.0 dB out, 50.0 dB by itself (losses add up")
    assert worst == "worst on a cat: 18.0 dB"


def test_values_that_the_file_lacks_are_named() -> None:
    """The first five, and how many more; where all are matched there is no such line."""
    whole = _explained(130.0, in_db=130.0, own_db=130.0, worst_db=130.0)

    said = verdict_lines(dataclasses.replace(whole, unmatched=("a", "b", "c", "d", "e", "f", "g")))

    assert said == [*verdict_lines(whole), "the file has no value for a, b, c, d, e and 2 more"]


def test_breaking_changes_one_weight_and_nothing_else(export: Path, tmp_path: Path) -> None:
    """What the other tests rely on."""
    path = export / "onnx" / "image_fp32.onnx"
    before = weights(path)

    after = weights(break_weight(path, tmp_path / "copy.onnx", f"{WANTED}.weight", noisy(0.5)))

    assert [name for name in before if not np.array_equal(before[name], after[name])] == [f"{WANTED}.weight"]


def _explained(sqnr_db: float, *, in_db: float, own_db: float, worst_db: float, **more: Any) -> Explanation:
    """A float16 file of one layer."""
    layer = Layer(
        module="tower.fc", kind="product", name="fc", candidate="7", candidate_kind="Gemm", how="value", confidence=0.9,
        sqnr_db=sqnr_db, worst_db=worst_db, worst_sample="a cat", in_db=in_db, own_db=own_db, own_floor_db=45.0,
    )  # fmt: skip
    return Explanation(
        file="f", entry="text/onnx/fp16", chosen_by="its path", tower="text", precision="fp16", executed_by="ONNX",
        reference="PyTorch", samples=("a cat",), bound_db=27.0, bound_why="this row", layers=(layer,),
        reference_values=1, candidate_values=1, **more,
    )  # fmt: skip


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(one) for one in arguments])


def _reference(folder: Path, parent: Artifact) -> ManifestReference:
    place = folder / "reference"
    place.mkdir(parents=True)
    shutil.copy(parent.path, place / "image.pt")
    size = int(parent.inputs[0].shape[2])
    pixels = np.random.default_rng(5).integers(0, 256, (6, size, size, 3), dtype=np.uint8)
    names = np.array([f"picture {number}" for number in range(len(pixels))])
    np.savez(place / "image_samples.npz", pixels=pixels, mean=np.zeros(3), std=np.ones(3), names=names)
    images = (pixels.transpose(0, 3, 1, 2) / 255).astype(np.float32)
    with pytorch.open_runner(parent, 1) as runner:
        np.savez(place / "image_embeddings.npz", embedding=run_each(runner, {"image": images}))
    module = dataclasses.replace(parent, path="reference/image.pt", sha256=hash_path(place / "image.pt")[0])
    files = {name: _file(folder, f"reference/image_{name}.npz") for name in ("samples", "embeddings")}
    return ManifestReference(
        tower="image", sample_set="pictures-6", samples=files["samples"], embeddings=files["embeddings"], module=module
    )


def _file(folder: Path, name: str) -> FileRef:
    sha256, size_bytes = hash_path(folder / name)
    return FileRef(path=name, sha256=sha256, size_bytes=size_bytes)


def _manifest(folder: Path, reference: ManifestReference, made: Artifact) -> Manifest:
    told: dict[str, Any] = {
        name: getattr(made, name) for name in ("format", "path", "sha256", "size_bytes", "inputs", "outputs")
    }
    entry = ManifestEntry(
        step_id="image/onnx/fp32", target="onnx", tower="image", precision="fp32", recipe=None, parent_sha256="",
        status="PASSED", required=True, not_required_because="", failures=(), notes=(), tolerances=(), tie_margin=0.0,
        size_ratio=None, parity=None, parity_with_parent=None, tool_versions={}, **told,
    )  # fmt: skip
    model = model_part(load_models()["mobileclip_s1"], Weights(kind="seeded", sha256="0" * 64, trained=False), 100.0)
    return merge(folder, model, [reference], [entry], {})
