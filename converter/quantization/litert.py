"""Apply a recipe to a float32 TFLite file.

Rules:

1. `weight_bits: 16` stores the weights in float16 (converter/quantization/float16.py).
2. `weight_bits: 8` alone stores int8 weights, which are unpacked when the file is loaded; arithmetic is float32.
3. With `activation_bits` layers multiply in integers: static or dynamic, as the recipe says.
4. Only convolutions and linear layers get integer activations. What lies between them (norms, softmax, GELU, residual
   sums) costs little time and much accuracy, and XNNPACK has no int8 GELU. Inputs and outputs stay float32.
5. Depthwise convolutions keep float32 activations: one scale cannot serve channels whose ranges lie far apart. On
   the S1 image tower with seeded weights, over 48 and 64 photographs, the mean centred cosine fell from 0.97 to 0.91
   with ranges as they come, and from 0.89 to 0.58 with fixed ones.
6. What stays in float has float16 weights: half the bytes, and 11 bits where the others have 8.
7. The token embedding has int8 rows with a scale each and returns float32 whatever the activations are: LiteRT has no
   other int8 embedding.
8. A fixed range of what a GELU reads ends at `GELU_FLOOR`: below it GELU is zero within 0.004, and the steps that it
   would take are wanted above. On the S1 image tower this alone took the error from 0.035 to 0.014.
9. What makes up for rounding comes first, in float32 (converter/quantization/compensation.py).
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from converter.errors import ConversionError
from converter.quantization.compensation import round_weights, smooth_channels
from converter.quantization.float16 import cast_weights
from converter.quantization.ranges import Ranges, memory_warning_known, ranges_of
from converter.quantization.recipes import layer_name, layers_left_in_float, mode_of
from converter.quantization.tflite_layers import KINDS, Layer, find_layers, stem_of
from converter.records import Recipe
from converter.tflite_file import read_model, read_model_bytes, write_model
from converter.tflite_graph import Graph

type Depthwise = Literal["float16", "int8_weights"]

THREADS = 2
GELU_FLOOR = -3.0
"""Rule 8."""
_BITS = ((16, None), (8, None), (8, 8), (8, 16))
_NAMED = (*KINDS, "DEPTHWISE_CONV_2D", "EMBEDDING_LOOKUP")
_EVERYTHING = ".*"


@dataclass(frozen=True, kw_only=True)
class Quantized:
    """The `ModelT`, and what was done that the file itself does not tell."""

    model: Any
    notes: tuple[str, ...]


def unsupported(recipe: Recipe) -> str:
    """Why LiteRT cannot do what a recipe asks; empty where it can."""
    if recipe.weight_coding != "linear":
        return "LiteRT has no palettes: its weights are integers with a scale"
    if (recipe.weight_bits, recipe.activation_bits) not in _BITS:
        asked = f"{recipe.weight_bits}-bit weights and {recipe.activation_bits or 'float'} activations"
        return f"TFLite files have 16-bit weights, or 8-bit ones with float, 8- or 16-bit activations, not {asked}"
    if recipe.activation_bits == 16 and mode_of(recipe) != "static":
        return "LiteRT has no dynamic 16-bit activations; give the recipe a sample_set"
    return ""


def quantize(path: str | Path, recipe: Recipe, *, keep_float32: Iterable[str], depthwise: Depthwise) -> Quantized:
    """The quantized file at `path`.

    `keep_float32` are regular expressions; layers whose output tensor matches one are left as they are.

    Raises:
        ConversionError: LiteRT has no such precision, the recipe names layers that are not there, the calibration data
            cannot be used, or the quantizer fails.
    """
    why = unsupported(recipe)
    if why:
        message = f"recipe '{recipe.name}': {why}"
        raise ConversionError(message)
    if mode_of(recipe) == "float16":
        model = read_model(path)
        cast_weights(model, keep_float32)
        return Quantized(model=model, notes=())
    return _quantize(path, recipe, tuple(keep_float32), depthwise)


def _quantize(path: str | Path, recipe: Recipe, keep_float32: tuple[str, ...], depthwise: Depthwise) -> Quantized:
    graph = Graph(read_model(path))
    left = [*keep_float32, *(f"{re.escape(name)}(;|$)" for name in sorted(_left_in_float(graph, recipe)))]
    every = find_layers(graph)
    layers = [layer for layer in every if not _matches(graph.name(layer.output).decode(), left)]
    notes: list[str] = []
    with tempfile.TemporaryDirectory(prefix="mcconvert-") as folder:
        if recipe.smooth:
            notes.append(smooth_channels(graph, layers, recipe, THREADS))
            path = Path(folder) / "smooth.tflite"
            write_model(graph.model, path)
        ranges = _measured(graph, path, recipe, every, notes) if mode_of(recipe) == "static" else None
    if recipe.round_weights == "gptq":
        notes.append(round_weights(graph, layers, recipe, THREADS))
    model = _rounded(graph.model, recipe, ranges, left, depthwise)
    cast_weights(model, keep_float32)
    return Quantized(model=model, notes=tuple(notes))


def _measured(graph: Graph, path: str | Path, recipe: Recipe, layers: list[Layer], notes: list[str]) -> Ranges:
    """Of all layers, so that a recipe which leaves others in float finds them measured; rule 8."""
    read = {graph.name(index).decode() for layer in layers for index in (layer.source, layer.output)}
    measured = ranges_of(path, recipe, THREADS, only=sorted(read))
    notes.extend(measured.notes)
    return _with_gelu_floor(graph, measured.ranges)


def _left_in_float(graph: Graph, recipe: Recipe) -> set[str]:
    """Names of the output tensors of the layers that the recipe leaves in float."""
    layers = find_layers(graph, _NAMED)
    computed = (int(index) for op in graph.subgraph.operators for index in op.outputs)
    left = layers_left_in_float(recipe, (layer_name(graph.name(index).decode()) for index in computed))
    stem = {layer.output for layer in stem_of(graph)} if recipe.float_stem else set()
    return {graph.name(layer.output).decode() for layer in layers if layer.name in left or layer.output in stem}


def _matches(name: str, patterns: Collection[str]) -> bool:
    return any(re.search(pattern, name) for pattern in patterns)


def _with_gelu_floor(graph: Graph, ranges: Ranges) -> Ranges:
    """Rule 8."""
    read = {graph.name(int(op.inputs[0])).decode() for op in graph.ops("GELU")}
    return {
        name: {end: np.maximum(value, np.float32(GELU_FLOOR)) if name in read and end == "min" else value
               for end, value in ends.items()}
        for name, ends in ranges.items()
    }  # fmt: skip


def _rounded(model: Any, recipe: Recipe, ranges: Ranges | None, left: list[str], depthwise: Depthwise) -> Any:
    """Rules 2 to 5 and 7, by ai-edge-quantizer."""
    from ai_edge_quantizer.quantizer import Quantizer

    with tempfile.TemporaryDirectory(prefix="mcconvert-") as folder:
        path = Path(folder) / "float32.tflite"
        write_model(model, path)
        try:
            quantizer = Quantizer(str(path))
            _configure(quantizer, recipe, depthwise)
            for pattern in left:
                _leave(quantizer, pattern)
            return read_model_bytes(_run(quantizer, ranges), path)
        except (ValueError, RuntimeError, KeyError) as error:
            message = f"ai-edge-quantizer cannot apply recipe '{recipe.name}': {error}"
            raise ConversionError(message) from error


def _configure(quantizer: Any, recipe: Recipe, depthwise: Depthwise) -> None:
    """Rules 2 to 5 and 7."""
    from ai_edge_quantizer.qtyping import QuantGranularity, TFLOperationName

    granularity = QuantGranularity.CHANNELWISE if recipe.granularity == "channel" else QuantGranularity.TENSORWISE
    mode = mode_of(recipe)
    for kind in map(TFLOperationName, (*KINDS, "BATCH_MATMUL")):
        if mode == "weights":
            quantizer.add_weight_only_config(_EVERYTHING, kind, recipe.weight_bits, granularity)
        elif mode == "dynamic":
            quantizer.add_dynamic_config(_EVERYTHING, kind, recipe.weight_bits, granularity)
        elif kind is not TFLOperationName.BATCH_MATMUL:
            quantizer.add_static_config(_EVERYTHING, kind, recipe.activation_bits, recipe.weight_bits, granularity)
    if depthwise == "int8_weights":
        quantizer.add_weight_only_config(
            _EVERYTHING, TFLOperationName.DEPTHWISE_CONV_2D, recipe.weight_bits, granularity
        )
    quantizer.add_dynamic_config(_EVERYTHING, TFLOperationName.EMBEDDING_LOOKUP, recipe.weight_bits, granularity)


def _leave(quantizer: Any, pattern: str) -> None:
    from ai_edge_quantizer.qtyping import TFLOperationName
    from ai_edge_quantizer.quantizer import AlgorithmName

    quantizer.update_quantization_recipe(
        pattern, TFLOperationName.ALL_SUPPORTED, algorithm_key=AlgorithmName.NO_QUANTIZE
    )


def _run(quantizer: Any, ranges: Ranges | None) -> bytes:
    with memory_warning_known():
        return bytes(quantizer.quantize(ranges).quantized_model)
