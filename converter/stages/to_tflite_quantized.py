"""TFLite float32 -> TFLite with float16 or int8 weights, as a recipe says.

    before: CONV_2D x, w (float32)
    after:  CONV_2D x, w (int8, a scale a channel)          dynamic and weight-only int8: rules 2 and 3
            QUANTIZE x -> CONV_2D int8 -> DEQUANTIZE         static int8: rule 3
            DEQUANTIZE w (float16) -> CONV_2D x, w           float16: rule 1

The rules are those of converter/quantization/litert.py. Inputs and outputs keep names, types and layout.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from converter.errors import ConversionError
from converter.quantization import litert
from converter.records import Artifact, Recipe
from converter.tflite_file import write_model
from converter.tflite_graph import Graph

FORMAT = "tflite"
ACCEPTS = ("tflite",)
REQUIRES = ("ai-edge-litert", "ai-edge-quantizer", "flatbuffers")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the recipe is not applied to."""

    depthwise: Literal["float16", "int8_weights"] = "float16"
    """Weights of depthwise convolutions in an int8 file; their activations are float32 in any case. `int8_weights`
    saves 1 % of the float32 size and costs some accuracy."""
    keep_float32: tuple[str, ...] = ()
    """Regular expressions; layers whose output tensor matches one are left as they are."""


def unsupported(recipe: Recipe) -> str:
    """Why LiteRT cannot do what a recipe asks; empty where it can."""
    return litert.unsupported(recipe)


def convert(parent: Artifact, options: Options, recipe: Recipe | None, out_dir: Path) -> Artifact:
    """Write `<tower>_<recipe>.tflite` into `out_dir`.

    Raises:
        ConversionError: no recipe was given, LiteRT cannot do what it asks for, or its calibration data is missing.
    """
    recipe = _required(recipe, parent)
    made = litert.quantize(parent.path, recipe, keep_float32=options.keep_float32, depthwise=options.depthwise)
    model = made.model
    _rename_outputs(model, parent)
    _check(model, parent)
    path = out_dir / f"{parent.tower}_{recipe.name}.tflite"
    write_model(model, path)
    return Artifact(
        path=str(path.resolve()),
        format=FORMAT,
        target="tflite",
        tower=parent.tower,
        precision=recipe.precision,
        inputs=parent.inputs,
        outputs=parent.outputs,
        notes=(*_notes(recipe, options), *made.notes),
    )


def _required(recipe: Recipe | None, parent: Artifact) -> Recipe:
    if recipe is None:
        message = "to_tflite_quantized needs a recipe, such as fp16 or dynamic_w8; name one in the target's row"
        raise ConversionError(message)
    if parent.precision != "fp32":
        message = f"{parent.path}: it is {parent.precision} already; take the float32 row of to_tflite as parent"
        raise ConversionError(message)
    return recipe


def _rename_outputs(model: Any, parent: Artifact) -> None:
    """Where the last layer itself is quantized, its float32 output has come to be called `<name>_dequant`."""
    graph = Graph(model)
    named = {bytes(tensor.name).decode(): tensor for tensor in graph.subgraph.tensors}
    for index, spec in zip(graph.subgraph.outputs, parent.outputs, strict=True):
        if graph.name(int(index)).decode() != spec.name:
            if spec.name in named:
                named[spec.name].name = f"{spec.name}_quantized".encode()
            graph.subgraph.tensors[int(index)].name = spec.name.encode()


def _check(model: Any, parent: Artifact) -> None:
    graph = Graph(model)
    seen = [graph.name(int(index)).decode() for index in (*graph.subgraph.inputs, *graph.subgraph.outputs)]
    expected = [spec.name for spec in (*parent.inputs, *parent.outputs)]
    if seen != expected:
        message = (
            f"{parent.path}: after quantizing, inputs and outputs are named {seen}, expected {expected}; "
            "put the last layer's name into keep_float32"
        )
        raise ConversionError(message)


def _notes(recipe: Recipe, options: Options) -> tuple[str, ...]:
    notes = [recipe.summary]
    if recipe.activation_bits is not None:
        weights = "int8" if options.depthwise == "int8_weights" else "float16"
        notes += ["float32 between layers", f"depthwise convolutions: {weights} weights, float32 activations"]
    if recipe.float_stem:
        notes.append("layers before the first branch: float")
    if left := (*recipe.float_layers, *options.keep_float32):
        notes.append(f"left in float: {', '.join(left)}")
    return tuple(notes)
