"""Kendall's tau-b between two sides or all at once, counted in packed bits.

105 pairs of sides with 291 rankings of 290 items each hold over a thousand million pairs of items: a bit each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[Any]
Words = npt.NDArray[np.uint64]

CHUNK_BYTES = 2**25
"""How much the comparisons of one side may take at a time: a bound on memory, not on results."""


def kendall_taus(scores: Sequence[Rows]) -> Rows:
    """(sides, sides) Kendall's tau-b of (queries, gallery) scores, the mean over queries.

    A query whose scores are constant has tau 1 with another such query and 0 with any other.
    """
    sides, (queries, gallery) = len(scores), scores[0].shape
    total = np.zeros((sides, sides))
    step = max(1, CHUNK_BYTES // gallery**2)
    for start in range(0, queries, step):
        greater, less = zip(*(_packed(one[start : start + step]) for one in scores), strict=True)
        for i in range(sides):
            for j in range(i, sides):
                total[i, j] += _taus(greater[i], greater[j], less[j]).sum()
    mean: Rows = (total + np.triu(total, 1).T) / queries
    return mean


def query_taus(one: Rows, other: Rows) -> Rows:
    """(queries,) Kendall's tau-b of two sides' (queries, gallery) scores; constant ones as above."""
    step = max(1, CHUNK_BYTES // one.shape[1] ** 2)
    parts = []
    for start in range(0, len(one), step):
        (greater, _), (other_greater, other_less) = (_packed(side[start : start + step]) for side in (one, other))
        parts.append(_taus(greater, other_greater, other_less))
    return np.concatenate(parts)


def _packed(scores: Rows) -> tuple[Words, Words]:
    """A bit for each ordered pair of items: the first scores more; the first scores less. (queries, words) each."""
    return _words(scores[:, :, None] > scores[:, None, :]), _words(scores[:, :, None] < scores[:, None, :])


def _words(bits: npt.NDArray[np.bool_]) -> Words:
    flat = bits.reshape(len(bits), -1)
    packed = np.ascontiguousarray(np.packbits(np.pad(flat, ((0, 0), (0, -flat.shape[1] % 64))), axis=1))
    return packed.view(np.uint64)


def _taus(one: Words, other: Words, other_less: Words) -> Rows:
    """tau-b of each query: every pair of items that a side does not tie is one bit of its words."""
    concordant, discordant = _count(one & other), _count(one & other_less)
    untied, other_untied = _count(one), _count(other)
    norm = np.sqrt(untied * other_untied)
    constant = (untied == other_untied).astype(np.float64)  # where one ties all: 1 if both do, else 0
    taus: Rows = np.divide(concordant - discordant, norm, out=constant, where=norm > 0)
    return taus


def _count(words: Words) -> Rows:
    count: Rows = np.bitwise_count(words).sum(axis=1, dtype=np.float64)
    return count
