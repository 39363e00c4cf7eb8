"""TorchScript files, run by torch on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from converter.errors import ConversionError
from converter.records import Artifact, TensorSpec
from converter.runtimes import Arrays
from converter.torchscript_file import load_module

FORMAT = "torchscript"
REQUIRES = ("torch",)


def cannot_execute() -> str:
    """Torch runs wherever it installs."""
    return ""


@contextmanager
def open_runner(artifact: Artifact, threads: int) -> Iterator[ModuleRunner]:
    """Load the file and run it on `threads` threads.

    Raises:
        ConversionError: the file cannot be loaded.
    """
    import torch

    with torch_threads(threads):
        yield ModuleRunner(load_module(artifact.path), artifact, f"TorchScript, torch {torch.__version__}, CPU")


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Give torch that many threads, and afterwards as many as it had."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class ModuleRunner:
    """A loaded module that takes and returns tensors by position.

    The file names neither inputs nor outputs and states no shape, so the artifact's specs are used; every call is held
    to them.
    """

    def __init__(self, module: Callable[..., Any], artifact: Artifact, executed_by: str) -> None:
        self.executed_by = executed_by
        self.inputs = artifact.inputs
        self.outputs = artifact.outputs
        self._module = module
        self._path = artifact.path

    def infer(self, arrays: Arrays) -> dict[str, np.ndarray[Any, Any]]:
        """Run once.

        Raises:
            ConversionError: an input is missing, or the module refuses them, or what comes back is not as declared.
        """
        import torch

        tensors = [torch.from_numpy(np.ascontiguousarray(self._input(spec, arrays))) for spec in self.inputs]
        try:
            with torch.no_grad():
                returned = self._module(*tensors)
        except RuntimeError as error:
            message = f"{self._path}: torch could not run it on {_described(arrays)}: {error}"
            raise ConversionError(message) from error
        values = returned if isinstance(returned, tuple | list) else (returned,)
        return self._checked([value.numpy() for value in values])

    def _input(self, spec: TensorSpec, arrays: Arrays) -> np.ndarray[Any, Any]:
        if spec.name not in arrays:
            message = f"{self._path}: input '{spec.name}' is missing; given were {', '.join(arrays) or 'none'}"
            raise ConversionError(message)
        return arrays[spec.name]

    def _checked(self, values: list[np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
        if len(values) != len(self.outputs):
            message = f"{self._path}: returned {len(values)} tensors, {len(self.outputs)} are declared"
            raise ConversionError(message)
        for spec, value in zip(self.outputs, values, strict=True):
            if not _fits(value, spec):
                message = (
                    f"{self._path}: output '{spec.name}' came back as {value.dtype}{list(value.shape)}, "
                    f"declared is {spec.dtype}{list(spec.shape)}; the file is not the artifact it is said to be"
                )
                raise ConversionError(message)
        return {spec.name: value for spec, value in zip(self.outputs, values, strict=True)}


def _fits(value: np.ndarray[Any, Any], spec: TensorSpec) -> bool:
    """Whether dtype, rank and sizes agree; the first size is the batch, which a trace leaves to the caller."""
    if str(value.dtype) != spec.dtype or value.ndim != len(spec.shape):
        return False
    pairs = zip(value.shape[1:], spec.shape[1:], strict=True)
    return all(isinstance(declared, str) or seen == declared for seen, declared in pairs)


def _described(arrays: Arrays) -> str:
    return ", ".join(f"{name} {value.dtype}{list(value.shape)}" for name, value in arrays.items())
