"""The toy image tower as the reference step makes it for `--input image`, and pixels to feed it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from converter.models.preprocessing import normalise
from converter.records import Artifact, Preprocessing, TensorSpec
from converter.torchscript_file import deprecation_known
from tests.tiny import TINY_EMBED_DIM, TINY_IMAGE_SIZE, tiny_clip

INSIDE = Preprocessing(
    size=TINY_IMAGE_SIZE,
    interpolation="bilinear",
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
    value_range=(0.0, 255.0),
    inside_graph=True,
)
"""OpenAI's statistics: where the mean is 0 and the deviation 1, half of the mistakes would not show."""


def save_pixels_tower(folder: Path) -> Artifact:
    """Trace it into `folder/tower.pt`, and script it beside that."""
    import torch

    from converter.rewrites.tower import rewrite_tower

    module = rewrite_tower(tiny_clip(), "image", INSIDE)
    shape = (1, 3, TINY_IMAGE_SIZE, TINY_IMAGE_SIZE)
    with deprecation_known():
        torch.jit.trace(module, torch.zeros(shape, dtype=torch.uint8), check_trace=False).save(str(folder / "tower.pt"))
        torch.jit.script(module).save(str(folder / "tower.scripted.pt"))
    return Artifact(
        path=str(folder / "tower.pt"),
        format="pytorch",
        target="pytorch",
        tower="image",
        precision="fp32",
        inputs=(TensorSpec(name="image", shape=shape, dtype="uint8", layout="NCHW", value_range=(0.0, 255.0)),),
        outputs=(TensorSpec(name="embedding", shape=(1, TINY_EMBED_DIM), dtype="float32", layout="NC"),),
    )


def squares(count: int, seed: int) -> np.ndarray[Any, Any]:
    """(count, size, size, 3) uint8: pictures of 16 coloured squares each, black and white among them."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 3), np.uint8)
    coarse[0, 0, :2] = [[0], [255]]
    return coarse.repeat(TINY_IMAGE_SIZE // 4, axis=1).repeat(TINY_IMAGE_SIZE // 4, axis=2)


def bare_embeddings(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """What the bare tower, rewritten, gives for the pixels after the reference's preprocessing."""
    import torch

    from converter.rewrites.tower import rewrite_tower

    floats = torch.from_numpy(normalise(pixels, INSIDE.mean, INSIDE.std))
    with torch.no_grad():
        return np.asarray(rewrite_tower(tiny_clip(), "image")(floats).numpy())
