"""ONNX files, run by ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from converter.errors import ConversionError
from converter.onnx_file import broken, model_file
from converter.records import Artifact, TensorSpec
from converter.runtimes import Arrays
from converter.runtimes.onnx_observing import GraphObserver, open_graph

FORMAT = "onnx"
REQUIRES = ("onnxruntime",)

PROVIDERS = ("CPUExecutionProvider",)
WARNINGS_AND_BELOW = 3
"""ONNX Runtime's log level that leaves errors only."""
_DTYPES = {"float": "float32", "float16": "float16", "double": "float64"}


@contextmanager
def open_runner(artifact: Artifact, threads: int) -> Iterator[SessionRunner]:
    """Load the file, or the folder's model, and run it on `threads` threads.

    Raises:
        ConversionError: the file is missing, foreign or cut off, or holds what ONNX Runtime cannot run.
    """
    import onnxruntime

    file = model_file(artifact.path)
    try:
        session = onnxruntime.InferenceSession(file, _options(threads), providers=list(PROVIDERS))
    except Exception as error:  # ONNX Runtime raises a class for each of its status codes, with no common one
        raise ConversionError(broken(file, error)) from error
    yield SessionRunner(session, artifact.path, f"ONNX Runtime {onnxruntime.__version__}, CPU")


@contextmanager
def open_observer(artifact: Artifact, threads: int) -> Iterator[GraphObserver]:
    """Load the file, or the folder's model, with every node's results as outputs.

    Raises:
        ConversionError: as for `open_runner`.
    """
    with open_graph(artifact, _options(threads), list(PROVIDERS)) as observer:
        yield observer


class SessionRunner:
    """An ONNX Runtime session; a size that the file leaves open has its name in `inputs`."""

    def __init__(self, session: Any, path: str, executed_by: str) -> None:
        self.executed_by = executed_by
        self.inputs = tuple(_spec(entry) for entry in session.get_inputs())
        self.outputs = tuple(_spec(entry) for entry in session.get_outputs())
        self._session = session
        self._path = path

    def infer(self, arrays: Arrays) -> dict[str, np.ndarray[Any, Any]]:
        """Run once.

        Raises:
            ConversionError: an input is missing, or of a type or shape that the file does not take.
        """
        names = [spec.name for spec in self.outputs]
        try:
            values = self._session.run(names, dict(arrays))
        except Exception as error:  # as above; ValueError for a missing input
            given = ", ".join(f"{name} {value.dtype}{list(value.shape)}" for name, value in arrays.items())
            message = f"{self._path}: ONNX Runtime could not run it on {given or 'no input'}: {error}"
            raise ConversionError(message) from error
        return dict(zip(names, values, strict=True))


def _options(threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = WARNINGS_AND_BELOW
    return options


def _spec(entry: Any) -> TensorSpec:
    """ONNX Runtime's type is spelled "tensor(float)"."""
    kind = entry.type.removeprefix("tensor(").removesuffix(")")
    return TensorSpec(name=entry.name, shape=tuple(entry.shape), dtype=_DTYPES.get(kind, kind), layout="")
