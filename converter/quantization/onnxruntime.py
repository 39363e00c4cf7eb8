"""Apply a recipe to a float32 ONNX model, with ONNX Runtime's own quantizers where integers are multiplied.

Rules:

1. Layers with integer arithmetic are matrix products: linear layers and 1x1 convolutions, brought into one form first
   (converter/quantization/onnx_rows.py). Weights are int8 with a scale a channel. Activations are uint8: on x86, ONNX
   Runtime multiplies uint8 by int8 in one instruction, int8 by int8 ten times as slowly (1.26, VNNI), and uint8 by
   uint8 half as fast.
2. Without a `sample_set`, every activation is quantized as it comes, by its own range (DynamicQuantizeLinear and
   MatMulInteger). With one, by the range that it had on the calibration samples (QuantizeLinear and DequantizeLinear
   around Gemm).
3. A layer's result is float32, so that what lies between layers (norms, softmax, GELU, sums) stays float32: ONNX
   Runtime has no int8 GELU, and each further rounding costs accuracy.
4. Depthwise and other convolutions with a kernel stay float32: ONNX Runtime's blocked float kernels are quick, and one
   scale cannot serve channels whose ranges lie far apart. Their weights are stored in float16, or in int8.
5. Without `activation_bits` all weights are int8 and unpacked when the file is loaded (onnx_weights.py).
6. The token embedding's rows are int8 in any case.
7. `float_stem` and `round_weights` mean what they mean in TFLite files (onnx_rounding.py); kernels of rule 4 belong to
   no product and are rounded to nearest.
8. The pre-processing that ONNX Runtime asks for: the float32 file was simplified when it was written, and shapes are
   inferred here. Its own optimisation before quantizing is left out: it would merge and rename layers.
9. Between layers with integer arithmetic GELU is computed by tanh instead of erf: 0.0005 away at most, a fortieth of an
   int8 step, in two thirds of the time (ONNX Runtime 1.26). By erf, it takes a quarter of the products' time on S1.
   Where GELU is no operator (before opset 20) it stays as it is.
10. Scales of weights are such that the sum of two neighbours' products fits into 16 bits (gptq.py, rule 5): an x86
    without VNNI sums them there and cuts off the rest. So a file gives the same on every CPU. With one scale a tensor
    that would cost too much, and is not done.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np

from converter.errors import ConversionError
from converter.quantization.calibration import calibration_of
from converter.quantization.onnx_graph import Graph, inferred
from converter.quantization.onnx_ranges import measure_ranges
from converter.quantization.onnx_rounding import pair_scales, round_weights, stem_of
from converter.quantization.onnx_rows import put_on_rows
from converter.quantization.onnx_weights import Weight, find_weights, store_weights
from converter.quantization.recipes import Mode, layer_name, layers_left_in_float, mode_of
from converter.records import Recipe

type Kernels = Literal["float32", "float16", "int8"]
type Gelu = Literal["tanh", "erf"]
type Overrides = Mapping[str, list[dict[str, Any]]]

_PRODUCTS = ("Gemm", "MatMul")
_BITS = {"float16": 16, "int8": 8}


def unsupported(recipe: Recipe) -> str:
    """Why ONNX Runtime cannot do what the recipe asks for; "" where it can."""
    if recipe.weight_coding == "palette":
        return "ONNX has no palettes: no operator looks weights up in a table that ONNX Runtime would unpack at load"
    if recipe.weight_bits != 8:
        return (
            f"ONNX Runtime's int8 kernels take 8-bit weights, the recipe asks for {recipe.weight_bits}: its 4-bit ones "
            "(MatMulNBits) take no convolution and need at least twice the time of 8 bits here"
        )
    if recipe.activation_bits not in (None, 8):
        return (
            "ONNX Runtime's CPU kernels multiply 8-bit integers only, the recipe asks for "
            f"{recipe.activation_bits}-bit activations: those are unpacked before each layer, in five times the time"
        )
    return ""


def quantize(model: Any, recipe: Recipe, *, layouts: Mapping[str, str], kernels: Kernels, gelu: Gelu) -> Any:
    """The quantized model. `layouts` are those of its inputs, by name; `kernels` says how rule 4 stores weights, `gelu`
    whether rule 9 is followed.

    Raises:
        ConversionError: the recipe is not for ONNX Runtime or names layers that are not there, its calibration data
            cannot be used, or the quantizer fails.
    """
    reason = unsupported(recipe)
    if reason:
        message = f"recipe '{recipe.name}' cannot be applied to ONNX: {reason}"
        raise ConversionError(message)
    graph = Graph(model)
    mode = mode_of(recipe)
    stem = {layer_name(name) for name in stem_of(graph)} if recipe.float_stem else set()
    if mode != "weights":
        put_on_rows(graph)
        if gelu == "tanh":
            _take_tanh(graph)
    weights = _chosen(graph, recipe, stem)
    multiplied = [weight for weight in weights if weight.node.op_type in _PRODUCTS and mode != "weights"]
    scales = pair_scales(graph, multiplied) if recipe.granularity == "channel" else {}
    if recipe.round_weights == "gptq":
        round_weights(model, graph, weights, recipe, layouts, scales)
    _store(graph, [weight for weight in weights if weight not in multiplied], kernels)
    if mode == "weights":
        return model
    products, told = [weight.node for weight in multiplied], _told(multiplied, scales, mode)
    if mode == "static":
        return _static(model, recipe, products, layouts, told)
    return _dynamic(model, recipe, products, told)


def _told(multiplied: Iterable[Weight], scales: Mapping[str, Any], mode: Mode) -> Overrides:
    """Rule 10, as ONNX Runtime's quantizers take it: by weight, an entry a channel. The dynamic one is given every Gemm
    as a MatMul, whose channels are its columns.
    """
    from onnxruntime.quantization import QuantType

    told = {"quant_type": QuantType.QInt8, "zero_point": np.int8(0)}
    return {
        weight.name: [{"axis": 1 if mode == "dynamic" else weight.axis, "scale": scale, **told}
                      for scale in scales[weight.name]]
        for weight in multiplied if weight.name in scales
    }  # fmt: skip


def _take_tanh(graph: Graph) -> None:
    """Rule 9."""
    import onnx

    for node in graph.nodes:
        if node.op_type == "Gelu":
            del node.attribute[:]
            node.attribute.append(onnx.helper.make_attribute("approximate", "tanh"))


def _chosen(graph: Graph, recipe: Recipe, stem: Collection[str]) -> list[Weight]:
    """The weights that the recipe does not leave in float."""
    weights = find_weights(graph)
    layers = {weight.node.output[0]: layer_name(weight.node.name) for weight in weights}
    left = layers_left_in_float(recipe, layers.values()) | set(stem)
    return [weight for weight in weights if layers[weight.node.output[0]] not in left]


def _store(graph: Graph, weights: list[Weight], kernels: Kernels) -> None:
    """Rules 4 to 6."""
    spatial = [weight for weight in weights if _is_kernel(graph, weight)]
    store_weights(graph, [weight for weight in weights if weight not in spatial], 8)
    if kernels != "float32":
        store_weights(graph, spatial, _BITS[kernels])


def _is_kernel(graph: Graph, weight: Weight) -> bool:
    return weight.node.op_type == "Conv" and max(graph.dims(weight.name)[2:]) > 1


def _static(model: Any, recipe: Recipe, products: list[Any], layouts: Mapping[str, str], told: Overrides) -> Any:
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    ranges = measure_ranges(model, (node.input[0] for node in products), calibration_of(recipe), layouts, recipe)
    spans = {name: TensorData(lowest=np.float32(low), highest=np.float32(high)) for name, (low, high) in ranges.items()}
    with _failures(recipe):
        quantizer = QDQQuantizer(
            _prepared(model),
            tensors_range=TensorsData(CalibrationMethod.MinMax, spans),
            nodes_to_quantize=[node.name for node in products],
            op_types_to_quantize=["Gemm"],
            extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm"], "TensorQuantOverrides": told},
            **_types(recipe),
        )
        quantizer.quantize_model()
    model = _finished(quantizer)
    _drop_bias_zeros(model)
    return model


def _drop_bias_zeros(model: Any) -> None:
    """Zero points of int32 biases are zeros, four bytes a channel, and leaving them out says the same."""
    import onnx

    biases = {tensor.name for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.INT32}
    nodes = list(model.graph.node)
    for node in nodes:
        if node.op_type == "DequantizeLinear" and node.input[0] in biases:
            node.input[:] = node.input[:2]
    Graph(model).replace(nodes)


def _dynamic(model: Any, recipe: Recipe, products: list[Any], told: Overrides) -> Any:
    from onnxruntime.quantization.onnx_model import ONNXModel
    from onnxruntime.quantization.onnx_quantizer import ONNXQuantizer
    from onnxruntime.quantization.quant_utils import QuantizationMode

    with _failures(recipe):
        prepared = ONNXModel(_prepared(model))
        prepared.replace_gemm_with_matmul()  # the quantizer does so later than it looks at what it is told of weights
        quantizer = ONNXQuantizer(
            prepared.model,
            mode=QuantizationMode.IntegerOps,
            static=False,
            tensors_range=None,
            nodes_to_quantize=[f"{node.name}_MatMul" for node in products],
            op_types_to_quantize=["MatMul"],
            extra_options={"MatMulConstBOnly": True, "TensorQuantOverrides": told},
            **_types(recipe),
        )
        quantizer.quantize_model()
    return _finished(quantizer)


def _types(recipe: Recipe) -> dict[str, Any]:
    """Rule 1."""
    from onnxruntime.quantization import QuantType

    return {
        "per_channel": recipe.granularity == "channel",
        "reduce_range": False,
        "weight_qType": QuantType.QInt8,
        "activation_qType": QuantType.QUInt8,
        "nodes_to_exclude": [],
    }


def _prepared(model: Any) -> Any:
    """Rule 8: shapes in the model, and the mark that spares the quantizers to infer them through a file."""
    from onnxruntime.quantization.quant_utils import add_infer_metadata

    model.graph.value_info.extend(inferred(model))
    add_infer_metadata(model)
    return model


def _finished(quantizer: Any) -> Any:
    quantizer.model.topological_sort()
    model = quantizer.model.model
    del model.graph.value_info[:]
    del model.metadata_props[:]
    return model


@contextmanager
def _failures(recipe: Recipe) -> Iterator[None]:
    """ONNX Runtime's quantizers log their advice on the root logger, and raise what their parts raise."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    except (ValueError, TypeError, KeyError, RuntimeError) as error:
        message = f"ONNX Runtime's quantizer cannot apply recipe '{recipe.name}': {error}"
        raise ConversionError(message) from error
    finally:
        root.setLevel(level)
