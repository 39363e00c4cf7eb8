"""TorchScript files, run by torch on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from converter.errors import ConversionError
from converter.records import Artifact, TensorSpec
from converter.runtimes import Arrays, Observed
from converter.runtimes.torchscript_walk import Given, Walker
from converter.torchscript_file import load_module

if TYPE_CHECKING:
    import torch

FORMAT = "torchscript"
REQUIRES = ("torch",)


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
def open_observer(artifact: Artifact, threads: int) -> Iterator[ModuleObserver]:
    """Load the file and run it node by node on `threads` threads.

    Raises:
        ConversionError: the file cannot be loaded.
    """
    import torch

    said = f"TorchScript, torch {torch.__version__}, CPU, node by node"
    with torch_threads(threads):
        yield ModuleObserver(load_module(artifact.path), artifact, said)


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

        tensors = _tensors(self.inputs, arrays, self._path)
        try:
            with torch.no_grad():
                returned = self._module(*tensors.values())
        except RuntimeError as error:
            message = f"{self._path}: torch could not run it on {_described(arrays)}: {error}"
            raise ConversionError(message) from error
        values = returned if isinstance(returned, tuple | list) else (returned,)
        return self._checked([value.numpy() for value in values])

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


class ModuleObserver:
    """A loaded module whose graphs are executed node by node."""

    def __init__(self, module: Any, artifact: Artifact, executed_by: str) -> None:
        self.executed_by = executed_by
        self._walker = Walker(module, artifact.path)
        self._inputs = artifact.inputs
        self._path = artifact.path

    def observe(self, arrays: Arrays) -> Generator[Observed, Given, None]:
        """Run once; each value is there as soon as it is computed, and let go of after its last use.

        An array that is sent back for a value takes its place: what an operation makes of values that come from
        elsewhere tells its own share in a difference from what it was given.

        Raises:
            ConversionError: an input is missing, or an operator refuses what it is given.
        """
        return self._walker.walk(_tensors(self._inputs, arrays, self._path))


def _tensors(specs: Sequence[TensorSpec], arrays: Arrays, path: str) -> dict[str, torch.Tensor]:
    """The inputs in the order in which the module takes them."""
    import torch

    missing = [spec.name for spec in specs if spec.name not in arrays]
    if missing:
        message = f"{path}: input '{missing[0]}' is missing; given were {', '.join(arrays) or 'none'}"
        raise ConversionError(message)
    return {spec.name: torch.from_numpy(np.ascontiguousarray(arrays[spec.name])) for spec in specs}


def _fits(value: np.ndarray[Any, Any], spec: TensorSpec) -> bool:
    """Whether dtype, rank and sizes agree; the first size is the batch, which a trace leaves to the caller."""
    if str(value.dtype) != spec.dtype or value.ndim != len(spec.shape):
        return False
    pairs = zip(value.shape[1:], spec.shape[1:], strict=True)
    return all(isinstance(declared, str) or seen == declared for seen, declared in pairs)


def _described(arrays: Arrays) -> str:
    return ", ".join(f"{name} {value.dtype}{list(value.shape)}" for name, value in arrays.items())
