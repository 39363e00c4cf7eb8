"""Apply a recipe to a float32 TFLite file.

Rules:

1. `weight_bits: 16` stores the weights in float16 (converter/quantization/float16.py).
2. `weight_bits: 8` alone stores int8 weights, which are unpacked when the file is loaded; arithmetic is float32.
3. With `activation_bits: 8` layers multiply in int8. Without a `sample_set` every activation is quantized as it comes,
   by its own range; with one, by the range that it had on the calibration samples.
4. Only convolutions and linear layers get int8 activations. What lies between them (norms, softmax, GELU, residual
   sums) costs little time and much accuracy, and XNNPACK has no int8 GELU. Inputs and outputs stay float32.
5. Depthwise convolutions keep float32 activations: one scale cannot serve channels whose ranges lie far apart. On
   the S1 image tower with seeded weights, over 48 and 64 photographs, the mean centred cosine fell from 0.97 to 0.91
   with ranges as they come, and from 0.89 to 0.58 with fixed ones. Their weights are 3 % of the tower: `auto` leaves
   them in float32 too (0.969 instead of 0.964), but for fixed ranges, where it made no difference.
6. The token embedding has int8 rows with a scale each and returns float32 whatever the activations are: LiteRT has no
   other int8 embedding.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from converter.errors import ConversionError
from converter.quantization.calibration import calibration_of
from converter.quantization.float16 import cast_weights
from converter.quantization.ranges import Ranges, measure_ranges, memory_warning_known
from converter.records import Recipe
from converter.tflite_file import read_model, read_model_bytes

type Depthwise = Literal["auto", "float32", "int8_weights"]

CALIBRATION_THREADS = 2
_LAYERS = ("FULLY_CONNECTED", "CONV_2D", "BATCH_MATMUL")
_EVERYTHING = ".*"


def quantize(path: str | Path, recipe: Recipe, *, keep_float32: Iterable[str], depthwise: Depthwise) -> Any:
    """The quantized `ModelT` of the file at `path`.

    `keep_float32` are regular expressions; layers whose output tensor matches one are left as they are.

    Raises:
        ConversionError: LiteRT has no such precision, the calibration data cannot be used, or the quantizer fails.
    """
    bits = (recipe.weight_bits, recipe.activation_bits)
    if bits == (16, None):
        model = read_model(path)
        cast_weights(model, keep_float32)
        return model
    if bits not in ((8, None), (8, 8)):
        message = (
            f"recipe '{recipe.name}' asks for {bits[0]}-bit weights and {bits[1] or 'float'} activations; TFLite files "
            "are made with 16 bits, or 8 with float or 8-bit activations"
        )
        raise ConversionError(message)
    return _quantize(path, recipe, keep_float32, depthwise)


def _quantize(path: str | Path, recipe: Recipe, keep_float32: Iterable[str], depthwise: Depthwise) -> Any:
    from ai_edge_quantizer.quantizer import Quantizer

    ranges = measure_ranges(path, calibration_of(recipe), CALIBRATION_THREADS) if _is_static(recipe) else None
    try:
        quantizer = Quantizer(str(path))
        _configure(quantizer, recipe, depthwise)
        for pattern in keep_float32:
            _leave(quantizer, pattern)
        return read_model_bytes(_run(quantizer, ranges), path)
    except (ValueError, RuntimeError, KeyError) as error:
        message = f"{path}: ai-edge-quantizer cannot apply recipe '{recipe.name}': {error}"
        raise ConversionError(message) from error


def depthwise_in_int8(recipe: Recipe, depthwise: Depthwise) -> bool:
    """Whether an 8-bit recipe stores the weights of depthwise convolutions in int8 (rule 5)."""
    return depthwise == "int8_weights" or (depthwise == "auto" and (_is_static(recipe) or not recipe.activation_bits))


def _is_static(recipe: Recipe) -> bool:
    return recipe.activation_bits is not None and recipe.sample_set is not None


def _configure(quantizer: Any, recipe: Recipe, depthwise: Depthwise) -> None:
    """Rules 2 to 6."""
    from ai_edge_quantizer.qtyping import QuantGranularity, TFLOperationName

    granularity = QuantGranularity.CHANNELWISE if recipe.granularity == "channel" else QuantGranularity.TENSORWISE
    for kind in map(TFLOperationName, _LAYERS):
        if recipe.activation_bits is None:
            quantizer.add_weight_only_config(_EVERYTHING, kind, recipe.weight_bits, granularity)
        elif not _is_static(recipe):
            quantizer.add_dynamic_config(_EVERYTHING, kind, recipe.weight_bits, granularity)
        elif kind is not TFLOperationName.BATCH_MATMUL:
            quantizer.add_static_config(_EVERYTHING, kind, recipe.activation_bits, recipe.weight_bits, granularity)
    if depthwise_in_int8(recipe, depthwise):
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
