"""Images whose classes are known: a folder for each class, as image classification sets lie on disks.

The class of a folder is its name where all names are whole numbers, else its place in the sorted names: so do those of
ImageNet count.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from converter.models.images import open_image
from converter.models.photographs import IMAGE_SUFFIXES

if TYPE_CHECKING:
    from PIL.Image import Image


def is_labelled(folder: Path) -> bool:
    """Whether images lie in folders below, and none beside them."""
    return not _images(folder) and any(_images(folder / name) for name in _classes(folder))


def labelled_images(folder: Path) -> Iterator[tuple[str, int, Image]]:
    """Name, class and picture, opened one at a time.

    Raises:
        UsageError: an image cannot be read (while iterating).
    """
    names = _classes(folder)
    numbered = all(name.isdecimal() for name in names)
    for place, name in enumerate(names):
        for path in _images(folder / name):
            yield f"{name}/{path.name}", int(name) if numbered else place, open_image(path)


def _classes(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir() if one.is_dir() and not one.name.startswith("."))


def _images(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    )
