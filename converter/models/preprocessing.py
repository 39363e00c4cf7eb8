"""From a photograph to the image tower's input, in two halves that together equal open_clip's own transform.

`prepare` ends at uint8 pixels, which are exact and small to store; `normalise` turns them into the floats that a tower
takes, without torch, so that every process that runs an artifact feeds it the same bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from converter.records import Preprocessing

if TYPE_CHECKING:
    from PIL.Image import Image


def prepare(images: Iterable[Image], preprocessing: Preprocessing) -> npt.NDArray[np.uint8]:
    """Resize, crop and convert as open_clip does: (n, size, size, 3) uint8 RGB."""
    steps = _steps_before_floats(preprocessing)
    rows = [np.asarray(_apply(steps, image), dtype=np.uint8) for image in images]
    size = preprocessing.size
    return np.stack(rows) if rows else np.empty((0, size, size, 3), np.uint8)


def normalise(pixels: npt.NDArray[np.uint8], mean: Sequence[float], std: Sequence[float]) -> npt.NDArray[np.float32]:
    """Scale to [0, 1], subtract `mean`, divide by `std`: (n, size, size, 3) uint8 to (n, 3, size, size) float32.

    Each step rounds to float32 as torchvision's ToTensor and Normalize do, hence equal bits. A channel has only 256
    different pixels: their floats are computed once and looked up.
    """
    levels = np.arange(256, dtype=np.float32) / np.float32(255.0)
    channels = zip(np.asarray(mean, np.float32), np.asarray(std, np.float32), strict=True)
    table = np.stack([(levels - offset) / scale for offset, scale in channels])
    return np.stack([table[channel][pixels[..., channel]] for channel in range(len(table))], axis=1)


def transform(preprocessing: Preprocessing) -> Any:
    """open_clip's own inference transform with these settings."""
    from open_clip.transform import PreprocessCfg, image_transform_v2

    settings = PreprocessCfg(
        size=preprocessing.size,
        mean=preprocessing.mean,
        std=preprocessing.std,
        interpolation=preprocessing.interpolation,
        resize_mode=preprocessing.resize,
    )
    return image_transform_v2(settings, is_train=False)


def _steps_before_floats(preprocessing: Preprocessing) -> Sequence[Any]:
    from torchvision.transforms import ToTensor

    steps = transform(preprocessing).transforms
    to_floats = next(index for index, step in enumerate(steps) if isinstance(step, ToTensor))
    return list(steps[:to_floats])


def _apply(steps: Sequence[Any], image: Any) -> Any:
    for step in steps:
        image = step(image)
    return image
