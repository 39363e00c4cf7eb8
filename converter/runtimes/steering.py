"""The PyTorch reference, run so that its values can be exchanged on the way for those of another file.

What an operation makes of values that come from elsewhere tells its own share in a difference from what it was given.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from converter.records import Artifact
from converter.runtimes import Arrays, Observed
from converter.runtimes.torchscript import torch_threads
from converter.runtimes.torchscript_walk import Walker
from converter.torchscript_file import load_module

if TYPE_CHECKING:
    from converter.runtimes.lineage import Lineage

Given = npt.NDArray[Any] | None


@contextmanager
def open_steered(artifact: Artifact, threads: int) -> Iterator[SteeredObserver]:
    """Load a TorchScript file to be run on `threads` threads.

    Raises:
        ConversionError: the file cannot be loaded.
    """
    import torch

    with torch_threads(threads):
        yield SteeredObserver(artifact, f"PyTorch {torch.__version__}, CPU, operation by operation")


class SteeredObserver:
    """A module that shows every value and goes on with what is sent back for it."""

    def __init__(self, artifact: Artifact, executed_by: str) -> None:
        self.executed_by = executed_by
        self._walker = _SteeredWalker(load_module(artifact.path), artifact.path)
        self._names = [spec.name for spec in artifact.inputs]

    def observe(self, arrays: Arrays) -> Generator[Observed, Given, None]:
        """Every computed value; an array that is sent back, of the value's own shape, takes its place."""
        import torch

        tensors = {name: torch.from_numpy(np.ascontiguousarray(arrays[name])) for name in self._names}
        yield from self._walker.walk(tensors)


class _SteeredWalker(Walker):
    def _shown(self, kind: str, name: str, result: Any, lineage: Lineage, path: str) -> Generator[Observed, Any, Any]:
        inner: Generator[Observed, Any, Any] = super()._shown(kind, name, result, lineage, path)
        given: Given = None
        try:
            while True:
                given = yield inner.send(given)
        except StopIteration as end:
            return end.value if given is None or isinstance(result, Sequence) else _exchanged(end.value, given)


def _exchanged(traced: Any, given: npt.NDArray[Any]) -> Any:
    import torch

    tensor = torch.from_numpy(np.ascontiguousarray(given)).to(traced.value.dtype)
    return replace(traced, value=tensor.reshape(traced.value.shape))
