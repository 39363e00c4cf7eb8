"""The range of every activation over the calibration samples: what a full-integer file derives its scales from."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from converter.errors import ConversionError
from converter.quantization.calibration import Sample
from converter.tflite_file import read_model

type Ranges = dict[str, dict[str, npt.NDArray[Any]]]
"""{"min": array, "max": array} by tensor name, each array one element of the tensor's rank."""


def measure_ranges(path: str | Path, samples: Iterable[Sample], threads: int) -> Ranges:
    """The smallest and the largest value of every float32 tensor that the file takes or computes.

    ai-edge-quantizer's own calibration (0.5.1) is not used: it keeps moving averages, in which the extremes of all
    but the last samples fade, and it copies every weight at every sample.

    Raises:
        ConversionError: there are no samples, or a tensor is NaN or infinite on one.
    """
    interpreter = _open(path, threads)
    (entry,) = interpreter.get_input_details()
    tensors = _activations(path)
    ranges: Ranges = {}
    for sample in samples:
        interpreter.set_tensor(entry["index"], sample[entry["name"]])
        interpreter.invoke()
        for index, name in tensors.items():
            _widen(ranges, name, interpreter.get_tensor(index))
    _refuse_unusable(ranges, path)
    return ranges


@contextmanager
def memory_warning_known() -> Iterator[None]:
    """Silence LiteRT's warning that keeping every tensor takes memory; measuring needs them all."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*experimental_preserve_all_tensors", category=UserWarning)
        yield


def _open(path: str | Path, threads: int) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    with memory_warning_known():
        interpreter = Interpreter(str(path), num_threads=threads, experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    return interpreter


def _activations(path: str | Path) -> dict[int, str]:
    """Names of float32 tensors by index: the graph's inputs and what its ops compute."""
    from ai_edge_litert import schema_py_generated as schema

    subgraph = read_model(path).subgraphs[0]
    indices = {int(i) for op in subgraph.operators for i in op.outputs} | {int(i) for i in subgraph.inputs}
    tensors = {i: subgraph.tensors[i] for i in sorted(indices)}
    return {i: tensor.name.decode() for i, tensor in tensors.items() if tensor.type == schema.TensorType.FLOAT32}


def _widen(ranges: Ranges, name: str, value: npt.NDArray[Any]) -> None:
    low, high = (np.full((1,) * value.ndim, end, np.float32) for end in (value.min(), value.max()))
    known = ranges.setdefault(name, {"min": low, "max": high})
    known["min"] = np.minimum(known["min"], low)
    known["max"] = np.maximum(known["max"], high)


def _refuse_unusable(ranges: Ranges, path: str | Path) -> None:
    if not ranges:
        message = f"{path}: there is not one calibration sample to measure activations with"
        raise ConversionError(message)
    wild = [name for name, ends in ranges.items() if not all(np.isfinite(end).all() for end in ends.values())]
    if wild:
        message = (
            f"{path}: {len(wild)} tensors are NaN or infinite on the calibration samples, first '{wild[0]}'; "
            "nothing can be quantized from that: look at the float32 file's parity first"
        )
        raise ConversionError(message)
