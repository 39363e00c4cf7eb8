"""The structure check: silent on a whole package, and loud on every kind of damage that figures are blind to."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converter.coreml_package import MANIFEST_PATH, SPEC_PATH, WEIGHTS_PATH
from converter.mil.program import read_program
from converter.records import TOWERS, Artifact, TensorSpec, Tower
from converter.runtimes import coreml
from converter.runtimes.coreml_weights import match_weights
from tests.conftest import save_tower
from tests.runtimes.coreml_breaking import (
    EXPONENT_BIT,
    constant,
    copied,
    cut,
    edit_block,
    edit_spec,
    first,
    flip,
    rewrite_weight,
)
from tests.tiny import tiny_clip

pytest.importorskip("coremltools", reason="needs the extra mcconvert[coreml]")

Precisions = dict[tuple[Tower, str], Artifact]


@pytest.fixture(params=[(tower, precision) for tower in TOWERS for precision in ("fp32", "fp16")], ids="-".join)
def package(request: pytest.FixtureRequest, tiny_coreml: Precisions, tmp_path: Path) -> Artifact:
    """A copy of one package that a test may damage."""
    return copied(tiny_coreml[request.param], tmp_path)


@pytest.fixture
def image(tiny_coreml: Precisions, tmp_path: Path) -> Artifact:
    """A copy of the float32 image package that a test may damage."""
    return copied(tiny_coreml["image", "fp32"], tmp_path)


def test_a_whole_package_has_no_problem(package: Artifact, tiny_parents: dict[Tower, Artifact]) -> None:
    """Every weight of the parent is found, bit-equal once rounded, and the program has its operations."""
    check = coreml.check_structure(package, tiny_parents[package.tower])

    assert check.problems == ()
    assert check.max_abs == 0.0
    assert check.tensors > 30
    assert check.ops > 60


@pytest.mark.parametrize("seed", range(2))
def test_one_flipped_bit_of_any_weight_is_found(
    seed: int, package: Artifact, tiny_parents: dict[Tower, Artifact]
) -> None:
    """An exponent bit of a random value of a random weight: the message names the weight."""
    name = flip(package, EXPONENT_BIT, np.random.default_rng(seed), byte=-1)

    problems = coreml.check_structure(package, tiny_parents[package.tower]).problems

    assert any(f"weight {name} differs" in problem or f"weight {name} is not" in problem for problem in problems)


def test_the_lowest_bit_of_a_weight_is_found(package: Artifact, tiny_parents: dict[Tower, Artifact]) -> None:
    """Weights are compared exactly: one unit in the last place is a difference."""
    name = flip(package, 0x01, np.random.default_rng(9), byte=0)

    check = coreml.check_structure(package, tiny_parents[package.tower])

    assert any(f"weight {name} differs from the parent's" in problem for problem in check.problems)
    assert check.max_abs > 0.0


def test_the_sign_of_a_zero_is_found() -> None:
    """One flipped bit of a weight that is zero: 0 and -0 are equal, and not the same bits."""
    parents = {"weight": np.float32([1.0, 0.0, 2.0])}

    (flipped,) = match_weights({"one": np.float32([1.0, -0.0, 2.0])}, parents)
    (whole,) = match_weights({"one": np.float32([1.0, 0.0, 2.0])}, parents)

    assert (flipped.parent, flipped.differing) == ("weight", 1)
    assert whole.differing == 0


def test_a_weight_that_is_not_a_number_is_found(package: Artifact, tiny_parents: dict[Tower, Artifact]) -> None:
    """NaN is reported as such, and the figures of the check stay finite."""
    flip(package, None, np.random.default_rng(5), byte=0)

    check = coreml.check_structure(package, tiny_parents[package.tower])

    assert any("is not finite" in problem for problem in check.problems)
    assert np.isfinite(check.max_abs)


def _without_weights(package: Path) -> None:
    (package / WEIGHTS_PATH).unlink()


def _half_the_weights(package: Path) -> None:
    cut(package, WEIGHTS_PATH)


def _empty_weights(package: Path) -> None:
    cut(package, WEIGHTS_PATH, share=0.0)


def _without_spec(package: Path) -> None:
    (package / SPEC_PATH).unlink()


def _half_the_spec(package: Path) -> None:
    cut(package, SPEC_PATH)


def _without_manifest(package: Path) -> None:
    (package / MANIFEST_PATH).unlink()


def _no_folder(package: Path) -> None:
    shutil.rmtree(package)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_without_weights, "weight.bin"),
        (_half_the_weights, "weight.bin: constant"),
        (_empty_weights, "weight.bin: constant"),
        (_without_spec, "cannot read the package"),
        (_half_the_spec, "cannot read the package"),
        (_without_manifest, "cannot read the package"),
        (_no_folder, "cannot read the package"),
    ],
)
def test_a_package_with_a_part_missing_is_a_problem(
    damage: Callable[[Path], None], said: str, image: Artifact, tiny_parents: dict[Tower, Artifact]
) -> None:
    """Deleted and cut off parts are named; nothing crashes."""
    damage(Path(image.path))

    check = coreml.check_structure(image, tiny_parents["image"])

    assert said in " ".join(check.problems)
    assert check.tensors == 0


def _rename_output(spec: Any) -> None:
    spec.description.output[0].name = "features"


def _rename_input(spec: Any) -> None:
    spec.description.input[0].name = "picture"


def _double_input(spec: Any) -> None:
    spec.description.input[0].type.multiArrayType.dataType = 65600


def _wider_input(spec: Any) -> None:
    spec.description.input[0].type.multiArrayType.shape[3] = 128


def _other_version(spec: Any) -> None:
    spec.specificationVersion = 9


def _other_precision(spec: Any) -> None:
    spec.description.metadata.userDefined["mcconvert.precision"] = "fp16"


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (_rename_output, "outputs are declared as features"),
        (_rename_input, "inputs are declared as picture"),
        (_double_input, "inputs are declared as image double[1, 3, 64, 64]; expected image float32[1, 3, 64, 64]"),
        (_wider_input, "inputs are declared as image float32[1, 3, 64, 128]"),
        (_other_version, "specification 9 with CoreML6 does not belong to deployment target iOS16"),
        (_other_precision, "metadata mcconvert.precision says fp16, expected fp32"),
    ],
)
def test_an_interface_that_is_not_the_declared_one_is_a_problem(
    edit: Callable[[Any], None], said: str, image: Artifact, tiny_parents: dict[Tower, Artifact]
) -> None:
    """Names, shapes and types are compared with the artifact's and with the program inside."""
    edit_spec(image, edit)

    problems = coreml.check_structure(image, tiny_parents["image"]).problems

    assert any(said in problem for problem in problems)


def test_two_swapped_inputs_are_a_problem(image: Artifact, tiny_parents: dict[Tower, Artifact]) -> None:
    """An artifact that declares the inputs in another order than the package does not pass."""
    mask = TensorSpec(name="mask", shape=(1, 77), dtype="int32", layout="NL")

    for order in ((mask, *image.inputs), (*image.inputs, mask)):
        problems = coreml.check_structure(replace(image, inputs=order), tiny_parents["image"]).problems
        assert any("inputs are declared as image float32" in problem for problem in problems)


def test_a_negated_weight_is_found(image: Artifact, tiny_parents: dict[Tower, Artifact]) -> None:
    """All its bits but the signs are right: it is no weight of the parent, and the parent's is missing."""
    rewrite_weight(image, _a_square_weight(image), np.negative)

    problems = " ".join(coreml.check_structure(image, tiny_parents["image"]).problems)

    assert "is like no tensor of the parent" in problems
    assert "is not in the file" in problems


def test_a_transposed_square_matrix_is_left_to_execution(image: Artifact, tiny_parents: dict[Tower, Artifact]) -> None:
    """Weights are matched in every order of their axes, for converters lay them out anew: figures see what this
    does not (`test_coreml_breaks`).
    """
    rewrite_weight(image, _a_square_weight(image), np.transpose)

    assert coreml.check_structure(image, tiny_parents["image"]).problems == ()


def _gelu_becomes_relu(block: Any) -> None:
    gelu = first(block, "gelu")
    gelu.type = "relu"
    del gelu.inputs["mode"]


def _unknown_operation(block: Any) -> None:
    first(block, "sigmoid").type = "swirl"


def _becomes(block: Any, kind: str, other: str) -> None:
    first(block, kind).type = other


def _drop_a_bias(block: Any) -> None:
    del first(block, "conv").inputs["bias"]


def _cut_a_constant(block: Any) -> None:
    del constant(block, first(block, "transpose"), "perm").ints.values[-1:]


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (_gelu_becomes_relu, "gelu: the program has"),
        (_unknown_operation, "sigmoid: the program has"),
        (lambda block: _becomes(block, "abs", "square"), "absolute value: the program has 0 (abs), the parent 1"),
        (lambda block: _becomes(block, "reduce_max", "reduce_min"), "largest value: the program has 0 (reduce_max)"),
        (_drop_a_bias, "is in the file, but no operation reads it"),
        (_cut_a_constant, "has 3 values, its type [4] says otherwise"),
    ],
)
def test_another_program_with_the_same_weights_is_a_problem(
    edit: Callable[[Any], None], said: str, image: Artifact, tiny_parents: dict[Tower, Artifact]
) -> None:
    """Operations of another kind, inputs that are gone and constants that are cut off, where every weight is whole."""
    edit_block(image, edit)

    check = coreml.check_structure(image, tiny_parents["image"])

    assert any(said in problem for problem in check.problems)
    assert check.max_abs == 0.0


def test_another_models_parent_is_a_problem(image: Artifact, tmp_path: Path) -> None:
    """A package is not the converted form of a model with the same shapes and other weights."""
    other = save_tower(tiny_clip(seed=1), "image", tmp_path)

    problems = coreml.check_structure(image, other).problems

    assert any("is like no tensor of the parent" in problem for problem in problems)
    assert any("is not in the file" in problem for problem in problems)


def test_the_other_towers_parent_is_a_problem(image: Artifact, tiny_parents: dict[Tower, Artifact]) -> None:
    """A parent that cannot even take the package's inputs is reported, not raised."""
    problems = coreml.check_structure(image, tiny_parents["text"]).problems

    assert any("convolution: the program has 32 (conv), the parent 0" in problem for problem in problems)


def _a_square_weight(artifact: Artifact) -> str:
    """A weight that is its own size when turned."""
    constants = read_program(Path(artifact.path)).constants
    return next(
        name for name, one in constants.items()
        if isinstance(one, np.ndarray) and one.ndim == 2 and one.shape[0] == one.shape[1] > 1
    )  # fmt: skip
