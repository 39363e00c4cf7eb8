"""Core ML packages: run by Core ML on a Mac, checked for their structure anywhere."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from converter.coreml_package import IMAGE_LAYOUT, import_coremltools
from converter.errors import ConversionError
from converter.records import Artifact, StructureCheck, TensorSpec
from converter.runtimes import Arrays

FORMAT = "coreml"
REQUIRES = ("coremltools", "torch")


def cannot_execute() -> str:
    """Core ML is part of macOS; elsewhere `check_structure` is what can be done."""
    return "" if sys.platform == "darwin" else "Core ML runs on macOS only"


@contextmanager
def open_runner(artifact: Artifact, threads: int) -> Iterator[CoreMLRunner]:
    """Compile the package and load it on the CPU.

    Core ML chooses its own number of threads. The GPU and the Neural Engine are left out: what they compute differs
    between chips, and a verdict must not depend on the machine.

    Raises:
        ConversionError: this is not a Mac, or Core ML does not load the package.
    """
    why_not = cannot_execute()
    if why_not:
        message = f"{artifact.path}: {why_not}; check_structure is what can be done here"
        raise ConversionError(message)
    yield CoreMLRunner(artifact)


def check_structure(artifact: Artifact, parent: Artifact) -> StructureCheck:
    """Reload the package from disk and compare it with the traced tower that it was made from.

    Raises:
        ConversionError: the parent does not load.
    """
    from converter.runtimes.coreml_structure import check_package

    return check_package(artifact, parent)


class CoreMLRunner:
    """A package that Core ML has compiled and loaded."""

    def __init__(self, artifact: Artifact) -> None:
        from converter.runtimes.coreml_program import read_program

        program = read_program(Path(artifact.path))
        self.executed_by = f"Core ML on macOS {platform.mac_ver()[0]}, CPU"
        self.inputs = program.declared_inputs
        self.outputs = program.declared_outputs
        self._model = _load(artifact.path)

    def infer(self, arrays: Arrays) -> dict[str, np.ndarray[Any, Any]]:
        """Run once."""
        predicted = self._model.predict({spec.name: _given(arrays[spec.name], spec) for spec in self.inputs})
        return {spec.name: np.asarray(predicted[spec.name], spec.dtype) for spec in self.outputs}


def _given(array: np.ndarray[Any, Any], spec: TensorSpec) -> Any:
    """Core ML takes an image type's pixels as a picture."""
    if spec.layout != IMAGE_LAYOUT:
        return array
    from PIL import Image

    return Image.fromarray(np.ascontiguousarray(array[0].transpose(1, 2, 0)))


def _load(path: str) -> Any:
    ct = import_coremltools()
    try:
        return ct.models.MLModel(path, compute_units=ct.ComputeUnit.CPU_ONLY)
    except Exception as error:  # coremltools raises RuntimeError, Exception and errors of its Objective-C bridge
        message = f"{path}: Core ML does not load the package: {error}"
        raise ConversionError(message) from error
