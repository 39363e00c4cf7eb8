"""What a query is, a picture or a text, and its vector in every space."""

from __future__ import annotations

import difflib
import hashlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from converter.errors import UsageError
from converter.inference import Space, Vectors
from converter.inference.embedding import image_vectors, text_vectors, way_of
from converter.models.images import open_image
from converter.models.photographs import IMAGE_SUFFIXES
from converter.models.preprocessing import prepare
from converter.records import Tower
from converter.retrieval.reading import shown

NEAREST = 3


@dataclass(frozen=True, kw_only=True)
class Query:
    """What is looked for. `data` are the picture's bytes, None for a text."""

    name: str
    data: bytes | None = None

    @property
    def kind(self) -> Tower:
        """The tower that it needs."""
        return "text" if self.data is None else "image"

    @property
    def sha256(self) -> str:
        """Of a picture's bytes, by which it is known among the photographs; empty for a text."""
        return "" if self.data is None else hashlib.sha256(self.data).hexdigest()


def understood(given: str, folder: Path, *, is_text: bool) -> Query:
    """A file that is there is a picture, everything else a text; `is_text` makes it one in any case.

    Raises:
        UsageError: it is empty, or it looks like a path and nothing is there.
    """
    if not given.strip():
        message = "an empty query; give an image file or a text"
        raise UsageError(message)
    path = Path(given).expanduser()
    if not is_text and _is_file(path):
        return Query(name=given, data=path.read_bytes())
    if not is_text and _looks_like_path(given):
        message = (
            f"--query {given}: there is no such file; {_nearest(path, folder)}. If it is a text, say so with --text"
        )
        raise UsageError(message)
    return Query(name=given)


def vectors_of(query: Query, spaces: Sequence[Space]) -> list[Vectors]:
    """The query's vector in each space, (1, embed_dim).

    Raises:
        UsageError: the picture cannot be read.
        ParityError: a model returned NaN or Inf.
    """
    if query.data is None:
        return [text_vectors(space, [query.name]) for space in spaces]
    image = open_image(Path(query.name), io.BytesIO(query.data))
    return [image_vectors(space, [query.name], prepare([image], way_of(space))) for space in spaces]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a text of any length, with any sign, is no path
        return False


def _looks_like_path(given: str) -> bool:
    has_suffix = Path(given).suffix.lower() in IMAGE_SUFFIXES
    return has_suffix or given.startswith(("/", "./", "../", "~/")) or (os.sep in given and " " not in given)


def _nearest(path: Path, folder: Path) -> str:
    """Image files with a like name, beside where it was looked for and in the folder of photographs."""
    places = dict.fromkeys((path.parent, folder))
    files = [one for place in places if place.is_dir() for one in place.iterdir()]
    images = {one.name: one for one in files if one.suffix.lower() in IMAGE_SUFFIXES}
    close = difflib.get_close_matches(path.name, images, n=NEAREST, cutoff=0.5)
    if not close:
        return "expected an image file that exists, or a text"
    return f"the nearest names are {', '.join(shown(images[name]) for name in close)}"
