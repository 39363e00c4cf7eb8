"""Runtimes: each module opens artifacts of one format and runs them on named arrays.

A runtime is a module named after its format with the names of `Runtime` below, found by its file name or through the
entry-point group `mcconvert.runtimes`. Heavy imports live inside functions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
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

    def open_runner(self, artifact: Artifact, threads: int) -> AbstractContextManager[Runner]:
        """Load the artifact's file.

        Raises:
            ConversionError: the file cannot be loaded.
        """
        ...


class StructureRuntime(Runtime, Protocol):
    """A runtime that can also look into a file: what it says of itself, its weights, its operations' attributes."""

    def check_structure(self, artifact: Artifact, parent: Artifact) -> StructureCheck:
        """Reload the file from disk and compare its program and tensors with the parent's."""
        ...


@dataclass(frozen=True, kw_only=True)
class Observed:
    """One value that a file computes on its way, in the file's order of execution."""

    name: str
    """As the file calls it."""
    kind: str
    """The operation that gave it, as the format calls it: Conv, CONV_2D, conv, aten::_convolution."""
    inputs: tuple[str, ...]
    """Names of what it was computed from: observed values and the file's inputs; constants are left out."""
    constants: tuple[str, ...]
    """Names of the weights and other constants that the operation reads; often they tell the module."""
    module: str = ""
    """Path of the PyTorch module that it belongs to, where the file knows it; empty elsewhere."""
    value: npt.NDArray[Any]
    """float32 (float16 widened, quantized values dequantized by the file's own scales), integers or bools as they are.
    Layout is the file's."""


class Observer(Protocol):
    """An opened artifact that shows everything that it computes."""

    executed_by: str
    """In words, and where it differs from how `open_runner` runs the file: "ONNX Runtime 1.26.0, CPU, without graph
    optimisations"."""

    def observe(self, arrays: Arrays) -> Iterator[Observed]:
        """Run once on arrays as `open_runner`'s infer takes them; every computed value in order of execution."""
        ...


class ObservingRuntime(Runtime, Protocol):
    """A runtime that can show what a file computes on its way."""

    def open_observer(self, artifact: Artifact, threads: int) -> AbstractContextManager[Observer]:
        """Load the artifact's file for observation.

        Raises:
            ConversionError: the file cannot be loaded.
        """
        ...
