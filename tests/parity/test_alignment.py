"""Values of a file find the values of the PyTorch model that they answer to, whatever the format did to them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from converter.parity.alignment import Pair, align
from converter.parity.axes import exchanged, find_axes, laid_out
from converter.parity.drilldown import fed
from converter.parity.naming import Modules
from converter.parity.operations import family, likeness, moves_only
from converter.parity.sketches import Sketch, Sketcher, moments
from converter.pipeline.plugins import load_runtime
from converter.records import Artifact, Tower
from converter.runtimes.pytorch import open_observer as open_reference
from converter.stages import to_torchscript
from tests.converted import onnx_of, tflite_of

Inputs = dict[Tower, dict[str, np.ndarray[Any, Any]]]
Named = list[tuple[str, str]]


@pytest.fixture(scope="module")
def files(tiny_parents: dict[Tower, Artifact], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """The text tower, whose norms TFLite takes apart, in three formats."""
    folder, parent = tmp_path_factory.mktemp("text"), tiny_parents["text"]
    return {
        "onnx": onnx_of(parent, folder),
        "tflite": tflite_of(parent, folder / "lite"),
        "torchscript": to_torchscript.convert(parent, to_torchscript.Options(), None, folder),
    }


@pytest.fixture(scope="module")
def ours(tiny_parents: dict[Tower, Artifact], tiny_inputs: Inputs) -> list[Sketch]:
    """Sketches of the PyTorch text tower."""
    return _sketched(tiny_parents["text"], tiny_inputs)


@pytest.mark.parametrize("fmt", ["onnx", "tflite", "torchscript"])
def test_every_value_of_the_reference_finds_its_own(
    fmt: str, files: dict[str, Artifact], ours: list[Sketch], tiny_inputs: Inputs
) -> None:
    """All are matched, and where a file's weights name a module it is that one."""
    theirs = _sketched(files[fmt], tiny_inputs)

    pairs = align(ours, theirs)

    modules = Modules(sketch.module for sketch in ours)
    told = [(ours[pair.reference].module, modules.hints(theirs[pair.candidate].constants)) for pair in pairs]
    assert len(pairs) == len(ours)
    assert not [(module, hints) for module, hints in told if hints and module not in hints]
    assert min(pair.confidence for pair in pairs) > 0.8


def test_a_norm_that_was_taken_apart_is_matched_at_its_end(
    files: dict[str, Artifact], ours: list[Sketch], tiny_inputs: Inputs
) -> None:
    """TFLite has no layer norm: the last of its ten operations has the module's result."""
    theirs = _sketched(files["tflite"], tiny_inputs)

    pairs = align(ours, theirs)

    norms = [theirs[pair.candidate].name for pair in pairs if ours[pair.reference].family == "norm"]
    assert len(norms) == 5
    assert all(name.endswith("LayerNormalization_output_0") for name in norms)


@pytest.mark.parametrize("fmt", ["onnx", "tflite", "torchscript"])
def test_names_kinds_and_order_carry_the_match_behind_a_break(
    fmt: str, files: dict[str, Artifact], ours: list[Sketch], tiny_inputs: Inputs
) -> None:
    """Values that agree with nothing change no pair; the matches are only less sure."""
    theirs = _sketched(files[fmt], tiny_inputs)
    whole = align(ours, theirs)
    half = len(theirs) // 2
    noise = np.random.default_rng(0)
    lost = [*theirs[:half], *(replace(one, moments=noise.normal(size=6) * 50) for one in theirs[half:])]

    broken = align(ours, lost)

    same = set(_named(whole, ours, theirs)) & set(_named(broken, ours, theirs))
    assert len(same) >= 0.95 * len(whole)
    assert broken[-1].confidence < whole[-1].confidence


def test_branches_in_another_order_are_matched_all_the_same(
    files: dict[str, Artifact], ours: list[Sketch], tiny_inputs: Inputs
) -> None:
    """Queries, keys and values of one attention may be computed in any order."""
    theirs = _sketched(files["onnx"], tiny_inputs)
    q, v = (next(i for i, one in enumerate(theirs) if one.name.endswith(f"attn/{key}/Gemm_output_0")) for key in "qv")
    turned = list(theirs)
    turned[q], turned[v] = turned[v], turned[q]

    pairs = align(ours, turned)

    assert sorted(_named(pairs, ours, turned)) == sorted(_named(align(ours, theirs), ours, theirs))


def test_another_tower_is_not_matched(
    files: dict[str, Artifact], tiny_parents: dict[Tower, Artifact], tiny_inputs: Inputs
) -> None:
    """Hardly a value of a text tower has a twin in an image tower."""
    images = _sketched(tiny_parents["image"], tiny_inputs)

    pairs = align(images, _sketched(files["torchscript"], tiny_inputs))

    assert len(pairs) < len(images) / 4


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("/tower/trunk/0/blocks/0/mlp/fc1/Conv_output_0", "tower.trunk.stages.0.blocks.0.mlp.fc1"),
        ("tower_trunk_stages_0_blocks_0_mlp_fc1_weight_to_fp16", "tower.trunk.stages.0.blocks.0.mlp.fc1"),
        ("/tower/trunk/0/blocks/0/Add_output_0", "tower.trunk.stages.0.blocks.0"),
        ("/tower/trunk/1/blocks/0/mlp/fc1/Conv_conv_filter", "tower.trunk.stages.1.blocks.0.mlp.fc1"),
    ],
)
def test_names_tell_modules(name: str, module: str) -> None:
    """Containers may be left out, and what follows the module's path is the converter's."""
    paths = ["tower.trunk.stem.0.reparam_conv"]
    for stage in "01":
        block = f"tower.trunk.stages.{stage}.blocks.0"
        paths += [block, f"{block}.mlp", f"{block}.mlp.fc1"]

    hints = Modules(paths).hints([name])

    assert list(hints) == [module]


def test_names_that_tell_nothing_tell_no_module() -> None:
    """A frozen TorchScript file and Core ML number their values."""
    modules = Modules(["tower.trunk.stem.0", "tower.trunk.head.fc"])

    assert not modules.hints(["456", "0", "var_31_cast_fp16", "input_3", "onnx::MatMul_12"])


def test_kinds_of_all_formats_belong_to_families() -> None:
    """One family whatever the format calls it, and none between strangers."""
    assert {family(kind) for kind in ("aten::_convolution", "Conv", "DEPTHWISE_CONV_2D", "conv")} == {"conv"}
    assert {family(kind) for kind in ("aten::linear", "Gemm", "FULLY_CONNECTED", "linear")} == {"product"}
    assert moves_only("aten::permute")
    assert moves_only("DEQUANTIZE")
    assert likeness("norm", "add") > likeness("softmax", "conv") == 0


def test_moments_are_the_same_in_any_layout() -> None:
    """What alignment compares does not depend on where a number lies; values that are not finite are left out."""
    value = np.random.default_rng(1).normal(size=(1, 8, 5, 5)).astype(np.float32)
    holed = np.append(value.ravel(), np.float32(np.nan))

    assert np.allclose(moments(value), moments(value.transpose(0, 2, 3, 1)), rtol=1e-5)
    assert np.allclose(moments(value), moments(holed), rtol=1e-5)


def test_channels_last_comes_back_as_channels_first() -> None:
    """The reference's layout, whatever axes of size 1 lie between."""
    value = np.random.default_rng(2).normal(size=(1, 8, 4, 4)).astype(np.float32)

    for stored in (value.transpose(0, 2, 3, 1), value.transpose(2, 0, 3, 1), value.reshape(8, 4, 4)):
        axes = find_axes(np.ascontiguousarray(stored), value)

        assert axes is not None
        assert np.array_equal(laid_out(np.ascontiguousarray(stored), axes, value.shape), value)


def test_a_missing_transpose_is_not_hidden() -> None:
    """Height and width exchanged are no layout of a format: the values disagree, and it is said why."""
    value = np.random.default_rng(3).normal(size=(1, 8, 4, 4)).astype(np.float32)
    wrong = np.ascontiguousarray(value.transpose(0, 3, 2, 1).transpose(0, 2, 1, 3)).reshape(1, 4, 8, 4)
    swapped = np.ascontiguousarray(value.transpose(0, 1, 3, 2))

    axes = find_axes(swapped, value)

    assert axes == (0, 1, 2)
    assert exchanged(swapped, value) == (0, 2, 1)
    assert exchanged(value, value) is None
    assert find_axes(wrong, value) is not None


def _sketched(artifact: Artifact, inputs: Inputs) -> list[Sketch]:
    """What the file computes on the first sample."""
    sketcher = Sketcher()
    with _opened(artifact) as observer:
        for observed in observer.observe(fed(artifact.inputs, inputs[artifact.tower], 0)):
            sketcher.add(observed)
    return list(sketcher.sketches.values())


def _opened(artifact: Artifact) -> AbstractContextManager[Any]:
    if artifact.format == "pytorch":
        return open_reference(artifact, 1)
    runtime: Any = load_runtime(artifact.format)
    opened: AbstractContextManager[Any] = runtime.open_observer(artifact, 1)
    return opened


def _named(pairs: Sequence[Pair], ours: Sequence[Sketch], theirs: Sequence[Sketch]) -> Named:
    return [(ours[pair.reference].name, theirs[pair.candidate].name) for pair in pairs]
