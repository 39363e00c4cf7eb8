"""TFLite files, run by the plain LiteRT interpreter on the CPU, XNNPACK included, as an app would run them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from converter.errors import ConversionError
from converter.records import Artifact, TensorSpec
from converter.runtimes import Arrays, Observed
from converter.runtimes.tflite_observing import Shown, list_shown, read_shown, write_copy
from converter.tflite_file import read_model, require_tflite
from converter.tflite_graph import Graph

FORMAT = "tflite"
REQUIRES = ("ai-edge-litert",)


@contextmanager
def open_runner(artifact: Artifact, threads: int) -> Iterator[InterpreterRunner]:
    """Load the file and run it on `threads` threads.

    Raises:
        ConversionError: the file is missing, foreign or cut off, or needs ops that the plain interpreter lacks.
    """
    require_tflite(artifact.path)  # the interpreter follows whatever the file points to
    interpreter = _allocated(artifact.path, threads, artifact.path)
    yield InterpreterRunner(interpreter, artifact.path, f"LiteRT {version('ai-edge-litert')}, CPU (XNNPACK)")


@contextmanager
def open_observer(artifact: Artifact, threads: int) -> Iterator[TensorObserver]:
    """Load a copy of the file in which every computed tensor is an output; it runs as `open_runner` runs the file.

    Raises:
        ConversionError: as for `open_runner`.
    """
    graph = Graph(read_model(artifact.path))
    shown = list_shown(graph)
    with TemporaryDirectory(prefix="mcconvert-", ignore_cleanup_errors=True) as folder:
        copy = Path(folder) / "every_tensor.tflite"
        write_copy(graph, shown, copy)
        del graph  # all weights; the copy is read from the disk as it is needed
        interpreter = _allocated(str(copy), threads, artifact.path)
        said = f"LiteRT {version('ai-edge-litert')}, CPU (XNNPACK), every tensor an output"
        yield TensorObserver(interpreter, shown, artifact.path, said)


def _allocated(file: str, threads: int, path: str) -> Any:
    """An interpreter for `file`, which messages call `path`."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_path=file, num_threads=threads)
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        message = f"{path}: LiteRT cannot load it ({reason}); run the step that writes it again"
        raise ConversionError(message) from error
    return interpreter


class InterpreterRunner:
    """An interpreter whose tensors are allocated.

    A file with integer inputs or outputs is fed and read in float32 all the same: by the scale and zero point that
    the file itself declares. int32 tensors without a scale are tokens, and stay as they are.
    """

    def __init__(self, interpreter: Any, path: str, executed_by: str) -> None:
        self.executed_by = executed_by
        self._interpreter = interpreter
        self._inputs = interpreter.get_input_details()
        self._outputs = interpreter.get_output_details()
        self._path = path
        self.inputs = tuple(_spec(detail) for detail in self._inputs)
        self.outputs = tuple(_spec(detail) for detail in self._outputs)

    @property
    def parts(self) -> int:
        """In how many pieces the delegate took the graph: each border between two costs time."""
        return sum(op["op_name"] == "DELEGATE" for op in self._interpreter._get_ops_details())

    def infer(self, arrays: Arrays) -> dict[str, np.ndarray[Any, Any]]:
        """Run once.

        Raises:
            ConversionError: an input is missing, or of a type or shape that the file does not take.
        """
        self.invoke(arrays)
        values = [self._interpreter.get_tensor(detail["index"]) for detail in self._outputs]
        pairs = zip(self.outputs, values, self._outputs, strict=True)
        return {spec.name: _dequantized(value, detail) for spec, value, detail in pairs}

    def invoke(self, arrays: Arrays) -> None:
        """Run once and leave what was computed in the interpreter.

        Raises:
            ConversionError: as for `infer`.
        """
        for detail, spec in zip(self._inputs, self.inputs, strict=True):
            self._interpreter.set_tensor(detail["index"], _quantized(self._checked(arrays, spec), detail))
        try:
            self._interpreter.invoke()
        except RuntimeError as error:
            message = f"{self._path}: LiteRT stopped while running it: {' '.join(str(error).split())}"
            raise ConversionError(message) from error

    def _checked(self, arrays: Arrays, spec: TensorSpec) -> npt.NDArray[Any]:
        if spec.name not in arrays:
            message = f"{self._path}: input '{spec.name}' is missing; given were {', '.join(arrays) or 'none'}"
            raise ConversionError(message)
        value = arrays[spec.name]
        if value.shape != spec.shape or str(value.dtype) != spec.dtype:
            message = (
                f"{self._path}: input '{spec.name}' came as {value.dtype}{list(value.shape)}, "
                f"the file takes {spec.dtype}{list(spec.shape)}"
            )
            raise ConversionError(message)
        return value


class TensorObserver:
    """An interpreter that gives every tensor back. All of a run's values are in memory until the next run."""

    def __init__(self, interpreter: Any, shown: Sequence[Shown], path: str, executed_by: str) -> None:
        self.executed_by = executed_by
        self._interpreter = interpreter
        self._runner = InterpreterRunner(interpreter, path, executed_by)
        self._shown = shown

    def observe(self, arrays: Arrays) -> Iterator[Observed]:
        """Run once, then every value in order of execution.

        Raises:
            ConversionError: an input is missing, or of a type or shape that the file does not take.
        """
        self._runner.invoke(arrays)
        yield from read_shown(self._interpreter, self._shown)


def _spec(detail: Any) -> TensorSpec:
    shape = tuple(int(size) for size in detail["shape_signature"])
    dtype = "float32" if _has_scale(detail) else np.dtype(detail["dtype"]).name
    return TensorSpec(name=detail["name"], shape=shape, dtype=dtype, layout="")


def _has_scale(detail: Any) -> bool:
    return np.dtype(detail["dtype"]).kind in "iu" and detail["quantization"][0] != 0.0


def _quantized(value: npt.NDArray[Any], detail: Any) -> npt.NDArray[Any]:
    if not _has_scale(detail):
        return value
    scale, zero_point = detail["quantization"]
    limits = np.iinfo(detail["dtype"])
    steps: npt.NDArray[Any] = np.clip(np.rint(value / scale) + zero_point, limits.min, limits.max)
    return steps.astype(detail["dtype"])


def _dequantized(value: npt.NDArray[Any], detail: Any) -> npt.NDArray[Any]:
    if not _has_scale(detail):
        return value
    scale, zero_point = detail["quantization"]
    steps: npt.NDArray[np.float32] = value.astype(np.float32) - np.float32(zero_point)
    return steps * np.float32(scale)
