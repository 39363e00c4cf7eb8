"""A query asked of every index, and the answers set side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from converter.inference import Vectors as Rows
from converter.retrieval.asking import Query, vectors_of
from converter.retrieval.comparing import contrast, verdict
from converter.retrieval.indexing import Gallery, Shelf
from converter.retrieval.reading import shown
from converter.retrieved import Answer, Hit, Placed, Searched

DEPTH = 50
"""How far beyond the best a rank is told, so that one sees how near a photograph was to being returned."""

type Vector = npt.NDArray[np.float32]


def search(gallery: Gallery, query: Query, top: int, *, exclude_query: bool = False) -> Searched:
    """The `top` nearest photographs in every index; equal scores go by name.

    `exclude_query` leaves out photographs with the query's very bytes, which are marked otherwise.

    Raises:
        UsageError: the query's picture cannot be read.
    """
    rows = vectors_of(query, [shelf.space for shelf in gallery.shelves])
    own = {number for number, sha256 in enumerate(gallery.sha256) if sha256 == query.sha256}
    left_out = own if exclude_query else set()
    depth = top + DEPTH + len(left_out)
    ranked = [_ranked(*pair, gallery, depth, left_out) for pair in zip(gallery.shelves, rows, strict=True)]
    answers = [
        Answer(space=shelf.space.name, hits=tuple(_marked(hit, own) for hit in hits[:top]))
        for shelf, hits in zip(gallery.shelves, ranked, strict=True)
    ]
    union = _union(gallery, answers, ranked, [row[0] for row in rows])
    margins = [shelf.space.tie_margin for shelf in gallery.shelves]
    contrasts = tuple(
        contrast(answers, union, place, max(margins[0], margins[place])) for place in range(1, len(answers))
    )
    return Searched(
        query=query.name, kind=query.kind, top=top, answers=tuple(answers), union=union, contrasts=contrasts,
        verdict=verdict(answers, contrasts),
    )  # fmt: skip


def _ranked(shelf: Shelf, row: Rows, gallery: Gallery, depth: int, left_out: set[int]) -> list[Hit]:
    found = [
        (-score, number)
        for vector, score in shelf.vectors.best(row[0], depth)
        for number in shelf.owners.get(vector, ())
        if number not in left_out
    ]
    return [
        Hit(photo=number, name=shown(gallery.names[number]), rank=place + 1, score=-score)
        for place, (score, number) in enumerate(sorted(found))
    ]


def _marked(hit: Hit, own: set[int]) -> Hit:
    return Hit(photo=hit.photo, name=hit.name, rank=hit.rank, score=hit.score, is_query=hit.photo in own)


def _union(
    gallery: Gallery, answers: Sequence[Answer], ranked: Sequence[Sequence[Hit]], queries: Sequence[Vector]
) -> tuple[Placed, ...]:
    """Every photograph that one of them returned, in the order of the first, then of the others."""
    returned = {hit.photo: hit for answer in answers for hit in answer.hits}
    deep = [{hit.photo: hit for hit in hits} for hits in ranked]
    placed = []
    for photo, hit in returned.items():
        places = [
            known.get(photo) or Hit(photo=photo, name=hit.name, rank=0, score=_score(shelf, query, photo))
            for known, shelf, query in zip(deep, gallery.shelves, queries, strict=True)
        ]
        placed.append(Placed(photo=photo, name=hit.name, is_query=hit.is_query, places=tuple(places)))
    return tuple(placed)


def _score(shelf: Shelf, query: Vector, photo: int) -> float:
    return shelf.vectors.score(query, shelf.vector_of[photo])
