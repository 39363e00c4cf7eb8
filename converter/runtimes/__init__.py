"""Runtimes: each module opens artifacts of one format and runs them on named arrays.

A runtime is a module named after its format with the names of `Runtime` below, found by its file name or through the
entry-point group `mcconvert.runtimes`. Heavy imports live inside functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from converter.records import Artifact, StructureCheck, TensorSpec

Arrays = Mapping[str, npt.NDArray[Any]]


class Runner(Protocol):
    """An opened artifact."""

    executed_by: str
    """What runs the artifact, in words: "ONNX Runtime 1.26.0, CPU"."""
    inputs: tuple[TensorSpec, ...]
    """Tensors as the file itself declares them; layout and value range are left to the artifact."""
    outputs: tuple[TensorSpec, ...]

    def infer(self, arrays: Arrays) -> dict[str, np.ndarray[Any, Any]]:
        """Run once. Arrays are named, shaped and laid out as `inputs` say; so is what comes back."""
        ...


class Runtime(Protocol):
    """The contract of a runtime module."""

    FORMAT: str
    REQUIRES: Sequence[str]

    def cannot_execute(self) -> str:
        """Why this machine cannot execute the format, in words; empty where it can."""
        ...

    def open_runner(self, artifact: Artifact, threads: int) -> AbstractContextManager[Runner]:
        """Load the artifact's file.

        Raises:
            ConversionError: the file cannot be loaded.
        """
        ...


class StructureRuntime(Runtime, Protocol):
    """A runtime whose format some machines cannot execute; there the file's structure is checked instead."""

    def check_structure(self, artifact: Artifact, parent: Artifact) -> StructureCheck:
        """Reload the file from disk and compare its program and tensors with the parent's."""
        ...
