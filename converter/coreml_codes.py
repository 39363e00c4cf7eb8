"""Numbers in few bits, as Core ML decodes them: whole numbers with a scale, or places in a table.

Rules:

1. A weight becomes the nearest whole number of its channel's scale, in float64, ties to even; zero stays zero.
2. A scale has the type of the weights, and it is this rounded scale that the weights are divided by. It is rounded up
   where the nearest one could not reach the channel's largest weight.
3. A table holds the values of least squared error: k-means in one dimension. It starts from runs of values that were
   cut in two, always the one of the largest error, and settles after Lloyd. coremltools asks scikit-learn for this;
   nothing here is random, and equal values are counted once.
4. An activation's range contains 0, which its whole numbers say exactly; both ends are reached.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

type Array = npt.NDArray[Any]
type Floats = npt.NDArray[np.float64]

ROUNDS = 100
"""At most; a table has settled long before."""


@dataclass(frozen=True, kw_only=True)
class Scaled:
    """Whole numbers, and the scale of each channel along `axis` (one number where a tensor has one)."""

    numbers: Array
    scale: Array
    axis: int


@dataclass(frozen=True, kw_only=True)
class Tabled:
    """Places in a table, of the weight's shape, and the table's entries, ascending."""

    places: Array
    table: Array


@dataclass(frozen=True, kw_only=True)
class Grid:
    """How an activation becomes int8: `clip(round(x / scale) + zero_point)`."""

    scale: Any
    zero_point: np.int8


def scaled(weight: Array, axis: int | None, bits: int = 8) -> Scaled:
    """Rules 1 and 2; one scale for all where `axis` is None."""
    most = 2 ** (bits - 1) - 1
    others = tuple(one for one in range(weight.ndim) if axis is None or one != axis % weight.ndim)
    largest = np.abs(weight.astype(np.float64)).max(axis=others, keepdims=True)
    scale = _at_least(np.where(largest > 0, largest / most, 1.0), weight.dtype)
    numbers = np.clip(np.rint(weight.astype(np.float64) / scale), -most, most).astype(np.int8)
    return Scaled(numbers=numbers, scale=scale.reshape(-1) if axis is not None else scale.reshape(()), axis=axis or 0)


def tabled(weight: Array, bits: int) -> Tabled:
    """Rule 3."""
    values, counts = np.unique(weight.reshape(-1), return_counts=True)
    entries = np.sort(_settled(values.astype(np.float64), counts.astype(np.float64), 2**bits).astype(weight.dtype))
    return Tabled(places=nearest_places(weight, entries), table=entries)


def packed(places: Array, bits: int) -> npt.NDArray[np.uint8]:
    """Places of so many bits each, one after the other, the lowest bit first."""
    every = np.unpackbits(places.reshape(-1, 1), axis=1, bitorder="little")[:, :bits]
    return np.packbits(every.reshape(-1), bitorder="little")


def unpacked(data: npt.NDArray[np.uint8], bits: int, shape: tuple[int, ...]) -> Array:
    """The places that were packed.

    Raises:
        ValueError: the bytes do not hold as many.
    """
    count = int(np.prod(shape))
    every = np.unpackbits(data, bitorder="little")[: count * bits].reshape(count, bits)
    return np.asarray((every << np.arange(bits, dtype=np.uint8)).sum(axis=1, dtype=np.uint8)).reshape(shape)


def nearest_places(weight: Array, table: Array) -> Array:
    """For each value the place of the nearest entry of an ascending table; the lower one where two are as near."""
    entries = table.astype(np.float64)
    return np.asarray(np.searchsorted((entries[1:] + entries[:-1]) / 2, weight.astype(np.float64)), np.uint8)


def grid(low: float, high: float, dtype: npt.DTypeLike) -> Grid:
    """Rule 4: the int8 grid of a range, its scale of type `dtype`."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = _at_least(np.asarray((high - low) / 255 if high > low else 1.0), np.dtype(dtype))[()]
    return Grid(scale=scale, zero_point=np.int8(np.clip(np.rint(-128 - low / float(scale)), -128, 127)))


def _at_least(values: Array, dtype: np.dtype[Any]) -> Array:
    """Rule 2: rounded to the type, up where that fell below; never zero."""
    rounded = values.astype(dtype)
    below = rounded.astype(np.float64) < values
    return np.where(below, np.nextafter(rounded, dtype.type(np.inf)), rounded).astype(dtype)


def _settled(values: Floats, counts: Floats, size: int) -> Floats:
    """Rule 3: table entries for ascending values that occur so many times."""
    if len(values) <= size:
        return np.concatenate([values, np.full(size - len(values), values[-1])])
    moments = _Moments(values, counts)
    entries = moments.means(_first_ends(moments, size))
    for _ in range(ROUNDS):
        ends = np.searchsorted(values, (entries[1:] + entries[:-1]) / 2, side="right")
        moved = moments.means(np.concatenate([[0], ends, [len(values)]]), entries)
        if np.array_equal(moved, entries):
            break
        entries = moved
    return entries


class _Moments:
    """Sums over any run of the values, from sums up to each of them."""

    def __init__(self, values: Floats, counts: Floats) -> None:
        self._sums = [np.concatenate([[0.0], np.cumsum(counts * values**power)]) for power in (0, 1, 2)]
        self.size = len(values)

    def means(self, ends: npt.NDArray[np.int64], before: Floats | None = None) -> Floats:
        """Of the runs between neighbouring ends; what an empty one had `before`."""
        members, totals = (np.diff(one[ends]) for one in self._sums[:2])
        means = totals / np.maximum(members, 1.0)
        return np.asarray(means if before is None else np.where(members > 0, means, before))

    def errors(self, first: Any, last: Any) -> Floats:
        """Squared distances of runs from their means."""
        members, totals, squares = (one[last] - one[first] for one in self._sums)
        return np.asarray(squares - totals**2 / np.maximum(members, 1.0))


def _first_ends(moments: _Moments, size: int) -> npt.NDArray[np.int64]:
    """Rule 3: the run of the largest error is cut in two where that helps most, until there are `size` runs."""
    runs = [(-float(moments.errors(0, moments.size)), 0, moments.size)]
    while len(runs) < size:
        _, first, last = heapq.heappop(runs)
        cuts = np.arange(first + 1, last)
        cut = int(cuts[np.argmin(moments.errors(first, cuts) + moments.errors(cuts, last))])
        for a, b in ((first, cut), (cut, last)):
            heapq.heappush(runs, (-float(moments.errors(a, b)) if b - a > 1 else 0.0, a, b))
    return np.asarray(sorted([first for _, first, _ in runs] + [moments.size]))
