"""The structure check: silent on a whole package, and loud on every kind of damage."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converter.coreml_package import MANIFEST_PATH, SPEC_PATH, WEIGHTS_PATH, import_coremltools
from converter.errors import ConversionError
from converter.records import TOWERS, Artifact, Recipe, TensorSpec, Tower
from converter.runtimes import coreml
from converter.runtimes.coreml_evaluation import evaluate
from converter.runtimes.coreml_program import read_program
from converter.stages import to_coreml
from tests.conftest import run_each, save_tower
from tests.tiny import tiny_clip

pytest.importorskip("coremltools", reason="needs the extra mcconvert[coreml]")

Precisions = dict[tuple[Tower, str], Artifact]
FP16 = Recipe(name="fp16", summary="half", precision="fp16", weight_bits=16)
EXPONENT_BIT = 0x40
"""In the last byte of a little-endian float, 16 or 32 bits wide."""


@pytest.fixture(params=[(tower, precision) for tower in TOWERS for precision in ("fp32", "fp16")], ids="-".join)
def package(request: pytest.FixtureRequest, tiny_coreml: Precisions, tmp_path: Path) -> Artifact:
    """A copy of one package that a test may damage."""
    return _copied(tiny_coreml[request.param], tmp_path)


@pytest.fixture
def image(tiny_coreml: Precisions, tmp_path: Path) -> Artifact:
    """A copy of the float32 image package that a test may damage."""
    return _copied(tiny_coreml["image", "fp32"], tmp_path)


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
    name = _flip(package, EXPONENT_BIT, np.random.default_rng(seed), byte=-1)

    problems = coreml.check_structure(package, tiny_parents[package.tower]).problems

    assert any(f"weight {name} differs" in problem or f"weight {name} is not" in problem for problem in problems)


def test_the_lowest_bit_of_a_weight_is_found(package: Artifact, tiny_parents: dict[Tower, Artifact]) -> None:
    """Weights are compared exactly: one unit in the last place is a difference."""
    name = _flip(package, 0x01, np.random.default_rng(9), byte=0)

    check = coreml.check_structure(package, tiny_parents[package.tower])

    assert any(f"weight {name} differs from the parent's" in problem for problem in check.problems)
    assert check.max_abs > 0.0


def test_a_weight_that_is_not_a_number_is_found(package: Artifact, tiny_parents: dict[Tower, Artifact]) -> None:
    """NaN is reported as such, and the figures of the check stay finite."""
    _flip(package, None, np.random.default_rng(5), byte=0)

    check = coreml.check_structure(package, tiny_parents[package.tower])

    assert any("is not finite" in problem for problem in check.problems)
    assert np.isfinite(check.max_abs)


def _without_weights(package: Path) -> None:
    (package / WEIGHTS_PATH).unlink()


def _half_the_weights(package: Path) -> None:
    whole = (package / WEIGHTS_PATH).read_bytes()
    (package / WEIGHTS_PATH).write_bytes(whole[: len(whole) // 2])


def _empty_weights(package: Path) -> None:
    (package / WEIGHTS_PATH).write_bytes(b"")


def _without_spec(package: Path) -> None:
    (package / SPEC_PATH).unlink()


def _half_the_spec(package: Path) -> None:
    whole = (package / SPEC_PATH).read_bytes()
    (package / SPEC_PATH).write_bytes(whole[: len(whole) // 2])


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
    _edit_spec(image, edit)

    problems = coreml.check_structure(image, tiny_parents["image"]).problems

    assert any(said in problem for problem in problems)


def test_two_swapped_inputs_are_a_problem(image: Artifact, tiny_parents: dict[Tower, Artifact]) -> None:
    """An artifact that declares the inputs in another order than the package does not pass."""
    mask = TensorSpec(name="mask", shape=(1, 77), dtype="int32", layout="NL")

    for order in ((mask, *image.inputs), (*image.inputs, mask)):
        problems = coreml.check_structure(replace(image, inputs=order), tiny_parents["image"]).problems
        assert any("inputs are declared as image float32" in problem for problem in problems)


def _gelu_becomes_relu(block: Any) -> None:
    gelu = next(one for one in block.operations if one.type == "gelu")
    gelu.type = "relu"
    del gelu.inputs["mode"]


def _a_gelu_becomes_its_tanh_form(block: Any) -> None:
    """Same operations, same weights, slightly other numbers."""
    name = next(one for one in block.operations if one.type == "gelu").inputs["mode"].arguments[0].name
    constant = next(one for one in block.operations if one.outputs[0].name == name)
    constant.attributes["val"].immediateValue.tensor.strings.values[0] = "TANH_APPROXIMATION"


def _swap_two_weights(block: Any) -> None:
    """Two projections of attention trade their weights: each is still somewhere in the parent."""
    linears = [one for one in block.operations if one.type == "linear"]
    first, second = (one.inputs["weight"].arguments[0] for one in linears[:2])
    first.name, second.name = second.name, first.name


def _drop_a_residual(block: Any) -> None:
    """`x + f(x)` becomes `x + x`."""
    add = next(one for one in block.operations if one.type == "add")
    add.inputs["y"].CopyFrom(add.inputs["x"])


def _unknown_operation(block: Any) -> None:
    next(one for one in block.operations if one.type == "sigmoid").type = "swirl"


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (_gelu_becomes_relu, "gelu: the program has"),
        (_a_gelu_becomes_its_tanh_form, "from the parent on sample"),
        (_swap_two_weights, "from the parent on sample 0"),
        (_drop_a_residual, "from the parent on sample 0"),
        (_unknown_operation, "operation swirl"),
    ],
)
def test_another_program_with_the_same_weights_is_a_problem(
    edit: Callable[[Any], None], said: str, image: Artifact, tiny_parents: dict[Tower, Artifact]
) -> None:
    """Wrong operations, modes and connections are found even where every weight is in its place."""
    _edit_block(image, edit)

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
    assert any(problem.startswith("evaluated with PyTorch") for problem in problems)


def test_values_too_large_for_float16_are_a_problem(tmp_path: Path) -> None:
    """A float16 program whose values pass 65504 gives infinity on a device; keeping operations in float32 helps."""
    clip = tiny_clip()
    head = clip.visual.trunk.head.fc.weight.data
    head *= 6e4 / head.abs().max()
    parent = save_tower(clip, "image", tmp_path)
    full, half = tmp_path / "full", tmp_path / "half"
    full.mkdir()
    half.mkdir()

    artifact = to_coreml.convert(parent, to_coreml.Options(), FP16, half)
    twin = to_coreml.convert(parent, to_coreml.Options(), None, full)

    assert any("overflows float16" in problem for problem in coreml.check_structure(artifact, parent).problems)
    assert coreml.check_structure(twin, parent).problems == ()


def test_evaluating_a_program_gives_the_parents_embeddings(
    tiny_coreml: Precisions, tiny_parents: dict[Tower, Artifact], tiny_inputs: dict[Tower, dict[str, Any]]
) -> None:
    """Both towers, all samples, float32: equal up to the order of sums."""
    from converter.runtimes import pytorch

    for tower in TOWERS:
        program = read_program(Path(tiny_coreml[tower, "fp32"].path))
        name = program.declared_inputs[0].name
        rows = [evaluate(program, {name: row[None]}).outputs["embedding"] for row in tiny_inputs[tower][name]]
        with pytorch.open_runner(tiny_parents[tower], threads=1) as runner:
            np.testing.assert_allclose(np.concatenate(rows), run_each(runner, tiny_inputs[tower]), atol=1e-5)


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac executes Core ML")
def test_elsewhere_than_on_a_mac_it_says_why_it_cannot_run(image: Artifact) -> None:
    """No pretended execution: the reason is given, and opening is refused with it."""
    assert coreml.cannot_execute() == "Core ML runs on macOS only"
    with pytest.raises(ConversionError, match="Core ML runs on macOS only; check_structure"):
        coreml.open_runner(image, threads=1).__enter__()


@pytest.mark.skipif(sys.platform != "darwin", reason="Core ML runs on macOS only")
def test_on_a_mac_it_computes_what_the_parent_computes(
    package: Artifact, tiny_parents: dict[Tower, Artifact], tiny_inputs: dict[Tower, dict[str, Any]]
) -> None:
    """Executed by Core ML on the CPU; float16 within its rounding."""
    from converter.runtimes import pytorch

    with pytorch.open_runner(tiny_parents[package.tower], threads=1) as runner:
        expected = run_each(runner, tiny_inputs[package.tower])
    with coreml.open_runner(package, threads=1) as runner:
        seen = run_each(runner, tiny_inputs[package.tower])

    np.testing.assert_allclose(seen, expected, atol=1e-4 if package.precision == "fp32" else 3e-2)


def _copied(artifact: Artifact, folder: Path) -> Artifact:
    path = folder / "copy.mlpackage"
    shutil.copytree(artifact.path, path)
    return replace(artifact, path=str(path))


def _flip(artifact: Artifact, bit: int | None, generator: np.random.Generator, byte: int) -> str:
    """Flip a bit of a random nonzero value of a random weight in `weight.bin`, or make it NaN; returns its name."""
    package = Path(artifact.path)
    program = read_program(package)
    name = str(generator.choice([name for name in program.weights if np.any(program.constants[name])]))
    values = program.constants[name]
    assert isinstance(values, np.ndarray)
    data = bytearray((package / WEIGHTS_PATH).read_bytes())
    index = int(generator.choice(np.flatnonzero(values.reshape(-1))))
    place = data.index(values.tobytes()) + index * values.itemsize
    if bit is None:
        data[place : place + values.itemsize] = np.array(np.nan, values.dtype).tobytes()
    else:
        data[place + byte % values.itemsize] ^= bit
    (package / WEIGHTS_PATH).write_bytes(data)
    return name


def _edit_spec(artifact: Artifact, edit: Callable[[Any], None]) -> None:
    path = Path(artifact.path) / SPEC_PATH
    spec = import_coremltools().proto.Model_pb2.Model.FromString(path.read_bytes())
    edit(spec)
    path.write_bytes(spec.SerializeToString())


def _edit_block(artifact: Artifact, edit: Callable[[Any], None]) -> None:
    def edited(spec: Any) -> None:
        function = spec.mlProgram.functions["main"]
        edit(function.block_specializations[function.opset])

    _edit_spec(artifact, edited)
