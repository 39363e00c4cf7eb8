"""From a picture file of any kind to upright RGB pixels, or to one refusal that names the file.

Plain RGB and grey files give what Pillow's own `convert("RGB")` gives, as in open_clip. Beyond that:

1. EXIF orientation is applied; a broken EXIF block is ignored. Colour profiles are ignored, as open_clip ignores them.
2. What is transparent is laid over white, as a page shows it: colours hidden under it are not part of the picture.
3. 16-bit grey is scaled to 8 bits, not clipped. Of 32-bit integers up to 255 are taken for 8 bits, up to 65535 for 16;
   floats up to 1 for shares of white, up to 255 for 8 bits. Other numbers are refused: only their owner can scale them.
4. Of an animation the first frame counts.
5. A JPEG of more than `FULL_PIXELS` is halved while it is decoded, as often as its shortest side allows; up to
   `MAX_PIXELS` are opened. Other formats unpack whole, 8 bytes a pixel (measured: 0.9 GB for 121 million), with
   transparency 20, and 350 kB of PNG can hold that many: of them up to `MAX_WHOLE_PIXELS` are opened.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from converter.errors import UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

FULL_PIXELS = 64_000_000
MAX_PIXELS = 20_000 * 20_000
MAX_WHOLE_PIXELS = 128_000_000
"""Twice what a phone's 50 to 64 megapixels need; larger phone pictures are JPEGs."""
_HALVED = ("JPEG", "MPO")
SHORTEST_SIDE = 1024
"""A halved JPEG keeps at least this many pixels along its shortest side, more than any model looks at."""

_TRANSPARENT = ("RGBA", "RGBa", "LA", "La", "PA")
_WHITE = (255, 255, 255, 255)
_SIXTEEN_BITS = 65535


def open_image(path: Path, content: BinaryIO | None = None) -> Image:
    """The picture in `path`, or in `content`, which `path` then only names: upright, RGB, loaded.

    Raises:
        UsageError: the file is missing, empty, cut off, no picture, too large, or holds numbers of unknown scale.
    """
    from PIL import Image

    try:
        with _pillow_at_ease(), Image.open(content or path) as image:
            _refuse_too_large(path, image)
            return _to_rgb(path, _upright(_loaded(image)))
    except UsageError:
        raise
    except Exception as error:  # Pillow's readers raise whatever a broken file makes them trip over
        why = " ".join(str(error).split()) or type(error).__name__
        message = f"{path} cannot be read as an image ({why}); repair or remove it"
        raise UsageError(message) from error


@contextmanager
def _pillow_at_ease() -> Iterator[None]:
    """Without warnings, and without Pillow's own limit of pixels in place of ours."""
    from PIL import Image

    limit = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Image.MAX_IMAGE_PIXELS = None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _refuse_too_large(path: Path, image: Image) -> None:
    most = MAX_PIXELS if image.format in _HALVED else MAX_WHOLE_PIXELS
    if image.width * image.height > most:
        message = (
            f"{path}: {image.width} x {image.height} pixels; {image.format} pictures of up to {most:,} pixels are"
            " opened, make it smaller first"
        )
        raise UsageError(message)


def _loaded(image: Any) -> Image:
    """Rule 5."""
    shortest = min(image.size)
    if image.width * image.height > FULL_PIXELS and shortest > SHORTEST_SIDE:
        share = SHORTEST_SIDE / shortest
        image.draft(image.mode, (int(image.width * share), int(image.height * share)))  # JPEG alone listens
    image.load()
    return image  # type: ignore[no-any-return]


def _upright(image: Image) -> Image:
    """Rule 1."""
    from PIL import ImageOps

    with suppress(Exception):  # EXIF that cannot be parsed; the pixels are whole
        ImageOps.exif_transpose(image, in_place=True)
    return image


def _to_rgb(path: Path, image: Image) -> Image:
    if image.mode.startswith("I;16"):
        return _sixteen_bits(image).convert("RGB")
    if image.mode in ("I", "F"):
        return _eight_bits(path, image).convert("RGB")
    if image.mode in _TRANSPARENT or "transparency" in image.info:
        return _over_white(image)
    return image.convert("RGB")


def _over_white(image: Image) -> Image:
    """Rule 2."""
    from PIL import Image

    picture = image.convert("RGBA")
    paper = Image.new("RGBA", picture.size, _WHITE)
    return Image.alpha_composite(paper, picture).convert("RGB")


def _sixteen_bits(image: Image) -> Image:
    """Rule 3: 65535 becomes 255, rounded to the nearest."""
    from PIL import Image

    levels = ((np.arange(_SIXTEEN_BITS + 1) + 128) // 257).astype(np.uint8)
    return Image.fromarray(levels[np.asarray(image)])


def _eight_bits(path: Path, image: Image) -> Image:
    """Rule 3: a share of white for each pixel of a 32-bit picture."""
    from PIL import Image

    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    white = _white(image, high)
    if not (low >= 0.0 and white):
        message = (
            f"{path}: its 32-bit pixels range from {low:g} to {high:g}; expected integers from 0 to 65535, or floats "
            "from 0 to 1 or to 255: save it as an 8-bit picture"
        )
        raise UsageError(message)
    return Image.fromarray(np.rint(values * np.float32(255.0 / white)).astype(np.uint8))


def _white(image: Image, high: float) -> float:
    """What stands for white; 0 where nothing known does. Older Pillow opens a 16-bit PNG in 32 bits."""
    if image.mode == "I" and image.format == "PNG":
        return float(_SIXTEEN_BITS)
    known = (1.0, 255.0) if image.mode == "F" else (255.0, float(_SIXTEEN_BITS))
    return next((white for white in known if high <= white), 0.0)
