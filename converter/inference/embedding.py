"""Images and texts to vectors, in every opened space, and the average of spaces that are the same model's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from converter.errors import ParityError, UsageError
from converter.inference import Row, Skipped, Space, Vectors, unit
from converter.inference.reading import Batch, read_images
from converter.models.tokenizer import tokenize
from converter.records import Preprocessing, Tower

NAME_LENGTH = 1000
"""Characters of a text that its row is named by; arrays of names take four bytes a character of the longest."""

LONGEST_TOKEN = 32
"""Characters of the longest entry in OpenAI's vocabulary; a space may stand before each."""

type Advanced = Callable[[int], None]
"""Is told how many more inputs are done."""


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """What became of the inputs: rows in the order given, images before texts, and what could not be read."""

    rows: tuple[Row, ...]
    skipped: tuple[Skipped, ...] = ()


def embed_images(spaces: Sequence[Space], paths: Sequence[Path], batch: int, advanced: Advanced) -> Embedded:
    """Every image in every space; each is opened once, and prepared once for each way of preparing.

    Raises:
        ParityError: a model returned NaN or Inf.
    """
    ways = [way_of(space) for space in spaces]
    distinct = list(dict.fromkeys(ways))
    rows: list[Row] = []
    skipped: list[Skipped] = []
    for read in read_images(paths, distinct, batch):
        skipped += read.skipped
        if read.names:
            rows += _rows(
                read.names, "image", [_image_vectors(*pair, distinct, read) for pair in zip(spaces, ways, strict=True)]
            )
        advanced(len(read.names) + len(read.skipped))
    return Embedded(rows=tuple(rows), skipped=tuple(skipped))


def embed_texts(spaces: Sequence[Space], texts: Sequence[str], batch: int, advanced: Advanced) -> Embedded:
    """Every text in every space. A row is named by its text, or by how a long one begins.

    Raises:
        ParityError: a model returned NaN or Inf.
    """
    rows: list[Row] = []
    for start in range(0, len(texts), batch):
        chunk = texts[start : start + batch]
        names = [text if len(text) <= NAME_LENGTH else f"{text[:NAME_LENGTH]}..." for text in chunk]
        rows += _rows(names, "text", [text_vectors(space, chunk) for space in spaces])
        advanced(len(chunk))
    return Embedded(rows=tuple(rows))


def image_vectors(space: Space, names: Sequence[str], pixels: npt.NDArray[np.uint8]) -> Vectors:
    """(n, embed_dim) of images prepared by `way_of` the space: (n, size, size, 3) uint8 RGB.

    Raises:
        ParityError: the model returned NaN or Inf; the message names the first of `names` that did.
    """
    if space.images is None:
        message = f"{space.name} was opened without its image tower"
        raise ValueError(message)
    return _finite(space, names, space.images(pixels))


def way_of(space: Space) -> Preprocessing:
    """What decides the pixels; the rest of preprocessing is arithmetic on them."""
    plain = space.model.preprocessing
    return replace(
        plain, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), value_range=(0.0, 1.0), inside_graph=False, layout="NCHW"
    )


def text_vectors(space: Space, texts: Sequence[str]) -> Vectors:
    """(n, embed_dim) of the texts in one space.

    Raises:
        ParityError: the model returned NaN or Inf.
    """
    if space.texts is None:
        message = f"{space.name} was opened without its text tower"
        raise ValueError(message)
    return _finite(space, texts, space.texts(tokenize([_beginning(text, space) for text in texts], space.spec)))


def averaged(embedded: Embedded) -> Embedded:
    """Each row with one vector: the mean of its vectors, scaled to length 1."""
    rows = [replace(row, vectors=list(unit(np.mean(row.vectors, axis=0)[None]))) for row in embedded.rows]
    return replace(embedded, rows=tuple(rows))


def require_one_space(spaces: Sequence[Space]) -> None:
    """Only files of the same weights put an image in the same place, so that a mean of vectors means something.

    Raises:
        UsageError: they are not the same model's.
    """
    first = spaces[0]
    for other in spaces[1:]:
        if other.model.weights.sha256 == first.model.weights.sha256 and other.model.embed_dim == first.model.embed_dim:
            continue
        message = (
            f"--ensemble: {first.name} and {other.name} embed into different spaces ({_weights(first)}; "
            f"{_weights(other)}), so the mean of their vectors means nothing; take files of one model with the same "
            "weights, or leave --ensemble out"
        )
        raise UsageError(message)


def _image_vectors(space: Space, way: Preprocessing, distinct: Sequence[Preprocessing], read: Batch) -> Vectors:
    return image_vectors(space, read.names, read.pixels[distinct.index(way)])


def _beginning(text: str, space: Space) -> str:
    """What of a text can be among its tokens: merging the pairs of one long word takes the square of its length."""
    return " ".join(text.split())[: space.spec.context_length * (LONGEST_TOKEN + 1)]


def _rows(names: Iterable[str], kind: Tower, vectors: Sequence[Vectors]) -> list[Row]:
    return [
        Row(name=name, kind=kind, vectors=list(one))
        for name, one in zip(names, zip(*vectors, strict=True), strict=True)
    ]


def _finite(space: Space, names: Sequence[str], vectors: Vectors) -> Vectors:
    wrong = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if wrong.size:
        message = (
            f"{space.name} returned NaN or Inf for {names[int(wrong[0])][:80]} ({wrong.size} of {len(names)} inputs); "
            "a float16 file may overflow: use the float32 one, and run 'mcconvert verify'"
        )
        raise ParityError(message)
    return vectors


def _weights(space: Space) -> str:
    return f"{space.model.id}, weights {space.model.weights.sha256[:12]}, {space.model.embed_dim} numbers"
