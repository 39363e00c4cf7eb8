"""What a Core ML program computes on the calibration samples: ranges of activations, and products of layers' inputs.

coremltools asks Core ML for the ranges (`linear_quantize_activations`), which needs a Mac. Here this project's
interpreter executes the package, so that the same samples give the same figures on every machine.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from converter.errors import ConversionError
from converter.mil.interpreter import Interpreter
from converter.mil.program import read_program
from converter.quantization.calibration import Sample
from converter.quantization.estimators import Range, RangeEstimator
from converter.quantization.gptq import add_products, spread_rows
from converter.records import Recipe, TensorSpec

CALIBRATION_THREADS = 2
"""The same for every --jobs: the last bits of PyTorch's sums depend on how many threads take part in them, and one
such bit can tip a weight of an int8 layer over to the next step."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """By the program's names of values.

    `products` are sums of x xT, x being the channels of one place; of a sample as many places as `spread_rows` takes.
    """

    ranges: Mapping[str, Range] = field(default_factory=dict)
    products: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict)


def measure(
    package: Path,
    ranged: Collection[str],
    multiplied: Mapping[str, int],
    inputs: Iterable[TensorSpec],
    samples: Iterable[Sample],
    recipe: Recipe,
) -> Measured:
    """Ranges of the values in `ranged`, by the recipe's rule; products of those in `multiplied`, by channel axis.

    Raises:
        ConversionError: there are no samples, a value is not computed, or one is NaN or infinite.
    """
    with _calibration_threads():
        return _measure(package, ranged, multiplied, tuple(inputs), samples, recipe)


def _measure(
    package: Path,
    ranged: Collection[str],
    multiplied: Mapping[str, int],
    specs: tuple[TensorSpec, ...],
    samples: Iterable[Sample],
    recipe: Recipe,
) -> Measured:
    interpreter = Interpreter(read_program(package))
    estimator, seen = RangeEstimator(recipe), RangeEstimator()
    products: dict[str, npt.NDArray[np.float64]] = {}
    for number, sample in enumerate(samples):
        for _, results in interpreter.steps({spec.name: _laid_out(sample[spec.name], spec) for spec in specs}):
            for name, value in results.items():
                if name in ranged:
                    estimator.update(name, value.numpy())
                if name in ranged or name in multiplied:
                    seen.update(name, value.numpy())
                if name in multiplied:
                    places = value.movedim(multiplied[name], -1).flatten(0, -2)
                    add_products(products, name, spread_rows(places.numpy(), number))
    _refuse_unusable(package, {*ranged, *multiplied}, seen.extremes())
    return Measured(ranges=estimator.ranges(), products=products)


@contextmanager
def _calibration_threads() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(CALIBRATION_THREADS)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _laid_out(array: np.ndarray[Any, Any], spec: TensorSpec) -> np.ndarray[Any, Any]:
    """Calibration samples are NHWC."""
    wanted = tuple(size for size in spec.shape if isinstance(size, int))
    return np.ascontiguousarray(array.transpose(0, 3, 1, 2)) if array.ndim == 4 and array.shape != wanted else array


def _refuse_unusable(package: Path, names: Collection[str], seen: Mapping[str, Range]) -> None:
    if not seen:
        message = f"{package}: there is not one calibration sample to measure activations with"
        raise ConversionError(message)
    absent = sorted(set(names) - set(seen))
    if absent:
        message = f"{package}: {len(absent)} values to be quantized are never computed, first '{absent[0]}'"
        raise ConversionError(message)
    wild = [name for name, ends in seen.items() if not np.isfinite(ends).all()]
    if wild:
        message = (
            f"{package}: {len(wild)} values are NaN or infinite on the calibration samples, first '{wild[0]}'; nothing "
            "can be quantized from that: look at the fp16 row's parity first, and at keep_float32"
        )
        raise ConversionError(message)
