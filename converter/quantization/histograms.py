"""How often a tensor took which value, kept while samples stream by: a histogram whose range grows and never moves.

Rules:

1. A bin is 2^exponent wide and one edge lies at 0. Where values leave the bins that there are, bins are added; where
   these would be more than `BINS`, neighbours are merged until they fit. Merging is exact: the same values give the
   same counts whatever their order and however they are cut into chunks, but for the width that a first chunk allows.
2. After the first merge at least half of `BINS` are in use, 8 bins or more for each level of an 8-bit grid.
3. The smallest and the largest value are kept exactly, beside the bins.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

BINS = 4096
FINEST = 2**-24
"""Of a tensor's largest magnitude: float32 has no finer steps there, so no bin is narrower."""
_SMALLEST_EXPONENT = -126

type Counts = npt.NDArray[np.int64]
type Values = npt.NDArray[np.float64]


class Histogram:
    """Counts of the values added so far. `low` and `high` are the exact extremes, infinite while there are none."""

    def __init__(self) -> None:
        self.low, self.high = math.inf, -math.inf
        self.counts: Counts = np.zeros(0, np.int64)
        self._exponent, self._first = _SMALLEST_EXPONENT, 0

    def widen(self, low: float, high: float) -> None:
        """Take extremes in; NaN and infinity stay, and nothing can be counted after them."""
        self.low, self.high = float(np.minimum(self.low, low)), float(np.maximum(self.high, high))

    def add(self, values: npt.NDArray[Any]) -> None:
        """Count `values`, finite ones within the extremes."""
        self._reach()
        bins = np.floor(values * np.float32(2.0**-self._exponent)).astype(np.int32) - np.int32(self._first)
        self.counts += np.bincount(bins.ravel(), minlength=len(self.counts))

    def edges(self) -> Values:
        """The bins' edges, one more than there are bins."""
        return np.asarray((self._first + np.arange(len(self.counts) + 1)) * 2.0**self._exponent, np.float64)

    def centres(self) -> Values:
        """The middle of each bin; of the outer ones, of what lies between edge and extreme."""
        edges = np.clip(self.edges(), self.low, self.high)
        return np.asarray((edges[:-1] + edges[1:]) / 2)

    def _reach(self) -> None:
        """Rule 1: bins from the smallest to the largest value."""
        exponent = max(self._exponent, _exponent(self.low, self.high))
        first, last = (math.floor(end * 2.0**-exponent) for end in (self.low, self.high))
        if last - first >= BINS:  # the ends do not fall on edges
            exponent, first, last = exponent + 1, first >> 1, last >> 1
        kept = (self._first + np.arange(len(self.counts))) >> (exponent - self._exponent)
        counts: Counts = np.zeros(last - first + 1, np.int64)
        np.add.at(counts, kept - first, self.counts)
        self.counts, self._exponent, self._first = counts, exponent, first


def _exponent(low: float, high: float) -> int:
    """The smallest one whose bins reach from `low` to `high` and are no finer than float32."""
    width = max((high - low) / BINS, max(abs(low), abs(high)) * FINEST)
    return max(math.ceil(math.log2(width)), _SMALLEST_EXPONENT) if width > 0 else _SMALLEST_EXPONENT
