"""What a file computes in parts is matched as a whole, and only where the parts are one layer's.

The toy tower's large kernel does most of its work in the middle, and its biases are small, so that parts come near what
the layers give as a whole.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converter.explained import Layer
from converter.parity.depth import layers_of
from converter.parity.drilldown import Measured, Side, measure
from converter.parity.sketches import Sketch
from converter.parity.suspicion import bound_of, judge_layers
from converter.parity.wholes import gathered
from converter.pipeline.plugins import load_runtime
from converter.records import Artifact, TensorSpec
from converter.runtimes.pytorch import open_observer as open_reference
from tests.breaking import break_weight, noisy, weights
from tests.converted import onnx_of, patchwork, tflite_of
from tests.tiny import TINY_IMAGE_SIZE

WIDTH = 24
"""Unlike the grid of 16 x 16 positions, so that no axis can be taken for another."""
SAMPLES = 2
LARGE, NORM, LINEAR = "tower.large", "tower.norm", "tower.tokens.linear"
SPLIT_KERNELS = [f"split_depthwise_0_kernel_{number}" for number in range(5)]


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A large depthwise convolution, a norm behind an activation, and a linear layer on tokens."""
    return _toy(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def files(parent: Artifact, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """The toy tower in the formats whose converters take layers apart."""
    folder = tmp_path_factory.mktemp("files")
    return {"onnx": onnx_of(parent, folder), "tflite": tflite_of(parent, folder / "lite")}


@pytest.mark.parametrize("fmt", ["onnx", "tflite"])
def test_no_layer_of_a_healthy_file_dips(fmt: str, files: dict[str, Artifact], parent: Artifact) -> None:
    """Neither the middle of a split kernel nor a product before its bias stands for the layer."""
    measured, layers = _explained(files[fmt], parent)

    matched = {layer.module for layer in layers}
    assert {LARGE, NORM, LINEAR} <= matched
    assert min(min(layer.sqnr_db, layer.own_db or 0.0) for layer in layers) > 100
    assert any(sketch.part_of for sketch in measured.candidate)


@pytest.mark.parametrize("kernel", SPLIT_KERNELS)
def test_a_wrong_weight_in_any_part_is_the_layers_fault(
    kernel: str, files: dict[str, Artifact], parent: Artifact, tmp_path: Path
) -> None:
    """The layer is named, by what it gives as a whole, and what reads it is not accused."""
    path = Path(files["tflite"].path)
    assert kernel in weights(path)
    broken = break_weight(path, tmp_path / path.name, kernel, noisy(0.5))

    _, layers = _explained(dataclasses.replace(files["tflite"], path=str(broken)), parent)

    _, suspect, also = judge_layers(layers, bound_of((), "fp32")[0], None)
    assert suspect is not None
    assert (layers[suspect].module, layers[suspect].candidate_kind) == (LARGE, "ADD")
    assert layers[suspect].by_way_of == ()
    assert also == ()


def test_a_sum_of_small_kernels_is_the_large_one() -> None:
    """It reads what they read, with all their constants; they are parts of it, and so is what is summed on the way."""
    ours = [_sketch("m", "x", kind="conv", constants=["m.weight", "m.bias"], module="m")]

    found = {sketch.name: sketch for sketch in gathered(ours, SPLIT)}

    assert (found["y"].family, found["y"].kind, found["y"].sources) == ("conv", "ADD", ("x",))
    assert found["y"].constants == ("k0", "m.bias", "k1", "k2")
    assert [name for name, sketch in found.items() if sketch.part_of == "y"] == ["p0", "p1", "s1", "p2"]
    assert found["after"] == SPLIT[-1]


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("p1", {"sources": ("other",)}),
        ("p1", {"constants": ("n.weight",)}),
        ("p1", {"family": "gelu"}),
        ("s1", {"family": "mul"}),
        ("s1", {"constants": ("c",)}),
        ("after", {"sources": ("y", "s1")}),
        ("p0", {"constants": ("k0",)}),
    ],
)
def test_what_may_be_more_than_one_layer_is_left_alone(name: str, changed: dict[str, Any]) -> None:
    """Another input, another module's weights, no linear operation, a reader of its own, or no name at all."""
    ours = [_sketch(one, "x", kind="conv", constants=[f"{one}.weight"], module=one) for one in "mn"]
    theirs = [dataclasses.replace(one, **changed) if one.name == name else one for one in SPLIT]

    found = gathered(ours, theirs)

    assert "y" not in [sketch.part_of for sketch in found]


def test_a_sum_of_the_references_own_layers_is_left_alone() -> None:
    """Two convolutions of one value that PyTorch adds up are two layers, also where a file names only one of them."""
    ours = [
        _sketch("m", "x", kind="conv", constants=["m.weight"], module="m"),
        _sketch("n", "x", kind="conv", constants=["n.weight"], module="n"),
        _sketch("sum", "m", "n", kind="add", module="block"),
    ]

    assert gathered(ours, SPLIT) == SPLIT


def test_a_bias_by_itself_belongs_to_its_layer_by_name_only() -> None:
    """A norm's factor is a part where the summand speaks of the same norm; a scale without a name may be a layer."""
    ours = [_sketch("n", "x", kind="norm", constants=["n.weight", "n.bias"], module="n")]
    times = _sketch("times", "x", kind="mul", constants=["n.weight"])

    named = gathered(ours, [times, _sketch("plus", "times", kind="add", constants=["n.bias"])])
    nameless = gathered(ours, [times, _sketch("plus", "times", kind="add", constants=["folded"])])

    assert [sketch.part_of for sketch in named] == ["plus", ""]
    assert (named[1].family, named[1].sources) == ("add", ("x",))
    assert [sketch.part_of for sketch in nameless] == ["", ""]


def test_a_module_that_reads_its_weights_twice_is_left_alone() -> None:
    """Where PyTorch itself shows a value for the factor and one for the summand, the file's two answer to them."""
    ours = [
        _sketch("one", "x", kind="mul", constants=["n.weight"], module="n"),
        _sketch("two", "one", kind="add", constants=["n.bias"], module="n"),
    ]
    theirs = [
        _sketch("times", "x", kind="mul", constants=["n.weight"]),
        _sketch("plus", "times", kind="add", constants=["n.bias"]),
    ]

    assert gathered(ours, theirs) == theirs


def _sketch(name: str, *sources: str, kind: str, constants: Sequence[str] = (), module: str = "") -> Sketch:
    return Sketch(
        name=name, kind=kind.upper(), family=kind, module=module, sources=sources, constants=tuple(constants),
        shape=(1, 8), moments=np.zeros(6),
    )  # fmt: skip


SPLIT = [
    _sketch("p0", "x", kind="conv", constants=["k0", "m.bias"]),
    _sketch("p1", "x", kind="conv", constants=["k1"]),
    _sketch("s1", "p0", "p1", kind="add"),
    _sketch("p2", "x", kind="conv", constants=["k2"]),
    _sketch("y", "s1", "p2", kind="add"),
    _sketch("after", "y", kind="gelu"),
]


def _explained(artifact: Artifact, parent: Artifact) -> tuple[Measured, list[Layer]]:
    runtime: Any = load_runtime(artifact.format)
    with open_reference(parent, 1) as reference, runtime.open_observer(artifact, 1) as observer:
        measured = measure(
            Side(observer=reference, specs=parent.inputs), Side(observer=observer, specs=artifact.inputs),
            patchwork(SAMPLES, 3),
        )  # fmt: skip
    return measured, layers_of(measured, artifact.precision, ("first", "second"))


def _toy(folder: Path) -> Artifact:
    import torch

    torch.manual_seed(0)
    module = _tower().eval()
    torch.jit.trace(module, torch.rand(1, 3, TINY_IMAGE_SIZE, TINY_IMAGE_SIZE)).save(str(folder / "tower.pt"))
    shape = (1, 3, TINY_IMAGE_SIZE, TINY_IMAGE_SIZE)
    return Artifact(
        path=str(folder / "tower.pt"), format="pytorch", target="pytorch", tower="image", precision="fp32",
        inputs=(TensorSpec(name="image", shape=shape, dtype="float32", layout="NCHW", value_range=(0.0, 1.0)),),
        outputs=(TensorSpec(name="embedding", shape=(1, WIDTH), dtype="float32", layout="NC"),),
    )  # fmt: skip


def _tower() -> Any:
    import torch
    from torch import nn

    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(WIDTH, WIDTH)

        def forward(self, grid: torch.Tensor) -> torch.Tensor:
            return nn.functional.gelu(self.linear(grid.flatten(2).transpose(1, 2))).mean(1)

    large, norm, tokens = nn.Conv2d(WIDTH, WIDTH, 7, padding=3, groups=WIDTH), nn.BatchNorm2d(WIDTH), Tokens()
    with torch.no_grad():
        large.weight.normal_(0.0, 0.02)
        large.weight[:, :, 2:5, 2:5] += torch.randn(WIDTH, 1, 3, 3)
        for bias in (norm.bias, tokens.linear.bias):
            bias.normal_(0.0, 0.002)
    layers = {"stem": nn.Conv2d(3, WIDTH, 4, stride=4), "large": large, "act": nn.GELU(), "norm": norm}
    trunk = nn.Sequential()
    for name, layer in (layers | {"tokens": tokens}).items():
        trunk.add_module(name, layer)
    whole = nn.Sequential()
    whole.add_module("tower", trunk)
    return whole
