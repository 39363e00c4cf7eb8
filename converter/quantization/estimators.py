"""From what an activation was seen to be to the range that its integers cover; knows no format and no runtime.

    before: arrays by tensor name, sample after sample
    after:  (low, high) by tensor name

Rules:

1. `min_max` keeps the extremes of all samples: nothing is cut off, and one wild value widens every step.
2. `percentile` cuts (100 - percentile) / 2 percent off each end.
3. `entropy` takes the range in which the quantized distribution loses least of what the values tell, by
   Kullback-Leibler divergence (Migacz, 8-bit Inference with TensorRT, GTC 2017). Asymmetric: both ends are searched.
4. `mse` takes the range of the least mean squared error, rounding and cutting off together.
5. A range that rules 2 to 4 narrow contains 0, which integers must be able to say exactly. None exceeds the extremes.
6. With more than 8 bits a step is finer than a bin: there is nothing to gain from cutting, the extremes are taken.
7. Extremes are exact. Distributions are counted on at most `COUNTED` values of a tensor and sample, evenly spread over
   its places: for the S1 image tower, 50 million values a photograph, counting all would take minutes and change
   no range by a step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from converter.quantization.histograms import Histogram, Values
from converter.records import Recipe

type Range = tuple[float, float]

COUNTED = 2**15
LEVELS = 256
CANDIDATES = 48
ROUNDS = 2
"""How often each end is searched in turn with the other held."""
NARROWEST = 0.02
"""Of the extremes: the narrowest range that is tried."""


class RangeEstimator:
    """Watches tensors and derives their ranges by a recipe's rule. Rule 6 for its `activation_bits`."""

    def __init__(self, recipe: Recipe | None = None) -> None:
        bits = (recipe.activation_bits if recipe else None) or 8
        self.method = recipe.ranges if recipe and bits <= 8 else "min_max"
        self._percentile = recipe.percentile if recipe else 100.0
        self._seen: dict[str, Histogram] = {}
        self._updates: dict[str, int] = {}

    def update(self, name: str, values: npt.NDArray[Any]) -> None:
        """One sample's values of one tensor, of any shape. Not finite ones leave the range infinite or NaN."""
        if not values.size:
            return
        low, high = float(values.min()), float(values.max())
        seen = self._seen.setdefault(name, Histogram())
        count = self._updates[name] = self._updates.get(name, -1) + 1
        seen.widen(low, high)
        if self.method != "min_max" and math.isfinite(seen.high - seen.low):
            seen.add(_spread(values, count))

    def extremes(self) -> dict[str, Range]:
        """The smallest and the largest value of each tensor, whatever the rule."""
        return {name: (seen.low, seen.high) for name, seen in self._seen.items()}

    def tails(self, percentile: float) -> dict[str, Range]:
        """How far each tensor reaches by now, quickly told: its extremes where these are the rule, else percentiles."""
        return {name: self._tails(seen, percentile) for name, seen in self._seen.items()}

    def ranges(self) -> dict[str, Range]:
        """The range of each tensor so far."""
        return {name: self._range(seen) for name, seen in self._seen.items()}

    def _tails(self, seen: Histogram, percentile: float) -> Range:
        return (seen.low, seen.high) if self._takes_extremes(seen) else percentile_range(seen, percentile)

    def _takes_extremes(self, seen: Histogram) -> bool:
        return self.method == "min_max" or not math.isfinite(seen.high - seen.low) or seen.low == seen.high

    def _range(self, seen: Histogram) -> Range:
        if self._takes_extremes(seen):
            return seen.low, seen.high
        if self.method == "percentile":
            return percentile_range(seen, self._percentile)
        return entropy_range(seen) if self.method == "entropy" else error_range(seen)


def percentile_range(seen: Histogram, percentile: float) -> Range:
    """Rule 2; inside a bin values are taken to lie evenly."""
    share = (100.0 - percentile) / 200.0
    passed = np.concatenate([[0], np.cumsum(seen.counts)]) / seen.counts.sum()
    edges = np.clip(seen.edges(), seen.low, seen.high)
    low, high = np.interp([share, 1.0 - share], passed, edges)
    return _with_zero(float(low), float(high), seen)


def error_range(seen: Histogram, levels: int = LEVELS) -> Range:
    """Rule 4."""
    used = seen.counts > 0
    values, weights = seen.centres()[used], seen.counts[used] / seen.counts.sum()
    return _search(seen, lambda ranges: squared_errors(values, weights, ranges, levels))


def entropy_range(seen: Histogram, levels: int = LEVELS) -> Range:
    """Rule 3."""
    counts, edges = seen.counts.astype(np.float64), seen.edges()

    def loss(first: int, last: int) -> float:
        """Fewer bins than levels can be told without loss, but not what was cut off for them."""
        return divergence(counts, first, last, levels) if last - first >= min(levels, len(counts)) else math.inf

    def losses(ranges: Values) -> Values:
        ends = np.clip(np.searchsorted(edges, ranges, side="right") - 1, 0, len(counts) - 1)
        return np.asarray([loss(int(first), int(last) + 1) for first, last in ends])

    return _search(seen, losses)


def squared_errors(values: Values, weights: Values, ranges: Values, levels: int) -> Values:
    """The mean squared error of `values` on the grid of each range, `(n, 2)` with 0 between its ends."""
    low, high = ranges[:, :1], ranges[:, 1:]
    step = (high - low) / (levels - 1)
    zero = np.rint(low / step)
    nearest = np.clip(np.rint(values / step), zero, zero + (levels - 1)) * step
    return np.asarray((nearest - values) ** 2 @ weights)


def divergence(counts: Values, first: int, last: int, levels: int) -> float:
    """Of the bins from `first` up to `last`, what lies outside counted to the outer ones, from the same in `levels`."""
    inside = counts[first:last]
    seen = inside.copy()
    seen[0] += counts[:first].sum()
    seen[-1] += counts[last:].sum()
    level = np.arange(len(inside)) * min(levels, len(inside)) // len(inside)
    used = (seen > 0).astype(np.float64)
    members = np.bincount(level, used)
    means = np.divide(np.bincount(level, inside), members, out=np.zeros_like(members), where=members > 0)
    return _kullback_leibler(seen, means[level] * used)


def _kullback_leibler(seen: Values, told: Values) -> float:
    """Infinite where a value that was seen has become impossible."""
    where = seen > 0
    if not (told[where] > 0).all():
        return math.inf
    p, q = seen[where] / seen.sum(), told[where] / told.sum()
    return float((p * np.log(p / q)).sum())


def _search(seen: Histogram, losses: Callable[[Values], Values]) -> Range:
    """The ends of the least loss: both shrunk together, then each in turn with the other held."""
    low, high = min(seen.low, 0.0), max(seen.high, 0.0)
    shares = np.linspace(NARROWEST, 1.0, CANDIDATES)
    low, high = _best(_pairs(shares * low, shares * high), losses)
    for _ in range(ROUNDS):
        low, high = _best(_pairs(low, shares * max(seen.high, 0.0), (low, high)), losses)
        low, high = _best(_pairs(shares * min(seen.low, 0.0), high, (low, high)), losses)
    return low, high


def _pairs(low: Any, high: Any, also: Range | None = None) -> Values:
    lows, highs = np.broadcast_arrays(low, high)
    pairs = np.stack([lows, highs], axis=1)
    pairs = pairs[pairs[:, 1] > pairs[:, 0]]
    return np.asarray(pairs if also is None else np.concatenate([pairs, [also]]))


def _best(ranges: Values, losses: Callable[[Values], Values]) -> Range:
    """Of equal losses the widest range."""
    found = losses(ranges)
    best = np.flatnonzero(found == found.min())
    low, high = max(ranges[best].tolist(), key=lambda ends: ends[1] - ends[0])
    return float(low), float(high)


def _with_zero(low: float, high: float, seen: Histogram) -> Range:
    """Rule 5."""
    return min(max(low, seen.low), 0.0), max(min(high, seen.high), 0.0)


def _spread(values: npt.NDArray[Any], update: int) -> npt.NDArray[Any]:
    """Rule 7: every n-th value, n without a divisor in common with the channels, from another start at each update."""
    flat = values.reshape(-1)
    step = max(1, flat.size // COUNTED)
    while step > 1 and math.gcd(step, values.shape[-1]) != 1:
        step += 1
    return flat[update % step :: step]
