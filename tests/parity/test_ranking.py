"""Retrieval agreement, ties included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter.errors import ParityError
from converter.parity.ranking import compare_rankings
from tests.parity.test_metrics import unit_rows


def test_equal_embeddings_rank_equally() -> None:
    """All agreement figures are 1, and no score differs."""
    rows = unit_rows()

    found = compare_rankings(rows, rows.copy())

    assert (found.top1, found.top_k, found.top_k_strict, found.kendall_tau) == (1.0, 1.0, 1.0, pytest.approx(1.0))
    assert found.score_diff_max == 0.0
    assert found.queries == len(rows)


def test_unrelated_embeddings_agree_by_chance_only() -> None:
    """Five of 63 neighbours by chance is 8 %, tau is near 0."""
    found = compare_rankings(unit_rows(64, seed=1), unit_rows(64, seed=2))

    assert found.top_k < 0.25
    assert abs(found.kendall_tau) < 0.1


def test_a_swap_within_the_tie_margin_is_forgiven_and_a_larger_one_is_not() -> None:
    """Two gallery items closer than the margin have no order to get wrong."""
    rows = unit_rows(16, d=8)
    noisy = rows + 1e-3 * unit_rows(16, d=8, seed=3)
    strict = compare_rankings(rows, noisy, tie_margin=0.0)

    forgiving = compare_rankings(rows, noisy, tie_margin=2 * strict.score_diff_max)

    assert forgiving.top_k == 1.0
    assert forgiving.top_k_strict == strict.top_k_strict
    assert compare_rankings(rows, unit_rows(16, d=8, seed=9), tie_margin=1e-3).top_k < 1.0


def test_exact_duplicates_are_ties() -> None:
    """Twins in the gallery may come in either order."""
    rows = np.repeat(unit_rows(8), 2, axis=0)
    noisy = rows + 1e-9 * unit_rows(16, seed=5)

    assert compare_rankings(rows, noisy, tie_margin=1e-6).top_k == 1.0


def test_too_few_samples_are_refused() -> None:
    """Five results cannot be picked from five samples."""
    with pytest.raises(ParityError, match="at least 7 samples"):
        compare_rankings(unit_rows(6), unit_rows(6))


@given(st.integers(0, 1000))
def test_the_order_of_samples_does_not_matter(seed: int) -> None:
    """Renumbering the gallery changes no figure."""
    rows, other = unit_rows(20, seed=seed), unit_rows(20, seed=seed) + 0.1 * unit_rows(20, seed=seed + 1)
    order = np.random.default_rng(seed).permutation(20)

    one, two = compare_rankings(rows, other), compare_rankings(rows[order], other[order])

    assert two.top_k == pytest.approx(one.top_k)
    assert two.kendall_tau == pytest.approx(one.kendall_tau)
