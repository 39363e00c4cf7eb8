"""The unmodified PyTorch model opened for use, float32."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from converter.errors import UsageError
from converter.inference import Compute, EmbedImages, EmbedTexts, Space, Vectors, unit
from converter.inference.devices import torch_device
from converter.models.preprocessing import normalise
from converter.publishing.manifest import model_part
from converter.records import ModelSpec, Tower, Weights


def open_pytorch(
    spec: ModelSpec, weights: Weights, towers: Sequence[Tower], compute: Compute, stack: ExitStack
) -> Space:
    """The model on its device; torch keeps `compute.threads` as long as `stack` is open.

    Raises:
        UsageError: the model lacks a tower in `towers`, or the device that was asked for is not there.
        WeightsError: the weights are not this model's.
    """
    import torch

    from converter.models.checkpoint import logit_scale
    from converter.models.loading import load_model
    from converter.runtimes.torchscript import torch_threads

    lacking = [tower for tower in towers if tower not in spec.towers]
    if lacking:
        message = f"{spec.id} has no {' and no '.join(lacking)} tower, and this needs one; take another model"
        raise UsageError(message)
    device = torch_device(compute.device)
    stack.enter_context(torch_threads(compute.threads))
    with tempfile.TemporaryDirectory(prefix="mcconvert-model-") as scratch:
        clip = load_model(spec, weights, towers, Path(scratch)).to(device)
    scale = logit_scale(clip) if hasattr(clip, "logit_scale") else None
    said = f"PyTorch {torch.__version__} eager, {device.upper()}"
    return Space(
        name=f"{spec.id}/pytorch", model=model_part(spec, weights, scale), spec=spec,
        executed_by=dict.fromkeys(towers, said),
        images=_images(clip, spec, device, compute.batch) if "image" in towers else None,
        texts=_texts(clip, device, compute.batch) if "text" in towers else None,
        image_sha256=weights.sha256,
    )  # fmt: skip


def _images(clip: Any, spec: ModelSpec, device: str, batch: int) -> EmbedImages:
    def run(pixels: npt.NDArray[np.uint8]) -> Vectors:
        floats = normalise(pixels, spec.preprocessing.mean, spec.preprocessing.std)
        return _run(clip.encode_image, floats, device, batch)

    return run


def _texts(clip: Any, device: str, batch: int) -> EmbedTexts:
    return lambda tokens: _run(clip.encode_text, tokens, device, batch)


def _run(encode: Any, rows: npt.NDArray[Any], device: str, batch: int) -> Vectors:
    import torch

    with torch.inference_mode():
        chunks = [torch.from_numpy(rows[i : i + batch]).to(device) for i in range(0, len(rows), batch)]
        return unit(np.concatenate([encode(chunk, normalize=True).float().cpu().numpy() for chunk in chunks]))
