"""Images found in files and folders, and read a batch ahead of the model; texts read a line each."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from converter.errors import UsageError
from converter.inference import Say, Skipped
from converter.models.images import open_image
from converter.models.photographs import IMAGE_SUFFIXES
from converter.models.preprocessing import prepare
from converter.records import Preprocessing

SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"II*\0", b"MM\0*")
"""How a JPEG, PNG, GIF or TIFF begins, whatever its name."""
STANDARD_INPUT = "-"


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Images that were read together: their names, their pixels for each preprocessing, and those that failed."""

    names: tuple[str, ...]
    pixels: tuple[npt.NDArray[np.uint8], ...]
    skipped: tuple[Skipped, ...]


def find_images(named: Sequence[Path], say: Say) -> list[Path]:
    """Files as they were given; for a folder, the images anywhere in it, sorted.

    Hidden files are passed over in silence. What else is no image, by name and by its first bytes, is counted to `say`.

    Raises:
        UsageError: a folder holds no image.
    """
    found: list[Path] = []
    for path in named:
        found += _in_folder(path, say) if path.is_dir() else [path]
    return found


def read_images(paths: Sequence[Path], preprocessings: Sequence[Preprocessing], batch: int) -> Iterator[Batch]:
    """The images in order, `batch` at a time, the next batch read while the caller works on this one.

    One thread reads: opening an image changes Pillow's limits, and these are the whole process's.
    """
    chunks = [paths[start : start + batch] for start in range(0, len(paths), batch)]
    with ThreadPoolExecutor(max_workers=1) as reader:
        ahead = reader.submit(_read, chunks[0], preprocessings) if chunks else None
        for following in [*chunks[1:], None]:
            if ahead is None:
                return
            ready = ahead.result()
            ahead = reader.submit(_read, following, preprocessings) if following else None
            yield ready


def read_lines(path: str) -> list[str]:
    """The lines of a UTF-8 file, or of standard input for "-"; blank ones are left out.

    Raises:
        UsageError: the file cannot be read, is not UTF-8, or has blank lines only.
    """
    try:
        data = sys.stdin.buffer.read() if path == STANDARD_INPUT else Path(path).read_bytes()
        lines = [line.strip() for line in data.decode("utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        message = f"{path} cannot be read as text ({error}); expected UTF-8, a line each"
        raise UsageError(message) from error
    texts = [line for line in lines if line]
    if not texts:
        message = f"{path} has no line with text; expected one text a line"
        raise UsageError(message)
    return texts


def _in_folder(folder: Path, say: Say) -> list[Path]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not _is_hidden(path, folder))
    images = [path for path in files if _is_image(path)]
    others = Counter(path.suffix.lower() or path.name for path in files) - Counter(
        path.suffix.lower() or path.name for path in images
    )
    if others:
        kinds = ", ".join(f"{count} {kind}" for kind, count in others.most_common(5))
        say(f"{folder}: left out what is no image ({kinds})")
    if not images:
        message = f"no image in {folder}; expected photographs ({', '.join(IMAGE_SUFFIXES)})"
        raise UsageError(message)
    return images


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _is_image(path: Path) -> bool:
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return True
    try:
        with path.open("rb") as stream:
            first = stream.read(12)
    except OSError:
        return False
    return first.startswith(SIGNATURES) or (first[:4] == b"RIFF" and first[8:] == b"WEBP")


def _said(path: Path) -> str:
    """The path as text that any file can hold, also where its bytes are no UTF-8."""
    return os.fsencode(path).decode("utf-8", "replace")


def _read(paths: Sequence[Path], preprocessings: Sequence[Preprocessing]) -> Batch:
    names: list[str] = []
    rows: list[list[npt.NDArray[np.uint8]]] = [[] for _ in preprocessings]
    skipped: list[Skipped] = []
    for path in paths:
        try:
            image = open_image(path)
        except UsageError as error:
            skipped.append(Skipped(name=_said(path), reason=str(error)))
            continue
        names.append(_said(path))
        for pixels, preprocessing in zip(rows, preprocessings, strict=True):
            pixels.append(prepare([image], preprocessing))
    stacked = tuple(np.concatenate(pixels) for pixels in rows) if names else ()
    return Batch(names=tuple(names), pixels=stacked, skipped=tuple(skipped))
