"""Scores of a retrieval: dot products of queries with a gallery, in which equal items score equally to the last bit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """(n, d) embeddings in float64, and their different rows: `rows` are `different[places]`."""

    rows: Rows
    different: Rows
    places: npt.NDArray[np.intp]


def gallery(rows: Rows) -> Gallery:
    """Embeddings made ready to be searched; values that are not finite become 0."""
    clean = finite(rows)
    different, places = np.unique(clean, axis=0, return_inverse=True)
    return Gallery(rows=clean, different=different, places=places.ravel())


def scores_of(queries: Rows, searched: Gallery) -> Rows:
    """(queries, gallery) dot products; equal rows of the gallery have equal scores to the last bit.

    A matrix product may sum the same numbers in another order at another place, which would order what is equal.
    """
    scores: Rows = (queries @ searched.different.T)[:, searched.places]
    return scores


def others(full: Rows) -> Rows:
    """(n, n-1) scores of each row with all others, in order: no sample is found by itself."""
    n = len(full)
    rest: Rows = full[~np.eye(n, dtype=bool)].reshape(n, n - 1)
    return rest


def finite(rows: Rows) -> Rows:
    """In float64, with 0 for what is not a finite number."""
    return np.nan_to_num(rows.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
