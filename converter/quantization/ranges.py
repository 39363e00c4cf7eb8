"""The ranges of a TFLite file's activations over calibration samples: what full-integer files derive scales from."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from converter.errors import ConversionError
from converter.quantization.calibration import Sample, calibration_of
from converter.quantization.convergence import Calibration, Run, calibrate
from converter.quantization.range_store import facts_of, known_or_measured
from converter.records import Recipe
from converter.tflite_file import read_model

type Ranges = dict[str, dict[str, npt.NDArray[Any]]]
"""{"min": array, "max": array} by tensor name, each array one element of the tensor's rank."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Ranges as ai-edge-quantizer takes them, and for the artifact's notes how they came about."""

    ranges: Ranges
    notes: tuple[str, ...]


def ranges_of(path: str | Path, recipe: Recipe, threads: int, *, only: Collection[str] | None = None) -> Measured:
    """The ranges that a recipe asks for on the calibration samples that it names, measured once for all who ask.

    Raises:
        ConversionError: as for `calibration_of` and for `measure_ranges`.
    """
    facts = facts_of(path, recipe, only, f"ai-edge-litert {version('ai-edge-litert')}", threads)
    found = known_or_measured(facts, lambda: _calibration(path, calibration_of(recipe), threads, recipe, only))
    print("\n".join(found.notes), flush=True)
    return Measured(ranges=_as_arrays(found, _ranks(path)), notes=found.notes)


def measure_ranges(
    path: str | Path,
    samples: Iterable[Sample],
    threads: int,
    *,
    recipe: Recipe | None = None,
    only: Collection[str] | None = None,
) -> Ranges:
    """The range of every float32 tensor that the file takes or computes, or of those named by `only`.

    Without a recipe these are the smallest and largest values over all samples; with one, they follow its rule, and
    where it names no number of samples, as many are taken as it needs.

    ai-edge-quantizer's own calibration (0.5.1) is not used: it keeps moving averages, in which the extremes of all
    but the last samples fade, and it copies every weight at every sample.

    Raises:
        ConversionError: there are no samples, a tensor is NaN or infinite on one, or `only` names one that is absent.
    """
    return _as_arrays(_calibration(path, samples, threads, recipe, only), _ranks(path))


@contextmanager
def memory_warning_known() -> Iterator[None]:
    """Silence LiteRT's warning that keeping every tensor takes memory; measuring needs them all."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*experimental_preserve_all_tensors", category=UserWarning)
        yield


def _calibration(
    path: str | Path, samples: Iterable[Sample], threads: int, recipe: Recipe | None, only: Collection[str] | None
) -> Calibration:
    _refuse_unknown(path, only)
    found = calibrate(watch(path, threads, only), samples, recipe, only)
    _refuse_unusable(found, path)
    return found


def watch(path: str | Path, threads: int, only: Collection[str] | None) -> Run:
    """What runs the file on a sample and gives every float32 tensor, or those named by `only`."""
    from ai_edge_litert.interpreter import Interpreter

    with memory_warning_known():
        interpreter = Interpreter(str(path), num_threads=threads, experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    (entry,) = interpreter.get_input_details()
    tensors = {index: name for index, name in _activations(path).items() if only is None or name in only}

    def run(sample: Sample) -> Iterator[tuple[str, npt.NDArray[Any]]]:
        interpreter.set_tensor(entry["index"], sample[entry["name"]])
        interpreter.invoke()
        for index, name in tensors.items():
            yield name, interpreter.get_tensor(index)

    return run


def _activations(path: str | Path) -> dict[int, str]:
    """Names of float32 tensors by index: the graph's inputs and what its ops compute."""
    from ai_edge_litert import schema_py_generated as schema

    subgraph = read_model(path).subgraphs[0]
    indices = {int(i) for op in subgraph.operators for i in op.outputs} | {int(i) for i in subgraph.inputs}
    tensors = {i: subgraph.tensors[i] for i in sorted(indices)}
    return {i: tensor.name.decode() for i, tensor in tensors.items() if tensor.type == schema.TensorType.FLOAT32}


def _ranks(path: str | Path) -> dict[str, int]:
    tensors = read_model(path).subgraphs[0].tensors
    return {tensor.name.decode(): len(tensor.shape) if tensor.shape is not None else 0 for tensor in tensors}


def _as_arrays(found: Calibration, ranks: Mapping[str, int]) -> Ranges:
    return {
        name: {end: np.full((1,) * ranks[name], value, np.float32) for end, value in (("min", low), ("max", high))}
        for name, (low, high) in found.ranges.items()
    }


def _refuse_unknown(path: str | Path, only: Collection[str] | None) -> None:
    unknown = sorted(set(only or ()) - set(_activations(path).values()))
    if unknown:
        message = f"{path}: {len(unknown)} tensors to measure are not computed in float32 there, first '{unknown[0]}'"
        raise ConversionError(message)


def _refuse_unusable(found: Calibration, path: str | Path) -> None:
    if not found.samples:
        message = f"{path}: there is not one calibration sample to measure activations with"
        raise ConversionError(message)
    wild = [name for name, ends in found.ranges.items() if not np.isfinite(ends).all()]
    if wild:
        message = (
            f"{path}: {len(wild)} tensors are NaN or infinite on the calibration samples, first '{wild[0]}'; "
            "nothing can be quantized from that: look at the float32 file's parity first"
        )
        raise ConversionError(message)
