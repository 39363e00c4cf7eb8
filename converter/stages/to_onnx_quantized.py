"""ONNX float32 -> ONNX with int8 weights, as a recipe says.

    before: x (float32) -> Conv 1x1 or Gemm, w (float32)
    after:  x -> DynamicQuantizeLinear -> MatMulInteger, w (int8, a scale a channel) -> float32       dynamic int8
            x -> QuantizeLinear -> DequantizeLinear -> Gemm, w (int8) -> DequantizeLinear             static int8
            x -> Conv or Gemm, w (int8) -> Cast -> Mul                                                weight-only int8

The rules are those of converter/quantization/onnxruntime.py. Inputs and outputs keep names, types, layout and batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from converter.errors import ConversionError
from converter.onnx_file import load_model, save_model
from converter.quantization import onnxruntime
from converter.quantization.onnxruntime import Gelu, Kernels, unsupported
from converter.quantization.recipes import mode_of
from converter.records import Artifact, Recipe

FORMAT = "onnx"
ACCEPTS = ("onnx",)
REQUIRES = ("onnx", "onnxruntime")

__all__ = ["ACCEPTS", "FORMAT", "REQUIRES", "Options", "convert", "unsupported"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the recipe is not applied to."""

    kernels: Kernels = "float16"
    """How weights of depthwise and other convolutions with a kernel are stored in a file with int8 activations;
    arithmetic is float32 in any case. They are a twentieth of a tower: int8 saves 1 % of the float32 size and costs
    some accuracy."""
    gelu: Gelu = "tanh"
    """How GELU is computed in a file with int8 activations: by `tanh`, within 0.0005 and faster in ONNX Runtime, or by
    `erf`, as PyTorch does. Files with int8 weights alone keep `erf`."""


def convert(parent: Artifact, options: Options, recipe: Recipe | None, out_dir: Path) -> Artifact:
    """Write `<tower>_<recipe>.onnx` into `out_dir`.

    Raises:
        ConversionError: no recipe was given, ONNX Runtime cannot do what it asks for, or its calibration data is
            missing.
    """
    recipe = _required(recipe, parent)
    layouts = {spec.name: spec.layout for spec in parent.inputs}
    model = onnxruntime.quantize(
        load_model(parent.path), recipe, layouts=layouts, kernels=options.kernels, gelu=options.gelu
    )
    path = out_dir / f"{parent.tower}_{recipe.name}.onnx"
    save_model(model, path)
    return Artifact(
        path=str(path.resolve()),
        format=FORMAT,
        target="onnx",
        tower=parent.tower,
        precision=recipe.precision,
        inputs=parent.inputs,
        outputs=parent.outputs,
        notes=_notes(recipe, options),
    )


def _required(recipe: Recipe | None, parent: Artifact) -> Recipe:
    if recipe is None:
        message = "to_onnx_quantized needs a recipe, such as static_w8a8 or dynamic_w8; name one in the target's row"
        raise ConversionError(message)
    if parent.precision != "fp32":
        message = f"{parent.path}: it is {parent.precision} already; take a float32 row of to_onnx as parent"
        raise ConversionError(message)
    return recipe


def _notes(recipe: Recipe, options: Options) -> tuple[str, ...]:
    notes = [recipe.summary]
    if mode_of(recipe) != "weights":
        notes += [
            "uint8 activations and int8 weights in linear layers and 1x1 convolutions, float32 between layers",
            f"other convolutions: {options.kernels} weights, float32 arithmetic",
            f"GELU by {options.gelu}",
        ]
    if recipe.float_layers:
        notes.append(f"kept in float32: {', '.join(recipe.float_layers)}")
    left_out = _not_applied(recipe)
    if left_out:
        notes.append(f"asked for and not applied in ONNX: {', '.join(left_out)}")
    return tuple(notes)


def _not_applied(recipe: Recipe) -> list[str]:
    """Fields that make up for rounding and that this stage does not know: the file must not claim them."""
    asked = {
        "smooth": recipe.smooth > 0,
    }
    return [name for name, wanted in asked.items() if wanted]
