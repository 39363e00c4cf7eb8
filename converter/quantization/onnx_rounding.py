"""Which layers of an ONNX graph stay in float for being its stem, and weights rounded by what layers compute.

Both as in TFLite files (tflite_layers.py, compensation.py): the same recipe means the same in either format.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from converter.quantization.calibration import calibration_of
from converter.quantization.gptq import (
    SAMPLES,
    STEM_SHARE,
    add_products,
    in_groups,
    round_by_output,
    scales_of,
    spread_rows,
)
from converter.quantization.onnx_graph import Array, Graph, attributes_of
from converter.quantization.onnx_ranges import open_session, run_sample
from converter.quantization.onnx_weights import Weight
from converter.records import Recipe

type Hessians = dict[str, npt.NDArray[np.float64]]

_LAYERS = ("Conv", "Gemm", "MatMul")


def stem_of(graph: Graph) -> set[str]:
    """Names of the nodes with weights before the graph first branches, up to `STEM_SHARE` of the products."""
    layers = [node for node in graph.nodes if node.op_type in _LAYERS and graph.is_float(node.input[1])]
    most = STEM_SHARE * sum(_products(graph, node) for node in layers)
    found: set[str] = set()
    total = 0
    for node in _chain(graph):
        if node.op_type in _LAYERS and graph.is_float(node.input[1]):
            total += _products(graph, node)
            if total > most:
                break
            found.add(node.name)
    return found


def round_weights(
    model: Any,
    graph: Graph,
    weights: Sequence[Weight],
    recipe: Recipe,
    layouts: Mapping[str, str],
    pairs: Collection[str],
) -> int:
    """Put the weights of products, linear layers and 1x1 convolutions, on their grids in place; returns how many.

    `pairs` are the names of those that `scales_of` gives scales for.

    Raises:
        ConversionError: the recipe names no calibration data, or ONNX Runtime cannot run it.
    """
    products = [weight for weight in weights if _is_product(graph, weight)]
    for group in in_groups(products, lambda weight: _product_of(graph, weight)):
        found = _hessians(model, group, recipe, layouts)
        for weight in group:
            value = np.moveaxis(graph.array(weight.name), weight.axis, 0)
            products_of = found[weight.node.input[0]]
            rounded = round_by_output(value.reshape(len(value), -1), products_of, pairs=weight.name in pairs)
            graph.store(weight.name, np.moveaxis(rounded.reshape(value.shape), 0, weight.axis))
    return len(products)


def pair_scales(graph: Graph, weights: Sequence[Weight]) -> dict[str, npt.NDArray[np.float32]]:
    """A scale for each output channel of each weight, (out,), with which two neighbours always fit into 16 bits."""
    return {
        weight.name: scales_of(np.moveaxis(graph.array(weight.name), weight.axis, 0), pairs=True)[:, 0]
        for weight in weights
    }


def _chain(graph: Graph) -> Iterator[Any]:
    readers = graph.readers()
    computed = {name for node in graph.nodes for name in node.output}
    current = graph.model.graph.input[0].name
    while len(readers.get(current, ())) == 1:
        (node,) = readers[current]
        if sum(name in computed for name in node.input) > 1:
            return
        yield node
        current = node.output[0]


def _products(graph: Graph, node: Any) -> int:
    """How many multiplications a layer takes a sample."""
    shape = [size if isinstance(size, int) else 1 for size in graph.shapes.get(node.output[0], ())]
    places = shape[2:] if node.op_type == "Conv" else shape[:-1]
    return int(np.prod(places)) * int(np.prod(graph.dims(node.input[1])))


def _is_product(graph: Graph, weight: Weight) -> bool:
    kind, given = weight.node.op_type, attributes_of(weight.node)
    if kind == "Conv":
        return given.get("group", 1) == 1 and max(graph.dims(weight.name)[2:]) == 1
    return kind == "MatMul" or (kind == "Gemm" and not given.get("transA"))


def _product_of(graph: Graph, weight: Weight) -> tuple[str, int]:
    shape = graph.dims(weight.name)
    return weight.node.input[0], int(np.prod(shape)) // shape[weight.axis]


def _hessians(model: Any, weights: Sequence[Weight], recipe: Recipe, layouts: Mapping[str, str]) -> Hessians:
    """The sum of x xT over the rows that each value holds, by its name."""
    channels_first = {weight.node.input[0] for weight in weights if weight.node.op_type == "Conv"}
    names = sorted({weight.node.input[0] for weight in weights})
    session = open_session(model, names)
    found: Hessians = {}
    for number, sample in enumerate(islice(calibration_of(recipe), recipe.samples or SAMPLES)):
        for name, value in zip(names, run_sample(session, names, sample, layouts), strict=True):
            rows = spread_rows(_rows(value, channels_first=name in channels_first), number)
            add_products(found, name, rows)
    return found


def _rows(value: Array, *, channels_first: bool) -> Array:
    last = value.transpose(0, 2, 3, 1) if channels_first else value
    return last.reshape(-1, last.shape[-1])
