"""Weights stored in fewer bits in an ONNX file and unpacked when it is loaded; arithmetic stays float32.

    before: Conv x, w (float32)
    after:  Conv x, (w (int8) -> Cast -> Mul by a scale a channel)       linear
            Conv x, (w (float16) -> Cast)                                halved
            Gather (table (int8)), ids -> Cast -> Mul by Gather (scales), ids      the token embedding

Rules:

1. A scale for each output channel, symmetric, so that zero stays zero: scale = largest / (2 ** (bits - 1) - 1).
2. Cast and Mul, not DequantizeLinear: ONNX Runtime (1.26) folds the former into float32 weights when it loads the file
   and computes at the speed of the float32 one. The latter it leaves for integer kernels to fuse, and where there is
   none it unpacks every weight at every call.
3. The embedding's rows have a scale each, and only the rows that a text needs are unpacked.
4. Small weights stay: below `_WORTHWHILE` numbers, names and nodes would take what is saved.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from converter.quantization.onnx_graph import Array, Graph, attributes_of, new_node

_WORTHWHILE = 512
_LEAST_SCALE = np.float32(1e-12)


@dataclass(frozen=True, kw_only=True)
class Weight:
    """A constant that a layer multiplies with: its name, its node, and the axis of the node's output channels."""

    name: str
    node: Any
    axis: int


def find_weights(graph: Graph) -> list[Weight]:
    """Float32 matrices and kernels of layers, and tables that rows are taken from; masks are none."""
    found = [
        Weight(name=name, node=node, axis=axis)
        for node in graph.nodes
        for name, axis in _weights_of(node)
        if graph.is_float(name) and len(graph.dims(name)) >= 2 and int(np.prod(graph.dims(name))) >= _WORTHWHILE
    ]
    return [weight for weight in found if not _is_mask(graph.array(weight.name))]


def store_weights(graph: Graph, weights: Iterable[Weight], bits: int) -> None:
    """Write the weights with 16 bits (float16) or 8 (rules 1 to 3)."""
    before: dict[str, list[Any]] = {}
    instead: dict[str, list[Any]] = {}
    renamed: dict[str, str] = {}
    for weight in weights:
        first = weight.node.output[0]
        if weight.node.op_type == "Gather":
            instead[first] = _taken_rows(graph, weight)
        elif weight.name not in renamed:
            renamed[weight.name] = f"{weight.name}_dequant"
            before[first] = _unpacked(graph, weight, bits)
    graph.replace(_rewritten(graph, before, instead, renamed))


def quantize_array(value: Array, axis: int, bits: int = 8) -> tuple[Array, Array]:
    """(int8 values, float32 scales in the shape that multiplies them): rule 1."""
    others = tuple(place for place in range(value.ndim) if place != axis)
    largest = np.abs(value).max(axis=others, keepdims=True)
    scales = np.maximum(largest / (2 ** (bits - 1) - 1), _LEAST_SCALE).astype(np.float32)
    return np.rint(value / scales).astype(np.int8), scales


def _weights_of(node: Any) -> list[tuple[str, int]]:
    """(name, axis of output channels) of what may be the node's weight."""
    if node.op_type == "Conv":
        return [(node.input[1], 0)]
    if node.op_type == "Gemm":
        return [(node.input[1], 0 if attributes_of(node).get("transB") else 1)]
    if node.op_type == "MatMul":
        return [(node.input[1], 1)]
    return [(node.input[0], 0)] if node.op_type == "Gather" and not attributes_of(node).get("axis") else []


def _is_mask(value: Array) -> bool:
    """A matrix of up to three different numbers selects or sums; it was not learned."""
    return value.ndim == 2 and len(np.unique(value[:3])) <= 3 and len(np.unique(value)) <= 3


def _unpacked(graph: Graph, weight: Weight, bits: int) -> list[Any]:
    """Nodes that compute the weight under its new name (rule 2)."""
    import onnx

    value, new = graph.array(weight.name), f"{weight.name}_dequant"
    if bits == 16:
        graph.store(weight.name, value.astype(np.float16))
        return [new_node("Cast", [weight.name], new, to=onnx.TensorProto.FLOAT)]
    stored, scales = quantize_array(value, weight.axis, bits)
    graph.store(weight.name, stored)
    return [
        new_node("Cast", [weight.name], f"{weight.name}_quant", to=onnx.TensorProto.FLOAT),
        new_node("Mul", [f"{weight.name}_quant", graph.store(f"{weight.name}_scale", scales)], new),
    ]


def _taken_rows(graph: Graph, weight: Weight) -> list[Any]:
    """Rule 3."""
    import onnx

    node, output = weight.node, weight.node.output[0]
    stored, scales = quantize_array(graph.array(weight.name), 0)
    graph.store(weight.name, stored)
    inputs = [graph.store(f"{weight.name}_scale", scales), node.input[1]]
    return [
        new_node("Gather", [weight.name, node.input[1]], f"{output}_quant", node.name),
        new_node("Gather", inputs, f"{output}_scale"),
        new_node("Cast", [f"{output}_quant"], f"{output}_cast", to=onnx.TensorProto.FLOAT),
        new_node("Mul", [f"{output}_cast", f"{output}_scale"], output),
    ]


def _rewritten(
    graph: Graph, before: dict[str, list[Any]], instead: dict[str, list[Any]], renamed: dict[str, str]
) -> list[Any]:
    nodes: list[Any] = []
    for node in graph.nodes:
        first = node.output[0]
        nodes += before.get(first, [])
        if first in instead:
            nodes += instead[first]
            continue
        node.input[:] = [renamed.get(name, name) for name in node.input]
        nodes.append(node)
    return nodes
