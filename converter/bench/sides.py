"""What a worker times: an exported file in its runtime, or the unmodified model in PyTorch eager.

Inputs are the stored samples of the export, those that photographs and captions gave; they are laid out before the
clock starts. Libraries are imported before a file is opened, so that neither its time nor its memory holds them.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from converter.bench.messages import Job
from converter.models.samples import load_inputs, load_model_inputs, stress_count
from converter.parity.compare import one_sample
from converter.pipeline.plugins import load_runtime
from converter.records import Artifact, ModelSpec, Weights
from converter.runtimes import Arrays

IMPORTS: Mapping[str, tuple[str, ...]] = {
    "onnx": ("onnxruntime",),
    "tflite": ("ai_edge_litert.interpreter",),
    "torchscript": ("torch", "converter.torchscript_file"),
    "torchscript_lite": ("torch", "torch.jit.mobile"),
    "coreml": ("torch", "coremltools"),
}
"""What each built-in runtime imports when it opens a file; that of a third party is counted with the file."""
type Call = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Side:
    """Something opened. `prepare(batch, sample)` gives a call whose inputs are ready."""

    executed_by: str
    prepare: Callable[[int, int], Call]


def read_samples(job: Job) -> dict[str, Any]:
    """The tower's inputs, stress samples left out."""
    path = Path(job.samples)
    inputs = load_inputs(path) if job.artifact is not None else load_model_inputs(path)
    end = -stress_count(path) or None
    return {name: rows[:end] for name, rows in inputs.items()}


def import_libraries(job: Job) -> None:
    """What opening would import."""
    names = ("torch", "open_clip") if job.artifact is None else IMPORTS.get(job.artifact.format, ())
    if "coremltools" in names:
        from converter.coreml_package import import_coremltools

        import_coremltools()
        return
    for name in names:
        importlib.import_module(name)


def open_side(job: Job, inputs: Arrays, stack: ExitStack) -> Side:
    """Open what the job names; it stays open as long as `stack`.

    Raises:
        McconvertError: the file cannot be loaded, or the weights are not the model's.
    """
    if job.artifact is not None:
        return _open_file(job.artifact, inputs, job.threads, stack)
    if job.spec is None or job.weights is None:
        message = "a job names neither a file nor a model"
        raise ValueError(message)
    return _open_eager(job, job.spec, job.weights, inputs, stack)


def _open_file(artifact: Artifact, inputs: Arrays, threads: int, stack: ExitStack) -> Side:
    runner = stack.enter_context(load_runtime(artifact.format).open_runner(artifact, threads))

    def prepare(batch: int, sample: int) -> Call:
        arrays = _batch_of(inputs, batch, sample, artifact)
        return lambda: runner.infer(arrays)

    return Side(executed_by=runner.executed_by, prepare=prepare)


def _batch_of(inputs: Arrays, batch: int, sample: int, artifact: Artifact) -> dict[str, Any]:
    """`batch` samples from `sample` on, from the first again after the last, as the file takes them."""
    count = len(next(iter(inputs.values())))
    rows = [one_sample(inputs, (sample + index) % count, artifact.inputs) for index in range(batch)]
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def _open_eager(job: Job, spec: ModelSpec, weights: Weights, inputs: Arrays, stack: ExitStack) -> Side:
    import torch

    from converter.models.loading import load_model
    from converter.runtimes.torchscript import torch_threads

    stack.enter_context(torch_threads(job.threads))
    with tempfile.TemporaryDirectory(prefix="mcconvert-bench-") as scratch:
        clip = load_model(spec, weights, [job.tower], Path(scratch))
    encode = clip.encode_image if job.tower == "image" else clip.encode_text
    (rows,) = inputs.values()

    def prepare(batch: int, sample: int) -> Call:
        given = torch.from_numpy(np.take(rows, range(sample, sample + batch), axis=0, mode="wrap"))

        def call() -> object:
            with torch.inference_mode():
                return encode(given, normalize=True)

        return call

    return Side(executed_by=f"PyTorch {torch.__version__} eager, the unmodified model, CPU", prepare=prepare)
