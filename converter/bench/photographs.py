"""The 96 photographs of the benchmark: views that are neither calibrated on nor judged on by an export.

Eight views of each of twelve photographs. Four of these no other sample set touches; the other eight are the parity
photographs in other crops, turns and lights than the parity views, so that a recipe chosen on parity views has seen
those motifs, but not these pixels. No view is of a calibration photograph. scikit-image's wheel holds no more: what is
left in it is drawings.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from converter.errors import MissingDependencyError
from converter.models.images import open_image
from converter.models.photographs import PARITY_PHOTOGRAPHS

if TYPE_CHECKING:
    from PIL.Image import Image

UNTOUCHED = ("clock_motion.png", "microaneurysms.png", "page.png", "text.png")
"""A clock, a patch of a retina, a printed page, a line of text; all in grey."""
VIEWS = ("top left", "bottom right", "middle", "upside down", "leaning", "grey", "soft contrast", "hard contrast")


def photograph_views() -> Iterator[tuple[str, Image]]:
    """Name and RGB image of each view, `<photograph>#<view>`.

    Raises:
        MissingDependencyError: scikit-image is not installed.
    """
    package = importlib.util.find_spec("skimage")
    if package is None or package.origin is None:
        message = "scikit-image is not installed, and the photographs come with it: pip install scikit-image"
        raise MissingDependencyError(message)
    for file_name in (*UNTOUCHED, *PARITY_PHOTOGRAPHS):
        photograph = open_image(Path(package.origin).parent / "data" / file_name)
        for view in VIEWS:
            yield f"{Path(file_name).stem}#{view}", _view(photograph, view)


def _view(photograph: Image, view: str) -> Image:
    from PIL import Image, ImageEnhance, ImageOps

    match view:
        case "top left":
            return _part(photograph, 0.0, 0.0, 0.55)
        case "bottom right":
            return _part(photograph, 0.45, 0.45, 0.55)
        case "middle":
            return _part(photograph, 0.3, 0.3, 0.4)
        case "upside down":
            return ImageOps.flip(photograph)
        case "leaning":
            return _part(photograph.rotate(-15, Image.Resampling.BICUBIC), 0.18, 0.18, 0.64)
        case "grey":
            return ImageOps.grayscale(_part(photograph, 0.1, 0.3, 0.65)).convert("RGB")
        case "soft contrast":
            return ImageEnhance.Contrast(_part(photograph, 0.3, 0.05, 0.65)).enhance(0.55)
        case _:
            return ImageEnhance.Contrast(_part(photograph, 0.05, 0.05, 0.9)).enhance(1.6)


def _part(image: Image, left: float, top: float, share: float) -> Image:
    x, y = round(image.width * left), round(image.height * top)
    return image.crop((x, y, x + round(image.width * share), y + round(image.height * share)))
