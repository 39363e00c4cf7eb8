"""Core ML packages: run by Core ML on a Mac, by the reference interpreter elsewhere; checked for their structure too.

What executed a file is always said: figures of Core ML and figures of the interpreter are never taken for each other.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from converter.coreml_package import IMAGE_LAYOUT, import_coremltools
from converter.errors import ConversionError
from converter.records import Artifact, StructureCheck, TensorSpec
from converter.runtimes import Arrays, Observed, Runner

if TYPE_CHECKING:
    from converter.mil.program import Operation

FORMAT = "coreml"
REQUIRES = ("coremltools", "torch")
INTERPRETER = "mcconvert reference interpreter"
"""Begins the `executed_by` of everything that Core ML itself did not execute."""


def open_runner(artifact: Artifact, threads: int) -> AbstractContextManager[Runner]:
    """Open the package in Core ML on a Mac, in the reference interpreter elsewhere.

    Core ML chooses its own number of threads. The GPU and the Neural Engine are left out: what they compute differs
    between chips, and a verdict must not depend on the machine.

    Raises:
        ConversionError: the package cannot be read, or has an operation that the interpreter does not know.
    """
    return _open_core_ml(artifact) if sys.platform == "darwin" else open_interpreter(artifact, threads)


@contextmanager
def open_interpreter(artifact: Artifact, threads: int) -> Iterator[InterpretedRunner]:
    """Open the package in the reference interpreter, on `threads` threads of torch, on any machine.

    Raises:
        ConversionError: the package cannot be read, or has an operation that is not known.
    """
    from converter.runtimes.torchscript import torch_threads

    with torch_threads(threads):
        yield InterpretedRunner(artifact.path)


@contextmanager
def open_observer(artifact: Artifact, threads: int) -> Iterator[InterpretedRunner]:
    """Open the package to see every value; by the interpreter on a Mac too, for Core ML shows outputs only.

    Raises:
        ConversionError: the package cannot be read, or has an operation that is not known.
    """
    with open_interpreter(artifact, threads) as runner:
        yield runner


def check_structure(artifact: Artifact, parent: Artifact) -> StructureCheck:
    """Reload the package from disk and compare it with the traced tower that it was made from.

    Raises:
        ConversionError: the parent does not load.
    """
    from converter.runtimes.coreml_structure import check_package

    return check_package(artifact, parent)


class InterpretedRunner:
    """A package whose program this project executes itself; it runs, and it shows what it computes on the way."""

    def __init__(self, path: str) -> None:
        import torch

        from converter.mil.interpreter import Interpreter
        from converter.mil.program import read_program

        program = read_program(Path(path))
        self.executed_by = f"{INTERPRETER}, torch {torch.__version__}, CPU"
        self.inputs = program.declared_inputs
        self.outputs = program.declared_outputs
        self.values_executed = 0
        """Elements of the results of all operations so far."""
        self._path = path
        with _naming(path):
            self._interpreter = Interpreter(program)

    def infer(self, arrays: Arrays) -> dict[str, np.ndarray[Any, Any]]:
        """Run once.

        Raises:
            ConversionError: the inputs are not those that the file declares, or an operation does not compute.
        """
        _check_inputs(arrays, self.inputs, self._path)
        with _naming(self._path):
            found = self._interpreter.run(arrays, self._count)
        return {spec.name: np.asarray(found[spec.name], spec.dtype) for spec in self.outputs}

    def observe(self, arrays: Arrays) -> Iterator[Observed]:
        """Run once and give every computed value. Decoded weights count as constants.

        Raises:
            ConversionError: the inputs are not those that the file declares, or an operation does not compute.
        """
        _check_inputs(arrays, self.inputs, self._path)
        with _naming(self._path):
            for operation, results in self._interpreter.steps(arrays):
                self._count(operation, results)
                for name, value in results.items():
                    yield self._observed(operation, name, value)

    def _observed(self, operation: Operation, name: str, value: Any) -> Observed:
        constants = self._interpreter.constants
        read = [one for names in operation.inputs.values() for one in names]
        return Observed(
            name=name,
            kind=operation.kind,
            inputs=tuple(one for one in read if one not in constants),
            constants=tuple(one for one in read if _is_array(constants.get(one))),
            value=value.numpy(),
        )

    def _count(self, operation: Operation, results: Mapping[str, Any]) -> None:
        self.values_executed += sum(value.numel() for value in results.values())


class CoreMLRunner:
    """A package that Core ML has compiled and loaded."""

    def __init__(self, path: str) -> None:
        from converter.mil.program import read_program

        program = read_program(Path(path))
        self.executed_by = f"Core ML on macOS {platform.mac_ver()[0]}, CPU"
        self.inputs = program.declared_inputs
        self.outputs = program.declared_outputs
        self.values_executed = 0
        """Core ML does not tell."""
        self._path = path
        self._model = _load(path)

    def infer(self, arrays: Arrays) -> dict[str, np.ndarray[Any, Any]]:
        """Run once.

        Raises:
            ConversionError: the inputs are not those that the file declares.
        """
        _check_inputs(arrays, self.inputs, self._path)
        predicted = self._model.predict({spec.name: _given(arrays[spec.name], spec) for spec in self.inputs})
        return {spec.name: np.asarray(predicted[spec.name], spec.dtype) for spec in self.outputs}


@contextmanager
def _open_core_ml(artifact: Artifact) -> Iterator[CoreMLRunner]:
    yield CoreMLRunner(artifact.path)


def _load(path: str) -> Any:
    ct = import_coremltools()
    try:
        return ct.models.MLModel(path, compute_units=ct.ComputeUnit.CPU_ONLY)
    except Exception as error:  # coremltools raises RuntimeError, Exception and errors of its Objective-C bridge
        message = f"{path}: Core ML does not load the package: {error}"
        raise ConversionError(message) from error


def _given(array: np.ndarray[Any, Any], spec: TensorSpec) -> Any:
    """Core ML takes an image type's pixels as a picture."""
    if spec.layout != IMAGE_LAYOUT:
        return array
    from PIL import Image

    return Image.fromarray(np.ascontiguousarray(array[0].transpose(1, 2, 0)))


def _check_inputs(arrays: Arrays, declared: Sequence[TensorSpec], path: str) -> None:
    given = {name: f"{name} {array.dtype}{list(array.shape)}" for name, array in arrays.items()}
    expected = {spec.name: f"{spec.name} {spec.dtype}{list(spec.shape)}" for spec in declared}
    if given != expected:
        words = [", ".join(one.values()) or "nothing" for one in (given, expected)]
        message = f"{path}: given were {words[0]}; the file takes {words[1]}"
        raise ConversionError(message)


def _is_array(constant: Any) -> bool:
    return hasattr(constant, "numel") and constant.numel() > 1


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """Say which file an error of the interpreter is about."""
    try:
        yield
    except ConversionError as error:
        message = f"{path}: {error}"
        raise ConversionError(message) from error
