"""Intervals cover what they claim, know which samples belong together, and never come from nothing."""

from __future__ import annotations

import time

import numpy as np
import pytest

from converter.parity.intervals import groups_of, intervals, share_interval


def test_nineteen_of_twenty_intervals_hold_the_truth() -> None:
    """Two hundred samples of 200 queries whose true share is 0.8: between 90 and 99 % of the intervals hold it."""
    drawn = np.random.default_rng(0).random((200, 200)) < 0.8

    found = intervals(drawn.astype(np.float64), np.arange(200))

    assert 0.90 < np.mean([low <= 0.8 <= high for low, high in found]) < 0.99


def test_samples_that_fail_together_prove_less() -> None:
    """The same share of failures: scattered over 64 queries, or all views of two of eight photographs."""
    groups = np.repeat(np.arange(8), 8)
    together = np.where(groups < 2, 0.0, 1.0)
    scattered = np.roll(np.where(np.arange(64) % 4 == 0, 0.0, 1.0), 1)

    ((low, high),) = intervals(together[None], groups)
    ((scattered_low, scattered_high),) = intervals(scattered[None], np.arange(64))

    assert together.mean() == scattered.mean() == 0.75
    assert high - low > 2 * (scattered_high - scattered_low)


def test_a_larger_group_weighs_more() -> None:
    """The figure is a mean over queries, in a draw of photographs too."""
    groups = np.array([0] * 9 + [1])
    figures = np.array([[1.0] * 9 + [0.0]])

    assert intervals(figures, groups) == [(0.0, 1.0)]
    assert groups_of([f"a#{index}" for index in range(9)] + ["b#0"], 10).tolist() == groups.tolist()


def test_the_same_figures_have_the_same_interval() -> None:
    """Draws are seeded: a verdict is repeatable."""
    figures = np.random.default_rng(0).random((2, 50))

    assert intervals(figures, np.arange(50)) == intervals(figures, np.arange(50))


def test_an_interval_holds_its_figure() -> None:
    """Of any figure, shares or not."""
    figures = np.random.default_rng(0).normal(size=(3, 64))

    for row, (low, high) in zip(figures, intervals(figures, np.arange(64)), strict=True):
        assert low < row.mean() < high


@pytest.mark.parametrize(("count", "low"), [(8, 0.6306), (64, 0.9440), (291, 0.9874)])
def test_without_a_failure_the_binomial_says_what_is_left_possible(count: int, low: float) -> None:
    """The end of Clopper and Pearson's interval for n of n; for none of n, the mirror image."""
    whole, none = np.ones(count), np.zeros(count)

    assert share_interval((1.0, 1.0), whole, count) == (pytest.approx(low, abs=1e-4), 1.0)
    assert share_interval((0.0, 0.0), none, count) == (0.0, pytest.approx(1 - low, abs=1e-4))
    assert share_interval((0.9, 1.0), np.array([1.0, 0.5]), 2) == (0.9, 1.0)


@pytest.mark.parametrize(
    "names",
    [(), ["a#0", "a#1"], ["a#0", "a#1", "b"], ["a #1 cat", "b", "c"], ["#1", "#2", "#3"], ["a#0#1", "a#0#2", "b#0#1"]],
)
def test_only_names_of_views_are_grouped(names: list[str]) -> None:
    """Captions, files of one's own, too few names, hashtags: each sample stands for itself."""
    assert groups_of(names, 3).tolist() == [0, 1, 2]


def test_intervals_cost_next_to_nothing() -> None:
    """Under 50 ms of this thread's own time for the largest built-in set, in the best of five runs."""
    figures, seconds = np.random.default_rng(0).random((3, 291)), []
    for _ in range(5):
        begun = time.thread_time()
        intervals(figures, np.arange(291))
        seconds.append(time.thread_time() - begun)

    assert min(seconds) < 0.05
