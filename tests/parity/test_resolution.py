"""Cautions say what a passed bound does not prove, and are silent where it does."""

from __future__ import annotations

import dataclasses

import pytest

from converter.parity.resolution import cautions_of, needed_queries
from converter.records import RankingParity, Tolerance

RANKING = RankingParity(
    queries=64, k=5, top1=0.99, top_k=0.969, top_k_strict=0.969, kendall_tau=0.98, score_diff_max=0.01, tie_margin=0.0,
    groups=64, top1_interval=(0.96, 1.0), top_k_interval=(0.941, 0.991), kendall_tau_interval=(0.979, 0.981),
)  # fmt: skip


def bound(limit: float, metric: str = "top_k") -> list[Tolerance]:
    return [Tolerance(metric=metric, limit=limit, why="test")]


@pytest.mark.parametrize(("limit", "needed"), [(0.95, 60), (0.9, 30), (0.7, 10), (0.99, 300)])
def test_a_share_takes_three_times_its_inverse_failures(limit: float, needed: int) -> None:
    """The rule of three, in whole queries, decimals taken as they are written."""
    assert needed_queries(limit) == needed


def test_an_interval_across_the_bound_is_said() -> None:
    """The figure meets it, the next sample set may not."""
    assert cautions_of(RANKING, bound(0.95)) == (
        "top_k 0.969 meets 0.95, but other samples may give anything in [0.941, 0.991] and miss it",
    )
    assert cautions_of(RANKING, bound(0.98, "kendall_tau")) == (
        "kendall_tau 0.980 meets 0.98, but other samples may give anything in [0.979, 0.981] and miss it",
    )


def test_an_interval_above_the_bound_is_not() -> None:
    """Enough queries, and not one that could carry the figure below."""
    assert cautions_of(RANKING, bound(0.94)) == ()


def test_too_few_photographs_are_said_whatever_the_figure() -> None:
    """Eight photographs in 64 views cannot tell 1.0 from 0.95; sixty-four images of their own can."""
    perfect = dataclasses.replace(RANKING, top_k=1.0, groups=8, top_k_interval=(0.631, 1.0))
    enough = dataclasses.replace(perfect, groups=64, top_k_interval=(0.944, 1.0))

    assert cautions_of(perfect, bound(0.95)) == (
        "8 photographs are too few to tell a perfect file from one whose top_k is below 0.95; that takes 60",
    )
    assert cautions_of(enough, bound(0.95)) == ()
    assert cautions_of(dataclasses.replace(enough, queries=12, groups=12), bound(0.95))[0].startswith("12 queries")


def test_what_fails_or_speaks_of_the_set_itself_has_no_caution() -> None:
    """A missed bound is a failure; a bound of 1 asks for this set; a figure of an earlier version has no interval."""
    assert cautions_of(RANKING, bound(0.97)) == ()
    assert cautions_of(dataclasses.replace(RANKING, top_k=1.0), bound(1.0)) == ()
    assert cautions_of(dataclasses.replace(RANKING, top_k_interval=None), bound(0.95)) == ()
    assert cautions_of(RANKING, [Tolerance(metric="max_abs", limit=0.5, why="test")]) == ()
