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


def test_a_candidate_that_scores_all_alike_gets_what_guessing_gets() -> None:
    """Views of a photograph lie side by side: whoever returns the first in the list must not be credited for that."""
    rows = np.repeat(unit_rows(8), 8, axis=0) + 1e-3 * unit_rows(64, seed=1)
    constant = np.repeat(rows.mean(axis=0, keepdims=True), 64, axis=0)

    found = compare_rankings(rows, constant)

    assert found.top1 == pytest.approx(1 / 63)
    assert found.top_k == pytest.approx(5 / 63)
    assert found.top_k_strict == pytest.approx(5 / 63)
    assert found.kendall_tau == 0.0


def test_rows_that_are_not_finite_get_what_guessing_gets() -> None:
    """They count as zeros, whose scores are all alike."""
    rows = unit_rows(64)

    assert compare_rankings(rows, np.full_like(rows, np.nan)).top1 == pytest.approx(1 / 63)


def test_a_candidate_that_scores_in_steps_is_credited_for_what_it_tells_apart() -> None:
    """Five neighbours above the rest, in no order among themselves: all five are right, the best one by chance."""
    rows = np.repeat(np.eye(4), 6, axis=0) + 1e-3 * unit_rows(24, d=4)
    stepped = np.repeat(np.eye(4), 6, axis=0)

    found = compare_rankings(rows, stepped)

    assert found.top_k == found.top_k_strict == 1.0
    assert found.top1 == pytest.approx(1 / 5)


@given(st.integers(0, 1000))
def test_exact_ties_have_no_order_on_either_side(seed: int) -> None:
    """Twins in the gallery, everywhere in the list: a renumbering changes no figure, and the equal file is equal."""
    rows, other = (np.repeat(unit_rows(8, d=6, seed=one), 3, axis=0) for one in (seed, seed + 1))
    order = np.random.default_rng(seed).permutation(24)

    one, two = compare_rankings(rows, other), compare_rankings(rows[order], other[order])
    same = compare_rankings(rows[order], rows[order])

    assert (two.top1, two.top_k, two.top_k_strict) == pytest.approx((one.top1, one.top_k, one.top_k_strict))
    assert two.kendall_tau == pytest.approx(one.kendall_tau)
    assert (same.top1, same.top_k, same.top_k_strict) == (1.0, 1.0, 1.0)
    assert same.kendall_tau == pytest.approx(1.0)


def test_equal_rows_have_equal_scores_to_the_last_bit() -> None:
    """A matrix product sums in another order at its edges; twins would be told apart by rounding."""
    rows = np.tile(unit_rows(97, d=123).astype(np.float32), (3, 1))

    found = compare_rankings(rows, rows + np.float32(0.0), k=2)

    assert (found.top1, found.top_k_strict) == (1.0, 1.0)
    assert found.kendall_tau == pytest.approx(1.0)


def test_a_constant_reference_is_agreed_with_by_anything_but_in_its_order() -> None:
    """No item is better than another, so none is wrong; that nothing was shown is the spread's to say."""
    rows = np.repeat(unit_rows(1), 16, axis=0)

    found = compare_rankings(rows, unit_rows(16))

    assert (found.top1, found.top_k) == (1.0, 1.0)
    assert found.kendall_tau == 0.0


def test_views_of_a_photograph_are_one_group() -> None:
    """Figures are the same with names and without; what they prove is not."""
    rows = unit_rows(64)
    names = [f"{photograph}#{view}" for photograph in range(8) for view in range(8)]

    plain, grouped = compare_rankings(rows, rows), compare_rankings(rows, rows, names=names)

    assert (plain.groups, grouped.groups) == (64, 8)
    assert plain.top_k == grouped.top_k == 1.0
    assert plain.top_k_interval == (pytest.approx(0.025 ** (1 / 64)), 1.0)
    assert grouped.top_k_interval == (pytest.approx(0.025 ** (1 / 8)), 1.0)


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
