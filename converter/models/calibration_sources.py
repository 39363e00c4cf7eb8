"""Pictures to calibrate on, from wherever they lie: a folder, an archive, arrays, parquet shards.

Rules:

1. A folder is searched to its bottom; so is an archive (.zip, .tar, .tar.gz, .tgz, .tar.bz2, .tar.xz; a webdataset's
   shards are tar archives). What is no picture by its name is left out, hidden files are too.
2. An archive is read in place. Nothing is unpacked, links are not followed, and a name is only a name: where it points
   to (`../`) does not matter. A member of more than `MEMBER_BYTES` is refused; pixels are bounded where pictures open.
3. Arrays (.npy, .npz) are pixels: uint8, `(n, height, width, 3)`. Floats are refused: they were scaled or normalised
   by somebody, and nobody can say how.
4. Parquet (a file, or a folder of shards) has a column of encoded pictures, as bytes or as {"bytes": ...}.
5. Of a large source `LIMIT` pictures are taken, and all come in a seeded random order: the first of them are a sample
   of the whole, however it was sorted. Only what is taken is decoded.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from converter.errors import MissingDependencyError, UsageError
from converter.models.archives import Archive, is_archive, open_archive
from converter.models.images import open_image
from converter.models.photographs import IMAGE_SUFFIXES

if TYPE_CHECKING:
    from PIL.Image import Image

LIMIT = 512
"""Four times what ranges took to stand still on any model so far."""
SEED = 21
ARRAY_BYTES = 4 * 2**30
_COLUMNS = ("image", "img", "jpg", "jpeg", "png", "picture", "bytes")
_ARRAYS = ("pixels", "images", "image", "x", "data")
_KINDS = "a folder of photographs, a .zip or .tar archive of them, uint8 pixels in .npy or .npz, or parquet shards"


@dataclass(frozen=True, kw_only=True)
class ImageSource:
    """Pictures known by name before any is decoded; `read` gives those at the places asked for, in its own order."""

    names: Sequence[str]
    read: Callable[[frozenset[int]], Iterator[tuple[int, Image]]]


def calibration_images(path: Path, limit: int = LIMIT) -> Iterator[tuple[int, str, Image]]:
    """Pictures as (rank, name, RGB picture); whoever sorts them by rank has the random order of rule 5.

    Raises:
        UsageError: nothing is at `path`, it has no picture, or one cannot be read.
        MissingDependencyError: parquet without pyarrow.
    """
    source = _source(path)
    if not source.names:
        message = f"no image in {path}; expected {_KINDS} ({', '.join(IMAGE_SUFFIXES)})"
        raise UsageError(message)
    rank = {int(place): rank for rank, place in enumerate(chosen(len(source.names), limit))}
    return ((rank[place], source.names[place], image) for place, image in source.read(frozenset(rank)))


def chosen(count: int, limit: int) -> list[int]:
    """At most `limit` of `count` places, in an order that the count alone decides."""
    return [int(place) for place in np.random.default_rng([SEED, count]).permutation(count)[:limit]]


def _source(path: Path) -> ImageSource:
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        message = f"nothing at {path} to calibrate on; expected {_KINDS}"
        raise UsageError(message)
    if is_archive(path):
        return _members(open_archive(path))
    if path.suffix.lower() in (".npy", ".npz"):
        return _pixels(path)
    if path.suffix.lower() == ".parquet":
        return _shards([path])
    message = f"{path} is no set of pictures; expected {_KINDS}"
    raise UsageError(message)


def _folder(path: Path) -> ImageSource:
    """Rule 1."""
    files = sorted(file for file in path.rglob("*") if file.is_file())
    images = [file for file in files if _is_image(file.relative_to(path).as_posix())]
    shards = [file for file in files if file.suffix.lower() == ".parquet"]
    if shards and not images:
        return _shards(shards)
    names = [image.relative_to(path).as_posix() for image in images]
    return ImageSource(
        names=names, read=lambda places: ((place, open_image(images[place])) for place in sorted(places))
    )


def _members(archive: Archive) -> ImageSource:
    """Rule 2."""
    names = sorted(name for name in archive.names if _is_image(name))
    places = {name: place for place, name in enumerate(names)}

    def read(wanted: frozenset[int]) -> Iterator[tuple[int, Image]]:
        for name, data in archive.read({names[place] for place in wanted}):
            yield places[name], open_image(archive.path / name, data)

    return ImageSource(names=names, read=read)


def _pixels(path: Path) -> ImageSource:
    """Rule 3."""
    from PIL import Image

    pixels = _array(path)
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[-1] != 3 or not pixels.size:
        raise UsageError(f"{path}: {_no_pixels(pixels)}")  # noqa: EM102
    return ImageSource(
        names=[f"{path.name}#{place}" for place in range(len(pixels))],
        read=lambda places: ((place, Image.fromarray(np.ascontiguousarray(pixels[place]))) for place in sorted(places)),
    )


def _array(path: Path) -> Any:
    """The one array of the file that can be meant; an .npy of any size is mapped, not read."""
    try:
        opened = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(opened, np.ndarray):
            return opened
        with opened:
            _refuse_too_large(path, opened)
            names = [name for name in (*_ARRAYS, *opened.files) if name in opened.files]
            return np.asarray(opened[names[0]]) if names else np.zeros(0)
    except UsageError:
        raise
    except Exception as error:  # what numpy raises depends on where the file is broken
        message = f"{path} cannot be read as arrays ({error}); expected uint8 pixels, (n, height, width, 3)"
        raise UsageError(message) from error


def _refuse_too_large(path: Path, opened: Any) -> None:
    size = sum(member.file_size for member in opened.zip.infolist())
    if size > ARRAY_BYTES:
        message = f"{path} unpacks to {size / 2**30:.0f} GiB; save a part of it, or all of it as .npy, which is mapped"
        raise UsageError(message)


def _no_pixels(array: Any) -> str:
    seen = f"its array is {array.dtype} of shape {tuple(array.shape)}"
    wanted = "expected uint8 pixels, (n, height, width, 3)"
    if array.dtype.kind == "f" and array.size:
        low, high = float(array.min()), float(array.max())
        what = "scaled to [0, 1]: multiply by 255" if low >= 0 and high <= 1 else "normalised already: undo that"
        return f"{seen}, from {low:.3g} to {high:.3g}, as if {what}; {wanted}, which are normalised here"
    if array.ndim == 4 and array.shape[1] == 3:
        return f"{seen}, channels first; {wanted}: transpose(0, 2, 3, 1)"
    return f"{seen}; {wanted}"


def _shards(paths: Sequence[Path]) -> ImageSource:
    """Rule 4."""
    files = [(path, _parquet(path)) for path in paths]
    counts = [opened.metadata.num_rows for _, opened in files]
    names = [f"{path.name}#{row}" for (path, _), count in zip(files, counts, strict=True) for row in range(count)]

    def read(places: frozenset[int]) -> Iterator[tuple[int, Image]]:
        start = 0
        for path, opened in files:
            for group in range(opened.num_row_groups):
                rows = opened.metadata.row_group(group).num_rows
                wanted = sorted(place for place in places if start <= place < start + rows)
                if wanted:
                    yield from _decoded(path, opened, group, start, wanted, names)
                start += rows

    return ImageSource(names=names, read=read)


def _decoded(
    path: Path, opened: Any, group: int, start: int, wanted: Sequence[int], names: Sequence[str]
) -> Iterator[tuple[int, Image]]:
    import io

    column = _column(path, opened)
    try:
        rows = opened.read_row_group(group, columns=[column])[column]
    except (OSError, ValueError) as error:
        message = f"{path} is damaged ({error}); take it out, or fetch it again"
        raise UsageError(message) from error
    for place in wanted:
        cell = rows[place - start].as_py()
        data = cell.get("bytes") if isinstance(cell, dict) else cell
        if not isinstance(data, bytes):
            message = f"{path}: column '{column}' names pictures instead of holding them; give the folder of pictures"
            raise UsageError(message)
        yield place, open_image(path.with_name(names[place]), io.BytesIO(data))


def _column(path: Path, opened: Any) -> str:
    names = opened.schema_arrow.names
    found = [name for name in _COLUMNS if name in names]
    if not found:
        message = f"{path}: no column of pictures among {', '.join(names)}; expected one named {', '.join(_COLUMNS)}"
        raise UsageError(message)
    return found[0]


def _parquet(path: Path) -> Any:
    try:
        parquet = importlib.import_module("pyarrow.parquet")  # it has no types
    except ImportError as error:
        message = f"{path} is parquet, which needs pyarrow: pip install 'mcconvert[parquet]'"
        raise MissingDependencyError(message) from error
    try:
        return parquet.ParquetFile(path)
    except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors
        message = f"{path} cannot be read as parquet ({error}); take it out, or fetch it again"
        raise UsageError(message) from error


def _is_image(name: str) -> bool:
    parts = name.split("/")
    hidden = any(part.startswith(".") and part not in (".", "..") for part in parts) or "__MACOSX" in parts
    return not hidden and parts[-1].lower().endswith(IMAGE_SUFFIXES)
