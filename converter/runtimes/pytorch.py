"""The rewritten tower that every stage starts from: a trace, run by torch on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from converter.records import Artifact
from converter.runtimes.torchscript import ModuleObserver, ModuleRunner, torch_threads
from converter.torchscript_file import load_module

FORMAT = "pytorch"
REQUIRES = ("torch",)


@contextmanager
def open_runner(artifact: Artifact, threads: int) -> Iterator[ModuleRunner]:
    """Load the file and run it on `threads` threads.

    Raises:
        ConversionError: the file cannot be loaded.
    """
    import torch

    with torch_threads(threads):
        yield ModuleRunner(load_module(artifact.path), artifact, f"PyTorch {torch.__version__}, traced, CPU")


@contextmanager
def open_observer(artifact: Artifact, threads: int) -> Iterator[ModuleObserver]:
    """Load the file and run it node by node on `threads` threads; the trace kept the modules, so each value has one.

    Raises:
        ConversionError: the file cannot be loaded.
    """
    import torch

    said = f"PyTorch {torch.__version__}, traced, CPU, node by node"
    with torch_threads(threads):
        yield ModuleObserver(load_module(artifact.path), artifact, said)
