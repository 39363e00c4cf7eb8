"""Files for PyTorch's lite interpreter, run by the one inside torch, on the CPU.

It is the same bytecode interpreter as in the Android and iOS libraries, with desktop kernels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from converter.records import Artifact
from converter.runtimes.torchscript import ModuleRunner, torch_threads
from converter.torchscript_file import load_mobile_module

FORMAT = "torchscript_lite"
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

    said = f"TorchScript lite interpreter, torch {torch.__version__}, CPU"
    with torch_threads(threads):
        yield ModuleRunner(load_mobile_module(artifact.path), artifact, said)
