"""Core ML packages: what they declare, what they say of themselves, and the same bytes every time."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from converter.coreml_package import PRECISION_KEY, TARGET_KEY, TOWER_KEY
from converter.errors import ConversionError
from converter.files import hash_path
from converter.mil.program import Program, read_program
from converter.records import TOWERS, Artifact, Recipe, Tower, to_json
from converter.runtimes.coreml import check_structure
from converter.stages import to_coreml

pytest.importorskip("coremltools", reason="needs the extra mcconvert[coreml]")

FP16 = Recipe(name="fp16", summary="half", precision="fp16", weight_bits=16)
INT8 = Recipe(name="dynamic-int8", summary="eighth", precision="int8", weight_bits=8)


@pytest.mark.parametrize("tower", TOWERS)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_inputs_and_output_keep_their_types_in_both_precisions(
    tower: Tower, precision: str, tiny_coreml: dict[tuple[Tower, str], Artifact]
) -> None:
    """float32 pixels or int32 tokens in, a float32 embedding out, whatever the program computes in."""
    artifact = tiny_coreml[tower, precision]

    program = read_program(Path(artifact.path))
    declared = [(one.name, one.shape, one.dtype) for one in (*program.declared_inputs, *program.declared_outputs)]
    assert declared == [(one.name, one.shape, one.dtype) for one in (*artifact.inputs, *artifact.outputs)]
    assert program.declared_inputs[0].dtype == ("float32" if tower == "image" else "int32")


@pytest.mark.parametrize(("precision", "stored"), [("fp32", "float32"), ("fp16", "float16")])
@pytest.mark.parametrize("tower", TOWERS)
def test_the_recipe_decides_how_weights_are_stored(
    tower: Tower, precision: str, stored: str, tiny_coreml: dict[tuple[Tower, str], Artifact]
) -> None:
    """Every weight of a float16 package is float16; none of a float32 package is."""
    artifact = tiny_coreml[tower, precision]

    assert artifact.precision == precision
    assert _weight_types(read_program(Path(artifact.path))) == {stored}


def test_operations_can_be_kept_in_float32(tiny_parents: dict[Tower, Artifact], tmp_path: Path) -> None:
    """A float16 program computes the named operations, and only them, in float32; it stays the same model."""
    parent = tiny_parents["text"]
    options = to_coreml.Options(keep_float32=("layer_norm", "softmax"))

    artifact = to_coreml.convert(parent, options, FP16, tmp_path)

    types = {one.kind: one.types[0] for one in read_program(Path(artifact.path)).operations}
    assert (types["layer_norm"], types["softmax"], types["linear"]) == ("FLOAT32", "FLOAT32", "FLOAT16")
    assert "kept in float32: layer_norm, softmax" in artifact.notes
    assert check_structure(artifact, parent).problems == ()


@pytest.mark.parametrize(("target", "version"), [("iOS17", 8), ("iOS18", 9)])
@pytest.mark.parametrize("tower", TOWERS)
def test_every_deployment_target_gives_the_same_model(
    tower: Tower, target: Any, version: int, tiny_parents: dict[Tower, Artifact], tmp_path: Path
) -> None:
    """Newer targets have newer operations; the structure check follows all of them."""
    parent = tiny_parents[tower]

    artifact = to_coreml.convert(parent, to_coreml.Options(deployment_target=target), FP16, tmp_path)

    assert read_program(Path(artifact.path)).specification_version == version
    assert check_structure(artifact, parent).problems == ()


def test_the_package_says_what_it_is(tiny_coreml: dict[tuple[Tower, str], Artifact]) -> None:
    """Tower, precision and target are inside; a date, which would change the bytes, is not."""
    metadata = read_program(Path(tiny_coreml["text", "fp16"].path)).metadata

    assert (metadata[TOWER_KEY], metadata[PRECISION_KEY], metadata[TARGET_KEY]) == ("text", "fp16", "iOS16")
    assert not [key for key in metadata if "date" in key]


@pytest.mark.parametrize("tower", TOWERS)
def test_two_processes_write_the_same_bytes(tower: Tower, tiny_parents: dict[Tower, Artifact], tmp_path: Path) -> None:
    """Identifiers, dates, map orders and folders do not show in the package."""
    packages = [_convert_in_a_process(tiny_parents[tower], tmp_path / name) for name in ("one", "another")]

    assert hash_path(packages[0]) == hash_path(packages[1])


def test_files_in_the_package_are_readable_by_everyone(tiny_coreml: dict[tuple[Tower, str], Artifact]) -> None:
    """As coremltools saves it, only its owner could read the specification, which breaks on a server."""
    package = Path(tiny_coreml["image", "fp32"].path)

    modes = {path.stat().st_mode & 0o777 for path in package.rglob("*") if path.is_file()}
    assert modes == {0o644}


def test_an_old_package_is_replaced(tiny_parents: dict[Tower, Artifact], tmp_path: Path) -> None:
    """Nothing of what lay in the place before is left in the package."""
    (tmp_path / "image.mlpackage").mkdir()
    (tmp_path / "image.mlpackage" / "left-over").write_text("old")

    package = Path(_convert(tiny_parents["image"], tmp_path, None).path)

    assert sorted(path.name for path in package.iterdir()) == ["Data", "Manifest.json"]


def test_a_precision_that_cannot_be_kept_is_refused(tiny_parents: dict[Tower, Artifact], tmp_path: Path) -> None:
    """Asking for int8 must not end in a float file that says int8."""
    with pytest.raises(ConversionError, match=r"'dynamic-int8' asks for int8; this stage writes fp32 and fp16"):
        _convert(tiny_parents["image"], tmp_path, INT8)


def test_a_parent_that_does_not_convert_is_named(tiny_parents: dict[Tower, Artifact], tmp_path: Path) -> None:
    """An operation that coremltools does not know is refused with its name and the parent's."""
    import torch

    class Strange(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.special.bessel_j0(x).mean(dim=(2, 3))

    path = tmp_path / "strange.pt"
    torch.jit.trace(Strange(), torch.rand(1, 3, 8, 8)).save(str(path))

    with pytest.raises(ConversionError, match=r"strange\.pt: coremltools .* cannot convert the image tower.*bessel_j0"):
        _convert(replace(tiny_parents["image"], path=str(path)), tmp_path, None)


def test_coremltools_comes_without_tensorflow_and_without_noise() -> None:
    """Beside tensorflow, loading a saved program ends the process: its import must fail. No user reads of proxies."""
    code = (
        "from converter.coreml_package import import_coremltools; import_coremltools()\n"
        "try:\n    import tensorflow\n"
        "except ImportError:\n    print('hidden')\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], check=True, cwd=root, capture_output=True, text=True)

    assert done.stdout.strip().endswith("hidden")
    assert sys.platform == "darwin" or done.stderr == ""


def _convert(parent: Artifact, folder: Path, recipe: Recipe | None) -> Artifact:
    return to_coreml.convert(parent, to_coreml.Options(), recipe, folder)


def _weight_types(program: Program) -> set[str]:
    return {str(getattr(program.constants[name], "dtype", "none")) for name in program.weights}


def _convert_in_a_process(parent: Artifact, folder: Path) -> Path:
    folder.mkdir(parents=True)
    code = (
        "import sys; from pathlib import Path\n"
        "from converter.records import Artifact, Recipe, from_json\n"
        "from converter.stages import to_coreml as stage\n"
        "parent, recipe = from_json(sys.argv[1].encode(), Artifact), from_json(sys.argv[2].encode(), Recipe)\n"
        "stage.convert(parent, stage.Options(), recipe, Path(sys.argv[3]))\n"
    )
    arguments = [to_json(parent).decode(), to_json(FP16).decode(), str(folder)]
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, cwd=root, capture_output=True)
    return folder / f"{parent.tower}.mlpackage"
