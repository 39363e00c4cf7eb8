"""Artifacts on a GPU, where the format and this machine have one; everything else runs as the proof ran it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from converter.errors import ConversionError, UsageError
from converter.inference import Compute, Device
from converter.records import Artifact
from converter.runtimes import Runner, Runtime

CUDA_PROVIDER = "CUDAExecutionProvider"


def open_on(runtime: Runtime, artifact: Artifact, compute: Compute) -> AbstractContextManager[Runner]:
    """A runner of the artifact. ONNX and TorchScript files go to the GPU if asked for, or with "auto" if there is one.

    Raises:
        UsageError: a GPU was asked for and there is none for this format.
        ConversionError: the file cannot be loaded.
    """
    if artifact.format == "onnx" and onnx_device(compute.device) == "cuda":
        return _onnx_on_cuda(artifact, compute.threads)
    if artifact.format == "torchscript":
        device = torch_device(compute.device)
        if device != "cpu":
            return _torchscript_on(device, artifact)
    return runtime.open_runner(artifact, compute.threads)


def torch_device(asked: Device) -> str:
    """The device that torch computes on: with "auto", CUDA where there is one.

    Raises:
        UsageError: torch does not see what was asked for.
    """
    import torch

    seen = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if asked == "auto":
        return "cuda" if seen["cuda"] else "cpu"
    if not seen[asked]:
        there = ", ".join(name for name, found in seen.items() if found)
        message = f"--device {asked}: torch {torch.__version__} sees no such device here; it sees {there}"
        raise UsageError(message)
    return asked


def onnx_device(asked: Device) -> str:
    """The device that ONNX Runtime computes on; it has no "mps", and there runs on the CPU.

    Raises:
        UsageError: CUDA was asked for and this ONNX Runtime lacks it.
    """
    import onnxruntime

    there = CUDA_PROVIDER in onnxruntime.get_available_providers()
    if asked == "cuda" and not there:
        message = (
            f"--device cuda: ONNX Runtime {onnxruntime.__version__} was built without CUDA; install onnxruntime-gpu in "
            "its place, or take --device cpu"
        )
        raise UsageError(message)
    return "cuda" if there and asked in ("auto", "cuda") else "cpu"


@contextmanager
def _onnx_on_cuda(artifact: Artifact, threads: int) -> Iterator[Runner]:
    import onnxruntime

    from converter.onnx_file import broken, model_file
    from converter.runtimes.onnx import WARNINGS_AND_BELOW, SessionRunner

    file = model_file(artifact.path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = WARNINGS_AND_BELOW
    try:
        session = onnxruntime.InferenceSession(file, options, providers=[CUDA_PROVIDER, "CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises a class for each of its status codes, with no common one
        raise ConversionError(broken(file, error)) from error
    used = "CUDA" if CUDA_PROVIDER in session.get_providers() else "CPU, for CUDA did not start"
    yield SessionRunner(session, artifact.path, f"ONNX Runtime {onnxruntime.__version__}, {used}")


@contextmanager
def _torchscript_on(device: str, artifact: Artifact) -> Iterator[Runner]:
    import torch

    from converter.runtimes.torchscript import ModuleRunner
    from converter.torchscript_file import load_module

    module = load_module(artifact.path).to(device)

    def moved(*tensors: Any) -> Any:
        return module(*(tensor.to(device) for tensor in tensors)).cpu()

    yield ModuleRunner(moved, artifact, f"TorchScript, torch {torch.__version__}, {device}")
