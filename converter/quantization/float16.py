"""Float16 weights in a TFLite file: half the bytes, arithmetic in float32 on a CPU.

    before: CONV_2D x, w (float32), b (float32)
    after:  w (float16) -> DEQUANTIZE, b (float16) -> DEQUANTIZE; CONV_2D x, w, b

Rules:

1. The weights and biases of layers are stored in float16. XNNPACK unpacks them once, when the file is loaded. It does
   so only where the bias is float16 as well: with a float32 one the layer falls out of XNNPACK and runs two to three
   times as long. That is why ai-edge-quantizer's float casting (0.5.1), which leaves biases, is not used.
2. An embedding is looked up in float16, and only the rows that were found are unpacked: unpacking the whole table
   would take four times its size in memory.
3. Everything else stays in float32: norms and positions weigh next to nothing. Layers with weights of another type,
   which an int8 file has beside those that it leaves in float, are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from converter.errors import ConversionError
from converter.tflite_graph import Graph

LAYERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_LARGEST = float(np.finfo(np.float16).max)


def cast_weights(model: Any, keep_float32: Iterable[str] = ()) -> None:
    """Cast the weights of every layer and embedding of a `ModelT`, in place.

    `keep_float32` are regular expressions; layers whose output tensor matches one are left as they are.

    Raises:
        ConversionError: a weight lies outside of float16's range.
    """
    graph = Graph(model)
    patterns = [re.compile(pattern) for pattern in keep_float32]
    unpacked: dict[int, int] = {}
    for op in list(graph.subgraph.operators):
        kind, name = graph.kind(op), graph.name(int(op.outputs[0])).decode()
        if any(pattern.search(name) for pattern in patterns):
            continue
        if kind in LAYERS and _has_float_weights(graph, op):
            _cast_layer(graph, op, unpacked)
        elif kind == "EMBEDDING_LOOKUP":
            _cast_embedding(graph, op)


def _has_float_weights(graph: Graph, layer: Any) -> bool:
    """Stored ones, also where another layer, which shares them, has had them cast; not ones unpacked from int8."""
    kinds = graph.schema.TensorType
    tensor = graph.subgraph.tensors[int(layer.inputs[1])]
    data = graph.model.buffers[tensor.buffer].data
    return tensor.type in (kinds.FLOAT32, kinds.FLOAT16) and data is not None and len(data) > 0


def _cast_layer(graph: Graph, layer: Any, unpacked: dict[int, int]) -> None:
    """Rule 1. `unpacked` remembers, for constants that several layers share, what unpacks them."""
    inputs = [int(index) for index in layer.inputs]
    for place, packed in enumerate(inputs[1:], start=1):
        if packed >= 0 and packed not in unpacked and _cast(graph, packed):
            name, kind = graph.name(packed) + b"_float32", graph.schema.TensorType.FLOAT32
            unpacked[packed] = graph.new_tensor(name, kind, graph.shape(packed))
            graph.insert_before(layer, _dequantize(graph, packed, unpacked[packed]))
        inputs[place] = unpacked.get(packed, packed)
    layer.inputs = inputs


def _cast_embedding(graph: Graph, lookup: Any) -> None:
    """Rule 2."""
    ids, table = (int(index) for index in lookup.inputs)
    rows = int(lookup.outputs[0])
    if not _cast(graph, table):
        return
    packed = graph.new_tensor(graph.name(rows) + b"_float16", graph.schema.TensorType.FLOAT16, graph.shape(rows))
    graph.replace([lookup], [graph.new_op("EMBEDDING_LOOKUP", [ids, table], packed), _dequantize(graph, packed, rows)])


def _cast(graph: Graph, index: int) -> bool:
    """Store a float32 constant in float16; False where the tensor is no such constant."""
    value = graph.constant(index)
    if value is None:
        return False
    largest = float(np.abs(value).max(initial=0.0))
    if not largest <= _LARGEST:
        name = graph.name(index).decode()
        message = f"weight '{name}' reaches {largest:.3g}, float16 ends at {_LARGEST:.0f}; keep this file in float32"
        raise ConversionError(message)
    graph.store(index, value.astype(np.float16))
    return True


def _dequantize(graph: Graph, source: int, output: int) -> Any:
    return graph.new_op("DEQUANTIZE", [source], output, graph.schema.DequantizeOptionsT())
