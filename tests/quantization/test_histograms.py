"""Histograms that grow: every value counted once, in its bin, whatever came before it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from converter.quantization.histograms import BINS, Histogram


def histogram(*chunks: np.ndarray[Any, Any]) -> Histogram:
    """Of the chunks in order."""
    seen = Histogram()
    for chunk in chunks:
        values = chunk.astype(np.float32)
        seen.widen(float(values.min()), float(values.max()))
        seen.add(values)
    return seen


@pytest.mark.parametrize("growth", [1.0, 3.0, 1e3, 1e6])
def test_growing_loses_no_value_and_moves_none(growth: float) -> None:
    """The counts are those that numpy finds between the same edges."""
    first = np.random.default_rng(0).normal(0, 1, 4000).astype(np.float32)
    second = np.random.default_rng(1).normal(0, growth, 4000).astype(np.float32)
    seen = histogram(first, second)

    expected, _ = np.histogram(np.concatenate([first, second]), seen.edges())
    assert np.array_equal(seen.counts, expected)
    assert BINS / 2 <= len(seen.counts) <= BINS


@pytest.mark.parametrize("values", [[0.0, 0.0], [7.0, 7.0], [1000.0, 1000.0001], [-1e-30, 1e-30], [-3e38, 3e38]])
def test_any_finite_values_have_bins(values: list[float]) -> None:
    """Zeros, a constant, neighbours far out, the smallest and the largest of float32."""
    seen = histogram(np.asarray(values))

    assert seen.counts.sum() == 2
    assert seen.edges()[0] <= seen.low <= seen.high <= seen.edges()[-1]
    assert ((seen.centres() >= seen.low) & (seen.centres() <= seen.high)).all()


def test_order_does_not_matter() -> None:
    """Narrow first or wide first: the same counts."""
    narrow, wide = (np.random.default_rng(seed).normal(0, scale, 999) for seed, scale in ((0, 0.1), (1, 50.0)))

    assert np.array_equal(histogram(narrow, wide).counts, histogram(wide, narrow).counts)
