"""Indexes of one folder brought up to date, side by side, so that each photograph is read and decoded once for all.

1. Size and time as noted: kept, not opened. Changed: its bytes are hashed; known bytes keep their vector.
2. What is new goes through the models a batch at a time, and each batch is committed, vectors with photographs: a kill
   loses at most one batch, and leaves no half of it.
3. Vectors that no photograph has any more go last, when renamed files have found theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from converter.inference import Say, Space
from converter.inference.embedding import Advanced, image_vectors, way_of
from converter.inference.reading import find_images
from converter.retrieval.ledger import Ledger, Photo, open_ledger
from converter.retrieval.places import held, index_folder
from converter.retrieval.reading import Read, read_photos, shown, stat_of
from converter.retrieval.vectors import Vectors, import_faiss, open_vectors
from converter.retrieved import Indexed, Unread

BATCH = 32
"""Photographs between two commits."""

type Counting = Callable[[int], AbstractContextManager[Advanced]]
"""Opens a counter of so many embeddings to come."""


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """One file's index, ready to be asked: the photographs of each vector by number, and the vector of each."""

    space: Space
    vectors: Vectors
    owners: Mapping[int, tuple[int, ...]]
    vector_of: Mapping[int, int]


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """A folder of photographs in several indexes. A photograph's number is its place in `names`.

    `sha256` is of each one's bytes when it was indexed.
    """

    folder: Path
    names: tuple[Path, ...]
    sha256: tuple[str, ...]
    shelves: tuple[Shelf, ...]
    indexed: tuple[Indexed, ...]


@dataclass(kw_only=True)
class _Work:
    """One index while it is brought up to date."""

    space: Space
    folder: Path
    ledger: Ledger
    pending: set[Path] = field(default_factory=set)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("kept", "embedded", "reused", "removed"), 0))


def open_gallery(folder: Path, spaces: Sequence[Space], root: Path, say: Say, counting: Counting) -> Gallery:
    """Bring the index of every space up to date with the folder, and open it.

    Raises:
        UsageError: the folder holds no image, or the index cannot be written.
        MissingDependencyError: faiss is not installed.
        ParityError: a model returned NaN or Inf.
    """
    import_faiss()
    homes = [index_folder(root, folder, space) for space in spaces]
    with ExitStack() as stack:
        stack.enter_context(held(homes, say))
        works = [_opened(*pair, say, stack) for pair in zip(spaces, homes, strict=True)]
        photos = [stat_of(folder, path.relative_to(folder)) for path in find_images([folder], say)]
        for work in works:
            _plan(work, photos)
        _update(folder, works, photos, counting)
        return _gallery(folder, works, say)


def _opened(space: Space, folder: Path, say: Say, stack: ExitStack) -> _Work:
    ledger, mended = open_ledger(folder, space.model.embed_dim)
    stack.enter_context(closing(ledger))
    for line in mended:
        say(line)
    return _Work(space=space, folder=folder, ledger=ledger)


def _plan(work: _Work, photos: Sequence[Photo]) -> None:
    """What must be looked at, and what is gone."""
    known = work.ledger.photos()
    now = {photo.path for photo in photos}
    gone = [path for path in known if path not in now]
    with work.ledger.together():
        work.ledger.drop(gone)
    work.pending = {photo.path for photo in photos if not _is_as_noted(photo, known.get(photo.path))}
    work.counts |= {"removed": len(gone), "kept": len(photos) - len(work.pending)}


def _is_as_noted(photo: Photo, noted: Photo | None) -> bool:
    return noted is not None and (photo.size_bytes, photo.mtime_ns) == (noted.size_bytes, noted.mtime_ns)


def _update(folder: Path, works: Sequence[_Work], photos: Sequence[Photo], counting: Counting) -> None:
    wanted = set().union(*(work.pending for work in works))
    ways = list(dict.fromkeys(way_of(work.space) for work in works))
    known = set.intersection(*(work.ledger.known() for work in works))
    pending = [photo for photo in photos if photo.path in wanted]
    with counting(sum(len(work.pending) for work in works)) as advanced:
        for reads in read_photos(folder, pending, ways, known.__contains__, BATCH):
            for work in works:
                own = [read for read in reads if read.photo.path in work.pending]
                _commit(work, own, ways.index(way_of(work.space)))
                advanced(len(own))
    for work in works:
        with work.ledger.together():
            work.ledger.sweep()


def _commit(work: _Work, reads: Sequence[Read], way: int) -> None:
    """One batch in one index: embedded first, then written in one transaction."""
    fresh = _embedded(work, reads, way)
    with work.ledger.together():
        for read in reads:
            photo, sha256 = read.photo, read.photo.sha256
            if photo.reason:
                work.ledger.note(photo)
                continue
            vector = work.ledger.vector_of(sha256)
            work.counts["embedded" if vector is None else "reused"] += 1
            work.ledger.note(
                replace(photo, vector=work.ledger.add(sha256, fresh[sha256]) if vector is None else vector)
            )


def _embedded(work: _Work, reads: Sequence[Read], way: int) -> dict[str, np.ndarray[tuple[int], np.dtype[np.float32]]]:
    """By sha256, the vectors of bytes that this index does not know."""
    fresh = {read.photo.sha256: read for read in reads if read.pixels and not work.ledger.vector_of(read.photo.sha256)}
    if not fresh:
        return {}
    names = [shown(read.photo.path) for read in fresh.values()]
    rows = image_vectors(work.space, names, np.concatenate([read.pixels[way] for read in fresh.values()]))
    return dict(zip(fresh, rows, strict=True))


def _gallery(folder: Path, works: Sequence[_Work], say: Say) -> Gallery:
    """Only photographs that every index has are shown: one may have been lost while it was read."""
    noted = [{path: photo for path, photo in work.ledger.photos().items()} for work in works]
    names = sorted(path for path, photo in noted[0].items() if all(_has(one, path) for one in noted) and photo.sha256)
    shelves = [_shelf(work, known, names, say) for work, known in zip(works, noted, strict=True)]
    return Gallery(
        folder=folder, names=tuple(names), sha256=tuple(noted[0][path].sha256 for path in names),
        shelves=tuple(shelves), indexed=tuple(_indexed(*pair) for pair in zip(works, noted, strict=True)),
    )  # fmt: skip


def _has(noted: Mapping[Path, Photo], path: Path) -> bool:
    return path in noted and noted[path].vector is not None


def _shelf(work: _Work, noted: Mapping[Path, Photo], names: Sequence[Path], say: Say) -> Shelf:
    owners: dict[int, tuple[int, ...]] = {}
    vector_of: dict[int, int] = {}
    for number, path in enumerate(names):
        vector = noted[path].vector
        if vector is not None:
            owners[vector] = (*owners.get(vector, ()), number)
            vector_of[number] = vector
    vectors = open_vectors(work.folder, work.ledger, work.space.model.embed_dim, say)
    return Shelf(space=work.space, vectors=vectors, owners=owners, vector_of=vector_of)


def _indexed(work: _Work, noted: Mapping[Path, Photo]) -> Indexed:
    unread = [Unread(name=shown(photo.path), reason=photo.reason) for photo in noted.values() if photo.reason]
    return Indexed(
        space=work.space.name, photographs=len(noted), unread=tuple(sorted(unread, key=lambda one: one.name)),
        **work.counts,
    )  # fmt: skip
