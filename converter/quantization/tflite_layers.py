"""The layers of a float32 TFLite file as products: weights (out, in), and the rows of inputs that they multiply.

FULLY_CONNECTED has such weights, and a row is one vector. Those of CONV_2D, (out, h, w, in), are taken as
(out, h * w * in), and a row is the patch under the kernel at one place. DEPTHWISE_CONV_2D, one small product a channel,
is not among them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from converter.quantization.gptq import STEM_SHARE, add_products, spread_rows
from converter.quantization.recipes import layer_name
from converter.tflite_graph import Graph

type Array = npt.NDArray[Any]

KINDS = ("CONV_2D", "FULLY_CONNECTED")


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One op with constant weights. `bias` is -1 where it has none; the others are indices of tensors."""

    op: Any
    kind: str
    name: str
    source: int
    weights: int
    bias: int
    output: int


def find_layers(graph: Graph, kinds: Iterable[str] = KINDS) -> list[Layer]:
    """All layers of those kinds whose weights are stored in float32, in order of execution."""
    wanted = set(kinds)
    ops = [(op, graph.kind(op)) for op in graph.subgraph.operators if graph.kind(op) in wanted]
    return [_layer(graph, op, kind) for op, kind in ops if graph.constant(int(op.inputs[1])) is not None]


def matrix_of(graph: Graph, layer: Layer) -> npt.NDArray[np.float32]:
    """The weights as (out, in)."""
    weights = graph.constant(layer.weights)
    assert weights is not None
    return weights.reshape(len(weights), -1)


def store_matrix(graph: Graph, layer: Layer, matrix: npt.NDArray[np.float32]) -> None:
    """Put (out, in) back as the layer's weights."""
    graph.store(layer.weights, np.ascontiguousarray(matrix, np.float32).reshape(graph.shape(layer.weights)))


def rows_of(graph: Graph, layer: Layer, source: Array, sample: int = 0) -> Array:
    """Rows of the layer's input, (n, in), as many as `spread_rows` takes."""
    rows = source.reshape(-1, source.shape[-1]) if layer.kind == "FULLY_CONNECTED" else _patches(graph, layer, source)
    return spread_rows(rows, sample)


def stem_of(graph: Graph) -> list[Layer]:
    """The layers before the graph first branches, as long as they hold less than `STEM_SHARE` of the products."""
    chain = {id(op) for op in _chain(graph)}
    layers = find_layers(graph)
    most = STEM_SHARE * sum(_products(graph, layer) for layer in layers)
    found, total = [], 0
    for layer in layers:
        total += _products(graph, layer)
        if id(layer.op) not in chain or total > most:
            break
        found.append(layer)
    return found


def _chain(graph: Graph) -> Iterator[Any]:
    """Ops from the input on, each reading what the one before computed and nothing else that is computed."""
    current = int(graph.subgraph.inputs[0])
    computed = {int(index) for op in graph.subgraph.operators for index in op.outputs}
    while True:
        readers = graph.consumers(current)
        if len(readers) != 1 or sum(int(index) in computed for index in readers[0].inputs) > 1:
            return
        yield readers[0]
        current = int(readers[0].outputs[0])


def _products(graph: Graph, layer: Layer) -> int:
    """How many multiplications a layer takes."""
    return int(np.prod(graph.shape(layer.output)[:-1])) * int(np.prod(graph.shape(layer.weights)))


def hessians(
    graph: Graph, layers: Iterable[Layer], samples: Iterable[Iterable[tuple[str, Array]]]
) -> dict[tuple[int, int], npt.NDArray[np.float64]]:
    """The sum of x xT over the rows x that layers read, (in, in), by `product_of` them.

    `samples` gives for each sample the names and values of tensors; those that no layer reads are passed over.
    """
    readers: dict[str, dict[tuple[int, int], Layer]] = {}
    for layer in layers:
        readers.setdefault(graph.name(layer.source).decode(), {})[product_of(graph, layer)] = layer
    found: dict[tuple[int, int], npt.NDArray[np.float64]] = {}
    for number, tensors in enumerate(samples):
        for name, value in tensors:
            for key, layer in readers.get(name, {}).items():
                add_products(found, key, rows_of(graph, layer, value, number))
    return found


def product_of(graph: Graph, layer: Layer) -> tuple[int, int]:
    """(tensor, in): layers that have this in common multiply the same rows."""
    return layer.source, matrix_of(graph, layer).shape[1]


def _layer(graph: Graph, op: Any, kind: str) -> Layer:
    inputs = [int(index) for index in op.inputs]
    output = int(op.outputs[0])
    return Layer(
        op=op, kind=kind, name=layer_name(graph.name(output).decode()), source=inputs[0], weights=inputs[1],
        bias=inputs[2] if len(inputs) > 2 else -1, output=output,
    )  # fmt: skip


def _patches(graph: Graph, layer: Layer, source: Array) -> Array:
    """(places, h * w * in) of an image (1, height, width, in)."""
    _, height, width, channels = graph.shape(layer.weights)
    options = layer.op.builtinOptions
    strides, dilations = (options.strideH, options.strideW), (options.dilationHFactor, options.dilationWFactor)
    if options.padding == graph.schema.Padding.SAME:
        source = _padded(source, (height, width), strides, dilations)
    spans = tuple((size - 1) * dilation + 1 for size, dilation in zip((height, width), dilations, strict=True))
    windows: Array = np.lib.stride_tricks.sliding_window_view(source[0], spans, axis=(0, 1))  # type: ignore[call-overload]
    taken: Array = windows[:: strides[0], :: strides[1], :, :: dilations[0], :: dilations[1]]
    return taken.transpose(0, 1, 3, 4, 2).reshape(-1, height * width * channels)


def _padded(source: Array, kernel: tuple[int, int], strides: tuple[int, int], dilations: tuple[int, int]) -> Array:
    """TFLite's SAME: the smaller half of what is missing comes first."""
    pads = []
    for size, taps, stride, dilation in zip(source.shape[1:3], kernel, strides, dilations, strict=True):
        missing = max(0, (-(-size // stride) - 1) * stride + (taps - 1) * dilation + 1 - size)
        pads.append((missing // 2, missing - missing // 2))
    return np.pad(source, ((0, 0), *pads, (0, 0)))
