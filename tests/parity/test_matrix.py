"""Agreement of pairs of sides, held against plain loops."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest

from converter.agreement import Side, TowerPair, ZeroShotSide
from converter.errors import ParityError
from converter.parity import tau
from converter.parity.matrix import centred_cosines, right_shares, tower_pairs, zero_shot_pairs
from converter.parity.tau import kendall_taus
from tests.parity.test_metrics import unit_rows

K = 5


def compared(*rows: np.ndarray, margin: float = 0.0) -> tuple[TowerPair, ...]:
    """All pairs of sides "0", "1" ... with these embeddings."""
    sides = [Side(name=str(i), target="t", folder="", executed_by="", tie_margin=margin) for i in range(len(rows))]
    return tower_pairs(sides, {str(i): one for i, one in enumerate(rows)}, list("abcdefghijklmnopqrstuvwxyz") * 9, K)


def noisy(rows: np.ndarray, size: float, seed: int = 5) -> np.ndarray:
    moved = rows + size * unit_rows(len(rows), rows.shape[1], seed=seed)
    return moved / np.linalg.norm(moved, axis=1, keepdims=True)


def loop_tau(one: list[float], other: list[float]) -> float:
    agreed = untied = other_untied = 0
    for i, j in combinations(range(len(one)), 2):
        a, b = (one[i] > one[j]) - (one[i] < one[j]), (other[i] > other[j]) - (other[i] < other[j])
        agreed, untied, other_untied = agreed + a * b, untied + a * a, other_untied + b * b
    return agreed / math.sqrt(untied * other_untied)


def loop_best(scores: dict[int, float]) -> list[int]:
    return sorted(scores, key=lambda item: (-scores[item], item))[:K]


def loop_scores(queries: np.ndarray, gallery: np.ndarray, query: int) -> dict[int, float]:
    return {item: float(queries[query] @ gallery[item]) for item in range(len(gallery)) if item != query}


def test_a_side_agrees_with_itself_in_everything() -> None:
    """All shares are 1, every query has the same five, and nothing differs."""
    rows = unit_rows(24, 8)

    (pair,) = compared(rows, rows.copy())

    ranking = pair.ranking
    assert (ranking.top1, ranking.top1_strict, ranking.top_k, ranking.top_k_strict) == (1.0, 1.0, 1.0, 1.0)
    assert (ranking.same, ranking.same_strict, ranking.queries, ranking.gallery) == (24, 24, 24, 23)
    assert (ranking.kendall_tau, ranking.score_diff_max) == (pytest.approx(1.0), 0.0)
    assert (pair.centred_cosine_min, pair.mixed_of_one, pair.mixed_of_other) == (1.0, 1.0, 1.0)


def test_figures_are_those_of_plain_loops() -> None:
    """Top-1, top-k, equal sets, tau, score differences and shared indexes, each counted the slow way."""
    one = unit_rows(20, 6)
    other = noisy(one, 0.4)
    shared, firsts, taus, largest, lent, lent_back = [], [], [], 0.0, [], []
    for query in range(20):
        ours, theirs = loop_scores(one, one, query), loop_scores(other, other, query)
        shared.append(len(set(loop_best(ours)) & set(loop_best(theirs))))
        firsts.append(loop_best(ours)[0] == loop_best(theirs)[0])
        taus.append(loop_tau(list(ours.values()), list(theirs.values())))
        largest = max(largest, *(abs(ours[item] - theirs[item]) for item in ours))
        lent.append(len(set(loop_best(ours)) & set(loop_best(loop_scores(other, one, query)))))
        lent_back.append(len(set(loop_best(theirs)) & set(loop_best(loop_scores(one, other, query)))))

    (pair,) = compared(one, other)

    ranking = pair.ranking
    assert 0.3 < ranking.top_k_strict < 0.95
    assert ranking.top_k_strict == pytest.approx(np.mean(shared) / K)
    assert ranking.top_k == pytest.approx(ranking.top_k_strict)
    assert ranking.top1_strict == pytest.approx(np.mean(firsts))
    assert (ranking.same, ranking.same_strict) == (shared.count(K), shared.count(K))
    assert ranking.kendall_tau == pytest.approx(np.mean(taus))
    assert ranking.score_diff_max == pytest.approx(largest)
    assert pair.mixed_of_one == pytest.approx(np.mean(lent) / K)
    assert pair.mixed_of_other == pytest.approx(np.mean(lent_back) / K)


def test_swapping_the_sides_changes_no_figure() -> None:
    """Only the two ways to share an index change places."""
    one = unit_rows(20, 6)
    other = noisy(one, 0.3)

    (pair,), (back,) = compared(one, other, margin=0.02), compared(other, one, margin=0.02)

    assert back.ranking == pair.ranking
    assert back.centred_cosine_min == pytest.approx(pair.centred_cosine_min)
    assert (back.mixed_of_one, back.mixed_of_other) == (pair.mixed_of_other, pair.mixed_of_one)


def test_a_swap_within_the_tie_margin_is_forgiven_and_a_larger_one_is_not() -> None:
    """The strict figures stay what they are."""
    one = unit_rows(24, 6)
    other = noisy(one, 0.05)
    (strict,) = compared(one, other)

    (forgiving,) = compared(one, other, margin=2 * strict.ranking.score_diff_max)

    assert strict.ranking.same_strict < 24
    assert (forgiving.ranking.top_k, forgiving.ranking.same) == (1.0, 24)
    assert forgiving.ranking.same_strict == strict.ranking.same_strict
    assert compared(one, unit_rows(24, 6, seed=9), margin=1e-3)[0].ranking.top_k < 0.5


def test_equal_samples_are_ties_on_both_sides() -> None:
    """Twins in the gallery have equal scores to the last bit, so no side orders them by its rounding."""
    rows = np.repeat(unit_rows(40, 64), 2, axis=0).astype(np.float32)

    (pair,) = compared(rows, rows[:, ::-1])

    assert pair.ranking.same_strict == 80


def test_a_file_that_returns_a_constant_agrees_with_nobody() -> None:
    """It takes every item for a tie, and yet no direction of the comparison is on its side."""
    rows = unit_rows(64, 8)
    dead = np.repeat(rows[:1], 64, axis=0)

    (pair,) = compared(rows, dead)

    assert pair.ranking.top_k < 0.25
    assert pair.ranking.kendall_tau == 0.0
    assert pair.centred_cosine_mean < 0.5


def test_values_that_are_not_finite_count_as_nothing_found() -> None:
    """A file of NaN is compared, and shares next to nothing."""
    rows = unit_rows(64, 8)

    (pair,) = compared(rows, np.full_like(rows, np.nan))

    assert pair.ranking.top_k < 0.25
    assert pair.mixed_of_one < 0.25
    assert pair.centred_cosine_mean < 0.25


def test_a_shift_common_to_all_rows_counts() -> None:
    """Each side's own mean would hide it; the mean of both does not."""
    rows = unit_rows(30, 8)

    shifted = centred_cosines(rows, rows + 0.5)

    assert centred_cosines(rows, rows.copy()).min() == 1.0
    assert shifted.mean() < 0.9


def test_the_worst_sample_is_named() -> None:
    """The one row that was turned round."""
    rows = unit_rows(12, 8)
    turned = rows.copy()
    turned[3] *= -1

    (pair,) = compared(rows, turned)

    assert pair.worst_sample == "d"
    assert pair.centred_cosine_min < 0


@pytest.mark.parametrize("other", [unit_rows(8, 4), unit_rows(9, 6)])
def test_other_shapes_are_refused(other: np.ndarray) -> None:
    """Rows must be of the same samples, and as long."""
    with pytest.raises(ParityError, match="1: equal shapes"):
        compared(unit_rows(8, 6), other)


def test_too_few_samples_are_refused() -> None:
    """Five results cannot be picked from five samples."""
    with pytest.raises(ParityError, match="at least 7 samples"):
        compared(unit_rows(6), unit_rows(6))


def test_tau_of_ties_and_constants() -> None:
    """tau-b: a tie of one side counts for neither; constants agree with each other alone."""
    scores = [np.array([[3.0, 2.0, 1.0, 1.0]]), np.array([[9.0, 9.0, 5.0, 1.0]]), np.zeros((1, 4)), np.ones((1, 4))]

    found = kendall_taus(scores)

    assert found[0, 1] == pytest.approx(loop_tau([3, 2, 1, 1], [9, 9, 5, 1]))
    assert (found[0, 2], found[2, 3], found[2, 2]) == (0.0, 1.0, 1.0)
    assert np.array_equal(found, found.T)


def test_chunks_change_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound on memory is not a bound on what is counted."""
    scores = [unit_rows(30, 13, seed=seed) for seed in range(3)]
    whole = kendall_taus(scores)

    monkeypatch.setattr(tau, "CHUNK_BYTES", 400)

    assert kendall_taus(scores) == pytest.approx(whole)


def test_tau_is_scipys() -> None:
    """Rounded scores have many ties."""
    stats = pytest.importorskip("scipy.stats", reason="scipy is no dependency; where it is there, it must agree")
    one, other = np.round(unit_rows(6, 40), 1), np.round(unit_rows(6, 40, seed=3) + unit_rows(6, 40), 1)

    found = kendall_taus([one, other])[0, 1]

    assert found == pytest.approx(np.mean([stats.kendalltau(a, b).statistic for a, b in zip(one, other, strict=True)]))


def test_images_against_captions_go_both_ways() -> None:
    """Captions are ranked for each image, images for each caption, and probabilities are softmaxes."""
    images, captions = unit_rows(10, 8), unit_rows(14, 8, seed=2)
    scores = {"a": images @ captions.T, "b": noisy(images, 0.3) @ captions.T}
    sides = [ZeroShotSide(name=name, target="t", tie_margin=0.0) for name in scores]

    (pair,) = zero_shot_pairs(sides, scores, K, 50.0)

    chances = [np.exp(50 * one) / np.exp(50 * one).sum(axis=1, keepdims=True) for one in scores.values()]
    best = [scores[name].argmax(axis=1) for name in scores]
    assert (pair.captions.queries, pair.captions.gallery) == (10, 14)
    assert (pair.images.queries, pair.images.gallery) == (14, 10)
    assert pair.captions.top1_strict == pytest.approx((best[0] == best[1]).mean())
    assert pair.captions.score_diff_max == pytest.approx(np.abs(scores["a"] - scores["b"]).max())
    assert pair.probability_diff_max == pytest.approx(np.abs(chances[0] - chances[1]).max())
    assert zero_shot_pairs(sides, scores, K, None)[0].probability_diff_max is None


def test_who_is_right_is_counted_where_it_is_known() -> None:
    """An image without a right caption is no miss; nothing known gives no figure."""
    scores = np.array([[0.9, 0.1, 0.3], [0.8, 0.2, 0.1], [0.1, 0.9, 0.2]])
    right = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0]], bool)

    assert right_shares(scores, right) == (0.5, 0.5)
    assert right_shares(scores, np.zeros_like(right)) == (None, None)
