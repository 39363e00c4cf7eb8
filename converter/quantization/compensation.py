"""Change a float32 TFLite file so that rounding it costs less.

Rules, each as its recipe asks:

1. `smooth` evens out the channels that layers read (smoothing.py); in float32 the model stays the same.
2. `round_weights: gptq` puts weights on the grid of their scales by what layers compute (gptq.py). Quantizers that
   round to nearest then find every weight on the grid already.

Both look at calibration samples, whatever the recipe's ranges are.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy.typing as npt

from converter.quantization.calibration import calibration_of
from converter.quantization.gptq import SAMPLES, in_groups, round_by_output
from converter.quantization.ranges import watch
from converter.quantization.smoothing import smooth, smoothable
from converter.quantization.tflite_layers import Layer, hessians, matrix_of, product_of, store_matrix
from converter.records import Recipe
from converter.tflite_file import write_model
from converter.tflite_graph import Graph

type Watched = Iterator[Iterator[tuple[str, npt.NDArray[Any]]]]


def smooth_channels(graph: Graph, layers: Sequence[Layer], recipe: Recipe, threads: int) -> str:
    """Rule 1, in place; returns in words what was done.

    Raises:
        ConversionError: the recipe names no calibration data, or it cannot be read.
    """
    groups = smoothable(graph, layers)
    names = {graph.name(source).decode() for source in groups}
    with tempfile.TemporaryDirectory(prefix="mcconvert-") as folder:
        smooth(graph, groups, _watched(graph, Path(folder), recipe, threads, names), recipe.smooth)
    return f"channels of {len(groups)} activations evened out (SmoothQuant, alpha {recipe.smooth:g})"


def round_weights(graph: Graph, layers: Sequence[Layer], recipe: Recipe, threads: int) -> str:
    """Rule 2, in place; returns in words what was done.

    Raises:
        ConversionError: the recipe names no calibration data, or it cannot be read.
    """
    for group in in_groups(layers, lambda layer: product_of(graph, layer)):
        names = {graph.name(layer.source).decode() for layer in group}
        with tempfile.TemporaryDirectory(prefix="mcconvert-") as folder:
            found = hessians(graph, group, _watched(graph, Path(folder), recipe, threads, names))
        for layer in group:
            store_matrix(graph, layer, round_by_output(matrix_of(graph, layer), found[product_of(graph, layer)]))
    return f"weights of {len(layers)} layers rounded by what the layers compute (GPTQ)"


def _watched(graph: Graph, folder: Path, recipe: Recipe, threads: int, names: set[str]) -> Watched:
    path = folder / "float32.tflite"
    write_model(graph.model, path)
    run = watch(path, threads, names)
    for sample in islice(calibration_of(recipe), recipe.samples or SAMPLES):
        yield iter(run(sample))
