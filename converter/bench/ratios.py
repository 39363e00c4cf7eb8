"""Medians and ratios with 95 % intervals, by the percentile bootstrap over rounds.

A round is the unit that is drawn: calls within one share whatever the machine did meanwhile. Two rows of one run are
paired by round, and what hits a round hits both sides of its ratio. The percentile interval (Efron & Tibshirani, An
Introduction to the Bootstrap, 1993, section 13.3) and not BCa, whose acceleration comes from a jackknife, and that of a
median is not consistent (ibid., section 10.6).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from converter.benchmarked import Ratio, Timing
from converter.records import Interval

METHOD = (
    "each file in a process of its own, in turns of random order; medians of rounds; 95 % intervals by the percentile "
    "bootstrap over rounds, ratios paired by round"
)
DRAWS = 4999
SEED = 0
TAIL = 2.5
"""Per cent outside of each end of a 95 % interval."""
type Figures = npt.NDArray[np.float64]


def timing(rounds: Sequence[Sequence[float]]) -> Timing:
    """Of every round's calls in milliseconds: median of the rounds' medians, 95th percentile of all calls."""
    medians = np.array([np.median(calls) for calls in rounds])
    everything = np.concatenate([np.asarray(calls, np.float64) for calls in rounds])
    return Timing(
        median=float(np.median(medians)), p95=float(np.percentile(everything, 95)),
        interval=interval(np.median(_drawn(medians), axis=1)), calls=len(everything),
    )  # fmt: skip


def ratio(one: Sequence[float], other: Sequence[float]) -> Ratio:
    """The median over rounds of one side's time over the other's in the same round."""
    quotients = np.asarray(one, np.float64) / np.asarray(other, np.float64)
    return Ratio(value=float(np.median(quotients)), interval=interval(np.median(_drawn(quotients), axis=1)))


def draw(rounds: int, generator: np.random.Generator) -> npt.NDArray[np.intp]:
    """(DRAWS, rounds): which rounds each draw is made of."""
    return generator.integers(0, rounds, (DRAWS, rounds))


def interval(draws: Figures) -> Interval:
    """The middle 95 % of what the draws gave."""
    low, high = np.percentile(draws, [TAIL, 100 - TAIL])
    return float(low), float(high)


def _drawn(figures: Figures) -> Figures:
    drawn: Figures = figures[draw(len(figures), np.random.default_rng(SEED))]
    return drawn
