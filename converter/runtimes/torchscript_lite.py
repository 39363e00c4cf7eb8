"""Files for PyTorch's lite interpreter, run by the one inside torch, on the CPU.

It is the same bytecode interpreter as in the Android and iOS libraries, with desktop kernels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from converter.records import Artifact
from converter.runtimes.torchscript import ModuleObserver, ModuleRunner, torch_threads
from converter.torchscript_file import load_mobile_module, load_module

FORMAT = "torchscript_lite"
REQUIRES = ("torch",)


@contextmanager
def open_runner(artifact: Artifact, threads: int) -> Iterator[ModuleRunner]:
    """Load the file and run it on `threads` threads.

    Raises:
        ConversionError: the file cannot be loaded.
    """
    import torch

    said = f"TorchScript lite interpreter, torch {torch.__version__}, CPU"
    with torch_threads(threads):
        yield ModuleRunner(load_mobile_module(artifact.path), artifact, said)


@contextmanager
def open_observer(artifact: Artifact, threads: int) -> Iterator[ModuleObserver]:
    """Load the file and run it node by node on `threads` threads.

    Beside its bytecode, which shows nothing of its values, such a file holds the TorchScript that it was made from;
    that is what is run here.

    Raises:
        ConversionError: the file cannot be loaded, or holds bytecode only.
    """
    import torch

    said = f"TorchScript, torch {torch.__version__}, CPU, node by node, without the lite interpreter"
    with torch_threads(threads):
        yield ModuleObserver(load_module(artifact.path), artifact, said)
