"""Compressed weights in the structure check: silent on what the tower gives, loud on one flipped bit of any part."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converter.mil.program import read_program
from converter.records import Artifact, Tower
from converter.runtimes import coreml
from converter.stages import to_coreml_quantized
from tests.conftest import save_tower
from tests.converted import calibrated, patchwork, recipe, write_calibration
from tests.runtimes.coreml_breaking import copied, edit_block, first, rewrite_weight
from tests.tiny import tiny_clip

pytest.importorskip("coremltools", reason="needs the extra mcconvert[coreml]")

RECIPES = ("static_w8a8", "palette_w4")


@pytest.fixture(scope="module")
def made(tiny_parents: dict[Tower, Artifact], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """The image tower with int8 weights and activations, and with tables."""
    folder = tmp_path_factory.mktemp("compressed")
    samples = write_calibration("image", patchwork(8, seed=1), folder / "image.npz")
    options = to_coreml_quantized.Options()
    return {
        name: to_coreml_quantized.convert(
            tiny_parents["image"], options, calibrated(recipe(name), samples), folder
        )
        for name in RECIPES
    }  # fmt: skip


@pytest.mark.parametrize("name", RECIPES)
def test_a_whole_package_has_no_problem(
    name: str, made: dict[str, Artifact], tiny_parents: dict[Tower, Artifact]
) -> None:
    """Every weight of the parent is found, compressed or not."""
    check = coreml.check_structure(made[name], tiny_parents["image"])

    assert check.problems == ()
    assert check.max_abs == 0.0
    assert check.tensors > 30


@pytest.mark.parametrize(
    ("name", "kind", "key", "bit"),
    [
        ("static_w8a8", "constexpr_affine_dequantize", "quantized_data", 0x40),
        ("static_w8a8", "constexpr_affine_dequantize", "scale", 0x01),
        ("palette_w4", "constexpr_lut_to_dense", "indices", 0x01),
        ("palette_w4", "constexpr_lut_to_dense", "lut", 0x01),
    ],
)
def test_one_flipped_bit_is_found(
    name: str, kind: str, key: str, bit: int, made: dict[str, Artifact], tiny_parents: dict[Tower, Artifact],
    tmp_path: Path,
) -> None:  # fmt: skip
    """Of numbers, scales, places or tables; numbers that were rounded by output are held to their high bits."""
    package = copied(made[name], tmp_path)
    program = read_program(Path(package.path))
    coded = [one for one in program.operations if one.kind == kind and one.inputs[key][0] in program.weights]
    weight = max(coded, key=lambda one: np.asarray(program.constants[one.inputs[key][0]]).size)

    rewrite_weight(package, weight.inputs[key][0], lambda values: _flipped(values, bit))

    problems = coreml.check_structure(package, tiny_parents["image"]).problems
    assert any(f"weight {weight.outputs[0]} " in problem for problem in problems)


def _flipped(values: np.ndarray[Any, Any], bit: int) -> np.ndarray[Any, Any]:
    data = bytearray(values.tobytes())
    data[len(data) // 2 // values.itemsize * values.itemsize] ^= bit
    return np.frombuffer(bytes(data), values.dtype).reshape(values.shape)


def _other_scale(block: Any) -> None:
    """The first dequantize takes the scale of the last one."""
    every = [one for one in block.operations if one.type == "dequantize"]
    every[0].inputs["scale"].CopyFrom(every[-1].inputs["scale"])


def _no_dequantize(block: Any) -> None:
    first(block, "dequantize").type = "identity"


@pytest.mark.parametrize(
    ("edit", "said"),
    [(_other_scale, "but what it reads is quantized by"), (_no_dequantize, ", which is quantized")],
)
def test_activations_are_unpacked_as_they_were_packed(
    edit: Callable[[Any], None], said: str, made: dict[str, Artifact], tiny_parents: dict[Tower, Artifact],
    tmp_path: Path,
) -> None:  # fmt: skip
    """Another scale on the way back, or none, is a problem."""
    package = copied(made["static_w8a8"], tmp_path)
    edit_block(package, edit)

    problems = coreml.check_structure(package, tiny_parents["image"]).problems

    assert any(said in problem for problem in problems)


@pytest.mark.parametrize("name", RECIPES)
def test_another_models_parent_is_a_problem(name: str, made: dict[str, Artifact], tmp_path: Path) -> None:
    """Few bits are not an excuse: other weights of the same shapes are seen."""
    other = save_tower(tiny_clip(seed=1), "image", tmp_path)

    problems = coreml.check_structure(made[name], other).problems

    assert any("is like no tensor of the parent" in problem for problem in problems)
