"""From a photograph to the image tower's input, in two halves that together equal the library's own transform.

`prepare` ends at uint8 pixels, which are exact and small to store; `normalise` turns them into the floats that a tower
takes. Both do without torch, so that every process that runs an artifact feeds it the same bits. Where open_clip's and
timm's transforms differ (timm resizes to more than it crops), the record says which is meant.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from converter.records import Preprocessing

if TYPE_CHECKING:
    from PIL.Image import Image, Resampling

LONGEST_RATIO = 100
"""From this ratio of the sides on, only what the crop can see is resized: a picture of 20000 x 1 pixels would become
one of 5 million x 256. The pixels then differ from the whole's by rounding, one level of 255 at most."""


def prepare(images: Iterable[Image], preprocessing: Preprocessing) -> npt.NDArray[np.uint8]:
    """Resize, crop and convert: (n, size, size, 3) uint8 RGB."""
    rows = [np.asarray(_crop(_resized(image, preprocessing), preprocessing.size).convert("RGB")) for image in images]
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


def _resized(image: Image, preprocessing: Preprocessing) -> Image:
    from PIL import Image

    width, height = image.size
    size = preprocessing.resize_size or preprocessing.size
    method = Image.Resampling[preprocessing.interpolation.upper()]
    if preprocessing.resize == "squash":
        return image.resize((size, size), method)
    if preprocessing.resize == "longest":
        ratio = max(width, height) / size
        return image.resize((max(1, round(width / ratio)), max(1, round(height / ratio))), method)
    short, long = min(width, height), max(width, height)
    longer = int(size * long / short)  # rounded down, as torchvision does
    whole = (size, longer) if width <= height else (longer, size)
    if long >= LONGEST_RATIO * short:
        return _visible(image, whole, preprocessing.size, method)
    return image.resize(whole, method)


def _visible(image: Image, whole: tuple[int, int], size: int, method: Resampling) -> Image:
    """The centre square of `image` resized to `whole`; Pillow reads beyond the box what its filter needs."""
    left, top = (_margin(side, size) for side in whole)
    across, down = image.width / whole[0], image.height / whole[1]
    box = (left * across, top * down, (left + size) * across, (top + size) * down)
    return image.resize((size, size), method, box=box)


def _crop(image: Image, size: int) -> Image:
    """The centre square; what it reaches beyond the picture is black."""
    left, top = (_margin(side, size) for side in image.size)
    return image.crop((left, top, left + size, top + size))


def _margin(side: int, size: int) -> int:
    """Where the centre square begins, below 0 outside of the picture; rounded as torchvision does."""
    return round((side - size) / 2) if side >= size else -((size - side) // 2)
