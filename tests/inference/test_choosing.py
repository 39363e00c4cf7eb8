"""Which file is used: named or chosen, always the one that was proven, never one that cannot run here."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converter.errors import McconvertError, MissingDependencyError, ParityError, UsageError
from converter.inference.choosing import Choice, choose
from converter.pipeline.plugins import load_runtime
from converter.publishing.manifest import read_manifest
from converter.records import TOWERS, Artifact, Tower
from converter.runtimes import Runtime
from tests.inference.conftest import listed, use, write_toy


def chosen(named: str | Path, towers: Sequence[Tower] = TOWERS, said: list[str] | None = None) -> Choice:
    return choose(str(named), towers, load_runtime, (said if said is not None else []).append)


def paths(choice: Choice) -> list[str]:
    return [entry.path for entry in choice.entries]


@pytest.mark.parametrize(
    ("select", "row"),
    [
        ("", "onnx/fp32_dynamic"),
        (":onnx", "onnx/fp32_dynamic"),
        (":onnx/fp32", "onnx/fp32"),
        (":image/onnx/fp32", "onnx/fp32"),
        (":fp32", "onnx/fp32"),
        (":tflite", "tflite/fp32"),
        (":torchscript/fp32", "torchscript/fp32"),
    ],
)
def test_a_folder_and_a_row_in_it_can_be_named(pristine: Path, select: str, row: str) -> None:
    """Both towers of it."""
    choice = chosen(f"{pristine}{select}")

    assert choice.name == f"toy/{row}"
    assert [entry.step_id for entry in choice.entries] == [f"image/{row}", f"text/{row}"]


def test_a_file_and_a_manifest_can_be_named(pristine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also relative to where one stands."""
    monkeypatch.chdir(pristine / "tflite")

    assert paths(chosen("text_fp32.tflite", ["text"])) == ["tflite/text_fp32.tflite"]
    assert paths(chosen(pristine / "manifest.json", ["image"])) == ["onnx/image_fp32_dynamic.onnx"]


def test_formats_that_cannot_run_are_passed_over(toy: Path) -> None:
    """A missing runtime makes the folder mean its next format."""

    def without_onnx(fmt: str) -> Runtime:
        if fmt == "onnx":
            message = "onnx files need onnxruntime"
            raise MissingDependencyError(message)
        return load_runtime(fmt)

    assert choose(str(toy), TOWERS, without_onnx, print).row == "torchscript/fp32"
    with pytest.raises(MissingDependencyError, match="onnxruntime"):
        choose(str(toy / "onnx" / "image_fp32.onnx"), TOWERS, without_onnx, print)


def test_what_failed_its_proof_is_used_only_when_named(toy: Path) -> None:
    """A folder means its PASSED files; a named one is used with a warning."""
    entries = [
        replace(one, status="FAILED", failures=("cosine 0.1",)) if one.format == "onnx" else one
        for one in read_manifest(toy).artifacts
    ]
    write_toy(toy, entries)
    said: list[str] = []

    assert chosen(toy).row == "torchscript/fp32"
    chosen(toy / "onnx" / "image_fp32.onnx", ["image"], said)
    assert said == ["onnx/image_fp32.onnx FAILED its proof: cosine 0.1"]


def test_a_flipped_byte_is_refused_by_name(toy: Path, photographs: Path) -> None:
    """Nothing is loaded from a file that is not the one that was proven."""
    path = toy / "onnx" / "image_fp32.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)

    done = use("embed", photographs, "--with", path)

    assert done.code == 6
    assert f"{path} is not the file that was proven" in done.err
    assert chosen(toy, ["image"]).row == "onnx/fp32_dynamic"


def test_core_ml_files_run_on_any_machine(
    toy: Path, photographs: Path, reference: np.ndarray[Any, Any], tiny_coreml: dict[tuple[Tower, str], Artifact]
) -> None:
    """Named, they are used like any other, and what executed them is said; a folder alone means its quicker files."""
    packages = [listed(toy, "coreml/fp32", tiny_coreml[tower, "fp32"]) for tower in TOWERS]
    write_toy(toy, [*packages, *read_manifest(toy).artifacts])

    done = use("embed", photographs, "--with", f"{toy}:coreml", "--out", toy / "found.npz")

    assert chosen(toy).row == "onnx/fp32_dynamic"
    assert ("Core ML on macOS" if sys.platform == "darwin" else "by mcconvert reference interpreter") in done.err
    assert np.abs(np.load(toy / "found.npz")["embedding"] - reference).max() < 1e-4


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("absent", "nothing is there"),
        ("{toy}:onnx/fp33", "did you mean 'onnx/fp32'?"),
        ("{toy}/onnx/stray.onnx", "does not list it"),
        ("{lone}/x.onnx", "no manifest.json above it"),
    ],
)
def test_other_names_are_refused(toy: Path, tmp_path: Path, named: str, words: str) -> None:
    """With what was expected."""
    shutil.copy(toy / "onnx" / "image_fp32.onnx", toy / "onnx" / "stray.onnx")
    lone = tmp_path / "a" / "b" / "c" / "d"
    lone.mkdir(parents=True)
    (lone / "x.onnx").write_bytes(b"")

    with pytest.raises(UsageError, match="(?s)" + words.replace("?", r"\?")):
        chosen(named.format(toy=toy, lone=lone))


@pytest.mark.parametrize("how", ["outside", "missing"])
def test_a_manifest_that_names_no_file_of_its_folder_is_refused(toy: Path, how: str) -> None:
    """Above the folder, or gone."""
    entry = next(one for one in read_manifest(toy).artifacts if one.step_id == "image/onnx/fp32")
    shutil.copy(toy / entry.path, toy.parent / "image.onnx")
    write_toy(toy, [replace(entry, path="../image.onnx" if how == "outside" else "onnx/gone.onnx")])

    expected: type[McconvertError] = ParityError if how == "outside" else UsageError
    with pytest.raises(expected, match="lies outside" if how == "outside" else "is missing"):
        chosen(toy, ["image"])


def test_the_same_file_twice_is_refused(pristine: Path, photographs: Path) -> None:
    """Two columns of one name tell nothing apart; two folders do."""
    done = use("embed", photographs, "--with", pristine, "--with", f"{pristine}:onnx")

    assert done.code == 2
    assert "named twice" in done.err


def test_a_device_that_is_not_there_is_refused(pristine: Path, photographs: Path) -> None:
    """In words that say what is there."""
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    image = photographs / "a.png"

    torch_side = use("embed", image, "--with", f"{pristine}:torchscript", "--device", "cuda")
    onnx_side = use("embed", image, "--with", f"{pristine}:onnx", "--device", "cuda")

    assert (torch_side.code, onnx_side.code) == (2, 2)
    assert "it sees cpu" in torch_side.err
    assert "without CUDA" in onnx_side.err
