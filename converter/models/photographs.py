"""The photographs of the sample sets: real pixels from scikit-image's wheel, in two groups that share no photograph.

A view is a crop, flip, turn or change of light of one photograph, named `<photograph>#<view>`, so that the right
answer of a retrieval among views is known. The files are opened in place; scikit-image itself is not imported.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from converter.errors import MissingDependencyError, UsageError
from converter.models.images import open_image

if TYPE_CHECKING:
    from PIL.Image import Image

PARITY_PHOTOGRAPHS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "chelsea.png",
    "coins.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "rocket.jpg",
)
"""A portrait, a wall, a street scene, a cat, coins, galaxies, stained tissue, a rocket."""

CALIBRATION_PHOTOGRAPHS = (
    "cell.png",
    "coffee.png",
    "grass.png",
    "gravel.png",
    "moon.png",
    "motorcycle_left.png",
    "motorcycle_right.png",
    "retina.jpg",
)
"""The stereo pair of the motorcycle stays in one group: it is one scene."""

PARITY_VIEWS = ("whole", "flip", "close", "left", "right", "turned", "bright", "dark")
CALIBRATION_SEED = 20

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")


def parity_views() -> Iterator[tuple[str, Image]]:
    """The 64 parity samples, each a name and an RGB image: every parity photograph in every one of its views."""
    for file_name in PARITY_PHOTOGRAPHS:
        photograph = _photograph(file_name)
        for view in PARITY_VIEWS:
            yield f"{Path(file_name).stem}#{view}", _parity_view(photograph, view)


def calibration_views(count: int) -> Iterator[tuple[str, Image]]:
    """The first `count` calibration samples: random crops of the calibration photographs in turn, always the same.

    Raises:
        UsageError: `count` is less than 1.
    """
    if count < 1:
        message = f"{count} calibration samples were asked for; give 1 or more"
        raise UsageError(message)
    return _calibration_views(count)


def folder_images(folder: Path) -> Iterator[tuple[str, Image]]:
    """The images directly in `folder` by file name, upright and RGB, opened one at a time.

    Raises:
        UsageError: the folder is missing or holds no image, or (while iterating) an image cannot be read.
    """
    if not folder.is_dir():
        message = f"no folder at {folder}; expected a folder of photographs ({', '.join(IMAGE_SUFFIXES)})"
        raise UsageError(message)
    paths = sorted(path for path in folder.iterdir() if _is_image(path))
    if not paths:
        message = f"no image in {folder}; put photographs there ({', '.join(IMAGE_SUFFIXES)})"
        raise UsageError(message)
    return ((path.name, open_image(path)) for path in paths)


def _is_image(path: Path) -> bool:
    """By its name; macOS leaves hidden files (._photo.jpg) beside images on other systems' disks."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


@cache
def _photograph(file_name: str) -> Image:
    path = _photographs_folder() / file_name
    if not path.is_file():
        message = f"{path} is missing; this scikit-image lacks it, install 0.24 or later again from its wheel"
        raise MissingDependencyError(message)
    return open_image(path)


@cache
def _photographs_folder() -> Path:
    package = importlib.util.find_spec("skimage")
    if package is None or package.origin is None:
        message = "scikit-image is not installed, and the sample photographs come with it: pip install scikit-image"
        raise MissingDependencyError(message)
    return Path(package.origin).parent / "data"


def _parity_view(photograph: Image, view: str) -> Image:
    from PIL import Image, ImageEnhance, ImageOps

    match view:
        case "flip":
            return ImageOps.mirror(photograph)
        case "close":
            return _crop(photograph, 0.2, 0.2, 0.6)
        case "left":
            return _crop(photograph, 0.0, 0.05, 0.75)
        case "right":
            return _crop(photograph, 0.25, 0.2, 0.75)
        case "turned":
            return _crop(photograph.rotate(7, Image.Resampling.BICUBIC), 0.12, 0.12, 0.76)
        case "bright":
            return ImageEnhance.Brightness(photograph).enhance(1.35)
        case "dark":
            return ImageEnhance.Brightness(photograph).enhance(0.6)
        case _:
            return photograph.copy()


def _calibration_views(count: int) -> Iterator[tuple[str, Image]]:
    from PIL import ImageEnhance, ImageOps

    for index in range(count):
        file_name = CALIBRATION_PHOTOGRAPHS[index % len(CALIBRATION_PHOTOGRAPHS)]
        generator = np.random.default_rng([CALIBRATION_SEED, index])
        share = generator.uniform(0.45, 1.0)
        left, top = generator.uniform(0.0, 1.0 - share, 2)
        view = _crop(_photograph(file_name), left, top, share)
        if generator.random() < 0.5:
            view = ImageOps.mirror(view)
        view = ImageEnhance.Brightness(view).enhance(generator.uniform(0.6, 1.4))
        yield f"{Path(file_name).stem}#{index // len(CALIBRATION_PHOTOGRAPHS)}", view


def _crop(image: Image, left: float, top: float, share: float) -> Image:
    """The part of `image` whose sides are `share` of its own; positions are shares of the sides too."""
    x, y = round(image.width * left), round(image.height * top)
    return image.crop((x, y, x + round(image.width * share), y + round(image.height * share)))
