"""What operations are told: every setting that figures over samples may miss is held against the parent's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from converter.records import Artifact, Recipe, TensorSpec, Tower
from converter.runtimes import coreml
from converter.stages import to_coreml
from converter.torchscript_file import deprecation_known
from tests.runtimes.coreml_breaking import constant, copied, edit_block, first

pytest.importorskip("coremltools", reason="needs the extra mcconvert[coreml]")

HALF = Recipe(name="fp16", summary="half", precision="fp16", weight_bits=16)


def _a_gelu_in_its_tanh_form(block: Any) -> None:
    constant(block, first(block, "gelu"), "mode").strings.values[0] = "TANH_APPROXIMATION"


def _epsilon(kind: str) -> Callable[[Any], None]:
    def edit(block: Any) -> None:
        constant(block, first(block, kind), "epsilon").floats.values[0] = 1e-6

    return edit


def _half_epsilon(value: float) -> Callable[[Any], None]:
    def edit(block: Any) -> None:
        constant(block, first(block, "layer_norm"), "epsilon").bytes.values = np.float16(value).tobytes()

    return edit


def _strides(block: Any) -> None:
    held = constant(block, first(block, "conv"), "strides").ints.values
    held[0] = 3 - held[0]


def _pads(block: Any) -> None:
    conv = next(one for one in block.operations if one.type == "conv" and _padded(block, one))
    held = constant(block, conv, "pad").ints.values
    held[0], held[1] = held[0] + 1, held[1] - 1


def _padded(block: Any, conv: Any) -> bool:
    return constant(block, conv, "pad_type").strings.values[0] == "custom"


def _softmax_axis(block: Any) -> None:
    constant(block, first(block, "softmax"), "axis").ints.values[0] = -2


def _perm(block: Any) -> None:
    held = constant(block, first(block, "transpose"), "perm").ints.values
    held[-1], held[-2] = held[-2], held[-1]


def _keep_dims(block: Any) -> None:
    held = constant(block, first(block, "reduce_mean"), "keep_dims").bools.values
    held[0] = not held[0]


def _floor(block: Any) -> None:
    constant(block, first(block, "clip"), "alpha").floats.values[0] = 0.5


@pytest.mark.parametrize(
    ("tower", "edit", "said"),
    [
        ("image", _a_gelu_in_its_tanh_form, "gelu: 1 of the program with approximate tanh; the parent has instead 1"),
        ("image", _epsilon("batch_norm"), "batch norm: 1 of the program with epsilon"),
        (
            "text",
            _epsilon("layer_norm"),
            "layer norm: 5 of the program with axes (-1,), epsilon 1e-06; the parent has instead 5",
        ),
        ("image", _strides, "convolution: 1 of the program with strides"),
        ("image", _pads, "convolution: 1 of the program with strides"),
        ("image", _softmax_axis, "softmax: 1 of the program with axis -2; the parent has instead 1 with axis -1"),
        ("text", _perm, "transpose: 1 of the program with perm"),
        ("image", _keep_dims, "aten::mean: 1 of the program with axes"),
        ("image", _floor, "clamp: 1 of the program with low 0.5"),
    ],
)
def test_one_wrong_setting_is_found(
    tower: Tower, edit: Callable[[Any], None], said: str, tiny_coreml: Any, tiny_parents: Any, tmp_path: Path
) -> None:
    """One operation among all of its kind; the weights are untouched."""
    package = copied(tiny_coreml[tower, "fp32"], tmp_path)
    edit_block(package, edit)

    problems = coreml.check_structure(package, tiny_parents[tower]).problems

    assert [problem for problem in problems if problem.startswith(said)], problems


@pytest.mark.parametrize(("value", "wrong"), [(1e-5, False), (1e-6, True), (0.0, True)])
def test_an_epsilon_is_compared_as_float16_holds_it(
    value: float, wrong: bool, tiny_coreml: Any, tiny_parents: Any, tmp_path: Path
) -> None:
    """1e-5 has no exact float16 and is right; 1e-6 and a 0 are not."""
    package = copied(tiny_coreml["text", "fp16"], tmp_path)
    edit_block(package, _half_epsilon(value))

    assert bool(coreml.check_structure(package, tiny_parents["text"]).problems) is wrong


class _Spelled(nn.Module):
    """The same axes, counted from the front and from the back, over three and over four of them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=(0, 1), dilation=(1, 2), bias=False)
        self.norm = nn.LayerNorm((9, 9), eps=1e-12)
        self.line = nn.Linear(8, 8)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.conv(image).softmax(1)).mean((2,))
        rows = self.line(x.transpose(-2, -1)).softmax(-1)
        approximate = nn.functional.gelu(rows, approximate="tanh") * nn.functional.gelu(rows)
        return approximate.clamp(max=2.0).sum(-1, keepdim=True).amax(1)


@pytest.mark.parametrize("recipe", [None, HALF])
def test_axes_may_be_spelled_otherwise(recipe: Recipe | None, tmp_path: Path) -> None:
    """-1 and 3 are one axis of four, and an epsilon too small for float16 is the smallest that it has."""
    torch.manual_seed(0)
    with deprecation_known():
        torch.jit.trace(_Spelled().eval(), torch.rand(1, 3, 19, 19), check_trace=False).save(str(tmp_path / "s.pt"))
    parent = Artifact(
        path=str(tmp_path / "s.pt"), format="pytorch", target="pytorch", tower="image", precision="fp32",
        inputs=(TensorSpec(name="image", shape=(1, 3, 19, 19), dtype="float32", layout="NCHW"),),
        outputs=(TensorSpec(name="embedding", shape=(1, 1), dtype="float32", layout="NC"),),
    )  # fmt: skip

    made = to_coreml.convert(parent, to_coreml.Options(), recipe, tmp_path)

    assert coreml.check_structure(made, parent).problems == ()
