"""Ranges by each rule: equal to what trying everything finds, on arrays small enough to try everything."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from converter.quantization.estimators import LEVELS, RangeEstimator, divergence, error_range
from converter.quantization.histograms import Histogram
from converter.records import Recipe

Array = np.ndarray[Any, Any]


def recipe(ranges: str, percentile: float = 99.0, activation_bits: int = 8) -> Recipe:
    """A recipe with that rule."""
    return Recipe(
        name=ranges, summary="", precision="int8", weight_bits=8, activation_bits=activation_bits,
        ranges=ranges, percentile=percentile,  # type: ignore[arg-type]
    )  # fmt: skip


def range_of(chunks: list[Array], wanted: Recipe | None) -> tuple[float, float]:
    """The range of one tensor that gave these arrays."""
    estimator = RangeEstimator(wanted)
    for chunk in chunks:
        estimator.update("tensor", chunk)
    return estimator.ranges()["tensor"]


def outliers() -> Array:
    """Most near 0, some far out on either side, one farther still."""
    values = np.random.default_rng(0).standard_t(3, 8192).astype(np.float32)
    values[0] = 40.0
    return values


def counted(values: Array) -> Histogram:
    """All of the values."""
    seen = Histogram()
    seen.widen(float(values.min()), float(values.max()))
    seen.add(values)
    return seen


def squared_error(values: Array, low: float, high: float, levels: int) -> float:
    """What a grid over that range loses, value by value."""
    step = (high - low) / (levels - 1)
    zero = np.rint(low / step)
    return float(((np.clip(np.rint(values / step), zero, zero + levels - 1) * step - values) ** 2).mean())


def test_the_extremes_are_exact() -> None:
    """Not an edge of a bin, whatever the order."""
    values = outliers()

    for wanted in (None, recipe("min_max")):
        assert range_of(list(values.reshape(8, -1)), wanted) == (values.min(), values.max())


@pytest.mark.parametrize("percentile", [90.0, 99.0, 99.9])
def test_percentiles_cut_as_much_off_each_end(percentile: float) -> None:
    """Equal to numpy's quantiles but for what bins and the gaps between values blur."""
    values = np.random.default_rng(0).normal(0.0, 1.0, 8192).astype(np.float32)
    low, high = range_of([values[:4096], values[4096:]], recipe("percentile", percentile))

    share = (100 - percentile) / 200
    expected = np.quantile(values, [share, 1 - share])
    assert np.allclose([low, high], expected, atol=0.02)


@pytest.mark.parametrize("levels", [16, 64, 256])
def test_the_least_squared_error_is_found(levels: int) -> None:
    """No worse than 2 percent above the best of 3600 ranges tried on the values themselves; few levels cut off much."""
    values = outliers()
    found = squared_error(values, *error_range(counted(values), levels), levels)

    shares = np.linspace(0.02, 1.0, 60)
    ends = [(values.min() * low, values.max() * high) for low in shares for high in shares]
    assert found <= 1.02 * min(squared_error(values, low, high, levels) for low, high in ends)
    if levels == 16:
        assert found < squared_error(values, float(values.min()), float(values.max()), levels) / 2


def test_the_least_divergence_is_found() -> None:
    """No worse than the best of 900 ranges of the same bins."""
    values = outliers()
    seen = counted(values)
    counts, edges = seen.counts.astype(np.float64), seen.edges()

    def loss(low: float, high: float) -> float:
        first, last = np.clip(np.searchsorted(edges, [low, high], side="right") - 1, 0, len(counts) - 1)
        return divergence(counts, int(first), int(last) + 1, LEVELS) if last - first >= LEVELS else np.inf

    found = loss(*range_of([values], recipe("entropy")))
    shares = np.linspace(0.02, 1.0, 30)
    best = min(loss(float(values.min()) * low, float(values.max()) * high) for low in shares for high in shares)

    assert found <= 1.05 * best
    assert found < loss(float(values.min()), float(values.max()))


def test_divergence_is_none_where_levels_hold_every_bin() -> None:
    """And grows with what is cut off."""
    counts = np.full(256, 4.0)
    counts[-1] = 40.0

    assert divergence(counts, 0, 256, 256) == pytest.approx(0.0, abs=1e-12)
    assert divergence(counts, 0, 200, 256) > divergence(counts, 0, 250, 256) > 0


@pytest.mark.parametrize("rule", ["percentile", "mse", "entropy"])
def test_ranges_hold_zero_and_stay_within_the_extremes(rule: str) -> None:
    """Values of one sign get a range from 0 on; constants get themselves."""
    positive = np.abs(outliers()) + 5

    low, high = range_of([positive], recipe(rule))
    assert low == 0.0
    assert 5 < high <= positive.max()
    low, high = range_of([-positive], recipe(rule))
    assert high == 0.0
    assert -positive.max() <= low < -5
    assert range_of([np.full(9, 2.5, np.float32)], recipe(rule)) == (2.5, 2.5)
    assert range_of([np.zeros(9, np.float32)], recipe(rule)) == (0.0, 0.0)


def test_sixteen_bits_take_the_extremes() -> None:
    """Their steps are finer than bins."""
    values = outliers()

    assert range_of([values], recipe("mse", activation_bits=16)) == (values.min(), values.max())


def test_values_that_are_not_finite_stay_visible() -> None:
    """A NaN in any sample, or an infinity, is in the range, whatever comes after."""
    values = outliers()
    for rule in ("min_max", "mse"):
        for wild in (np.nan, np.inf):
            broken = values.copy()
            broken[5] = wild

            assert not np.isfinite(range_of([values, broken, values], recipe(rule))).all()


def test_large_tensors_are_counted_in_all_their_channels() -> None:
    """A channel that alone reaches far is counted, though only some values of a tensor are."""
    values = np.zeros((64, 64, 64), np.float32)
    values[..., 13] = np.random.default_rng(0).random((64, 64)) + 9
    estimator = RangeEstimator(recipe("percentile", 98.0))
    estimator.update("tensor", values)

    assert estimator.ranges()["tensor"][1] > 9
