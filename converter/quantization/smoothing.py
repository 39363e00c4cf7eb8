"""Even out the channels that a layer reads, so that one scale serves them all; the model stays the same in float32.

    before: x -> DEPTHWISE_CONV_2D w, b -> y -> CONV_2D v              (or MUL w, ADD b, as a LayerNorm ends)
    after:  x -> DEPTHWISE_CONV_2D w / s, b / s -> y / s -> CONV_2D v * s

Rules:

1. s of a channel is its largest magnitude on calibration samples to the power alpha, over the largest magnitude of the
   weights that read it to the power 1 - alpha (Xiao et al., SmoothQuant, 2022, arXiv 2211.10438).
2. Only where every value passes through constants that can be scaled: depthwise convolutions, products and sums with a
   vector, and sums of such; and where nothing but layers with weights reads the result.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from converter.quantization.tflite_layers import Layer
from converter.tflite_graph import Graph

type Vector = npt.NDArray[np.float32]

SMALLEST = 1e-5
"""Magnitudes below count as this: a channel that is never used would ask for an endless scale."""


def smoothable(graph: Graph, layers: Sequence[Layer]) -> dict[int, list[Layer]]:
    """By tensor, the layers that read it where rule 2 holds."""
    readers: dict[int, list[Layer]] = {}
    for layer in layers:
        readers.setdefault(layer.source, []).append(layer)
    outputs = {int(index) for index in graph.subgraph.outputs}
    return {
        source: found
        for source, found in readers.items()
        if source not in outputs
        and len(graph.consumers(source)) == len(found)
        and all(_reads_channels(graph, layer) for layer in found)
        and _constants(graph, source) is not None
    }


def smooth(
    graph: Graph, groups: Mapping[int, Sequence[Layer]], samples: Iterable[Iterable[tuple[str, Any]]], alpha: float
) -> None:
    """Scale all groups of `smoothable` in place. `samples` gives names and values of their tensors, each in turn."""
    largest = _largest(samples)
    for source, layers in groups.items():
        weights = np.max([_by_channel(graph.constant(layer.weights)) for layer in layers], axis=0)
        seen = largest[graph.name(source).decode()]
        scale = np.maximum(seen, SMALLEST) ** alpha / np.maximum(weights, SMALLEST) ** (1.0 - alpha)
        _apply(graph, source, layers, (scale / np.exp(np.log(scale).mean())).astype(np.float32))


def _largest(samples: Iterable[Iterable[tuple[str, Any]]]) -> dict[str, Vector]:
    found: dict[str, Vector] = {}
    for tensors in samples:
        for name, value in tensors:
            seen = _by_channel(value)
            found[name] = np.maximum(found.get(name, seen), seen)
    return found


def _by_channel(value: Any) -> Vector:
    return np.asarray(np.abs(value).reshape(-1, value.shape[-1]).max(axis=0))


def _apply(graph: Graph, source: int, layers: Sequence[Layer], scale: Vector) -> None:
    for constant in dict.fromkeys(_constants(graph, source) or ()):
        _multiply(graph, constant, 1.0 / scale)
    for layer in layers:
        _multiply(graph, layer.weights, scale)


def _multiply(graph: Graph, constant: int, factors: Vector) -> None:
    value = graph.constant(constant)
    assert value is not None
    graph.store(constant, np.asarray(value * factors, np.float32))


def _reads_channels(graph: Graph, layer: Layer) -> bool:
    """Whether the last axis of its weights is that of its input's channels."""
    return graph.shape(layer.weights)[-1] == graph.shape(layer.source)[-1]


def _constants(graph: Graph, index: int) -> list[int] | None:
    """The constants to divide for the tensor to be divided by channel; None where rule 2 does not hold."""
    producer = graph.producer(index)
    if producer is None:
        return None
    kind = graph.kind(producer)
    if kind == "DEPTHWISE_CONV_2D":
        return _owned(graph, [int(one) for one in producer.inputs[1:]], index)
    if kind not in ("ADD", "MUL") or producer.builtinOptions.fusedActivationFunction:
        return None
    found: list[int] = []
    for part in _parts(graph, producer, kind):
        if graph.constant(part) is not None:
            below = _owned(graph, [part], index)
        else:
            below = _constants(graph, part) if len(graph.consumers(part)) == 1 else None
        if below is None:
            return None
        found += below
    return found


def _parts(graph: Graph, producer: Any, kind: str) -> Iterator[int]:
    """What must be scaled: both sides of a sum, one side of a product, its constant where it has one."""
    inputs = [int(one) for one in producer.inputs]
    constants = [one for one in inputs if graph.constant(one) is not None]
    yield from inputs if kind == "ADD" else (constants or inputs)[:1]


def _owned(graph: Graph, constants: Sequence[int], index: int) -> list[int] | None:
    """The constants if each has a value for every channel and scaling it is nobody else's business."""
    channels = graph.shape(index)[-1]
    for one in constants:
        value = graph.constant(one)
        if value is None or value.shape[-1:] != (channels,):
            return None
        if len(graph.consumers(one)) > 1 and value.any():
            return None
    return list(constants)
