"""Photographs read once: their bytes hashed, and those very bytes made pixels, one batch ahead of the models."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from converter.errors import UsageError
from converter.models.images import open_image
from converter.models.preprocessing import prepare
from converter.records import Preprocessing
from converter.retrieval.ledger import Photo

MAX_BYTES = 1 << 30
"""A larger file is no photograph; it would be held in memory whole."""

type Known = Callable[[str], bool]
"""Whether every index has a vector for bytes of this sha256, so that nothing need be decoded."""


@dataclass(frozen=True, kw_only=True)
class Read:
    """A photograph whose bytes were looked at: hashed, and as pixels for each preprocessing, or why not.

    `pixels` are (1, size, size, 3) uint8; empty where the bytes are known, or cannot be read, as `photo.reason` says.
    """

    photo: Photo
    pixels: tuple[npt.NDArray[np.uint8], ...] = ()


def read_photos(
    folder: Path, photos: Sequence[Photo], ways: Sequence[Preprocessing], known: Known, batch: int
) -> Iterator[list[Read]]:
    """The photographs in order, `batch` at a time, the next batch read while the caller works on this one.

    One thread reads: opening an image changes Pillow's limits, and these are the whole process's.
    """
    chunks = [photos[start : start + batch] for start in range(0, len(photos), batch)]
    with ThreadPoolExecutor(max_workers=1) as reader:
        ahead: Future[list[Read]] | None = None
        for chunk in [*chunks, None]:
            ready = ahead.result() if ahead else None
            ahead = reader.submit(_read_all, folder, chunk, ways, known) if chunk else None
            if ready is not None:
                yield ready


def stat_of(folder: Path, path: Path) -> Photo:
    """What tells cheaply whether a file changed. One that is gone by now, or may not be looked at, has a reason."""
    try:
        stat = (folder / path).stat()
    except OSError as error:
        return Photo(path=path, size_bytes=-1, mtime_ns=0, reason=f"{shown(path)}: {error.strerror}")
    return Photo(path=path, size_bytes=stat.st_size, mtime_ns=stat.st_mtime_ns)


def shown(path: Path) -> str:
    """The path as text that any file can hold, also where its bytes are no UTF-8."""
    return os.fsencode(path).decode("utf-8", "replace")


def _read_all(folder: Path, photos: Sequence[Photo], ways: Sequence[Preprocessing], known: Known) -> list[Read]:
    return [_read(folder, photo, ways, known) for photo in photos]


def _read(folder: Path, photo: Photo, ways: Sequence[Preprocessing], known: Known) -> Read:
    try:
        data = _bytes(folder, photo)
    except OSError as error:  # gone, or not ours to read: nothing is known of its bytes, it is tried again
        return Read(photo=replace(photo, mtime_ns=0, reason=f"{shown(photo.path)}: {error.strerror}"))
    except UsageError as error:
        return Read(photo=replace(photo, reason=str(error)))
    noted = replace(photo, sha256=hashlib.sha256(data).hexdigest())
    if known(noted.sha256):
        return Read(photo=noted)
    try:
        image = open_image(photo.path, io.BytesIO(data))
    except UsageError as error:
        return Read(photo=replace(noted, reason=str(error)))
    return Read(photo=noted, pixels=tuple(prepare([image], way) for way in ways))


def _bytes(folder: Path, photo: Photo) -> bytes:
    if photo.size_bytes > MAX_BYTES:
        message = f"{shown(photo.path)}: {photo.size_bytes:,} bytes; files of up to {MAX_BYTES:,} are read"
        raise UsageError(message)
    return (folder / photo.path).read_bytes()
