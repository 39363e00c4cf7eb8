"""Agreement of every pair of sides: retrieval within one tower, and images against captions with both.

Nothing is run here: embeddings come in, records go out. Each side's scores are taken and ranked once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from converter.agreement import RankAgreement, Side, TowerPair, ZeroShotPair, ZeroShotSide
from converter.errors import ParityError
from converter.parity.scores import Gallery, gallery, others, scores_of
from converter.parity.tau import kendall_taus

Rows = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """(queries, gallery) scores with the k best items of each query, the first of equal ones first."""

    scores: Rows
    best: npt.NDArray[np.intp]
    best_scores: Rows


def tower_pairs(sides: Sequence[Side], rows: Mapping[str, Rows], names: Sequence[str], k: int) -> tuple[TowerPair, ...]:
    """Every pair of sides, given each side's (n, d) unit-length embeddings of the same samples, in order.

    Raises:
        ParityError: shapes differ, or there are too few samples for k results each.
    """
    galleries = {side.name: gallery(_checked(side.name, rows[side.name], rows[sides[0].name], k)) for side in sides}
    ranked = {name: rank(others(scores_of(one.rows, one)), k) for name, one in galleries.items()}
    taus = kendall_taus([ranked[side.name].scores for side in sides])
    return tuple(
        _tower_pair(one, other, galleries, ranked, names, taus[i, j])
        for (i, one), (j, other) in combinations(enumerate(sides), 2)
    )


def zero_shot_pairs(
    sides: Sequence[ZeroShotSide],
    scores: Mapping[str, Rows],
    k: int,
    logit_scale: float | None,
) -> tuple[ZeroShotPair, ...]:
    """Every pair of sides, given each side's (images, captions) cosines."""
    captions = {side.name: rank(scores[side.name], k) for side in sides}
    images = {side.name: rank(np.ascontiguousarray(scores[side.name].T), k) for side in sides}
    caption_taus = kendall_taus([captions[side.name].scores for side in sides])
    image_taus = kendall_taus([images[side.name].scores for side in sides])
    chances = {name: softmax(logit_scale * one) for name, one in scores.items()} if logit_scale is not None else {}
    return tuple(
        ZeroShotPair(
            one=one.name, other=other.name,
            captions=agree(captions[one.name], captions[other.name], _margin(one, other), caption_taus[i, j]),
            images=agree(images[one.name], images[other.name], _margin(one, other), image_taus[i, j]),
            probability_diff_max=float(np.abs(chances[one.name] - chances[other.name]).max()) if chances else None,
        )
        for (i, one), (j, other) in combinations(enumerate(sides), 2)
    )  # fmt: skip


def right_shares(scores: Rows, right: npt.NDArray[np.bool_]) -> tuple[float | None, float | None]:
    """(share of images whose best caption is right, share of captions whose best image is), of (images, captions).

    Only images and captions that have a right match count; None where there is none.
    """
    return _right_share(scores, right), _right_share(scores.T, right.T)


def rank(scores: Rows, k: int) -> Ranked:
    """The k best of each row. The first maximum is taken k times: cheaper than sorting, and stable as a sort is."""
    left, lines = scores.copy(), np.arange(len(scores))
    best = np.empty((len(scores), k), np.intp)
    for place in range(k):
        best[:, place] = left.argmax(axis=1)
        left[lines, best[:, place]] = -np.inf
    return Ranked(scores=scores, best=best, best_scores=np.take_along_axis(scores, best, axis=1))


def agree(one: Ranked, other: Ranked, tie_margin: float, kendall_tau: float) -> RankAgreement:
    """The figures of two rankings, the worse direction where they differ: who ties everything finds nothing wrong."""
    shared = (one.best[:, :, None] == other.best[:, None, :]).sum(axis=(1, 2))
    right = np.stack([found(one, other.best, tie_margin), found(other, one.best, tie_margin)])
    firsts = [first_found(one, other.best, tie_margin), first_found(other, one.best, tie_margin)]
    queries, k = one.best.shape
    return RankAgreement(
        queries=queries,
        gallery=one.scores.shape[1],
        k=k,
        tie_margin=tie_margin,
        top1=float(min(first.mean() for first in firsts)),
        top1_strict=float((one.best[:, 0] == other.best[:, 0]).mean()),
        top_k=float(right.mean(axis=(1, 2)).min()),
        top_k_strict=float(shared.mean() / k),
        same=int(right.all(axis=(0, 2)).sum()),
        same_strict=int((shared == k).sum()),
        kendall_tau=float(kendall_tau),
        score_diff_max=float(np.abs(one.scores - other.scores).max()),
    )


def found(judge: Ranked, picked: npt.NDArray[np.intp], tie_margin: float) -> npt.NDArray[np.bool_]:
    """(queries, k): which of the items that another side picked are among the judge's k best, ties forgiven."""
    scores = np.take_along_axis(judge.scores, picked, axis=1)
    within: npt.NDArray[np.bool_] = scores >= judge.best_scores[:, -1:] - tie_margin
    return within


def first_found(judge: Ranked, picked: npt.NDArray[np.intp], tie_margin: float) -> npt.NDArray[np.bool_]:
    """(queries,): where the other side's best item is the judge's best, ties forgiven."""
    scores = np.take_along_axis(judge.scores, picked[:, :1], axis=1)
    within: npt.NDArray[np.bool_] = (scores >= judge.best_scores[:, :1] - tie_margin)[:, 0]
    return within


def centred_cosines(one: Rows, other: Rows) -> Rows:
    """Row by row, after subtracting the mean of all rows of both: no side is the measure of the other.

    A row of length 0 has cosine 1 with another such row and 0 with any other.
    """
    mean = (one.mean(axis=0) + other.mean(axis=0)) / 2
    a, b = one - mean, other - mean
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines = np.divide((a * b).sum(axis=1), lengths, out=np.zeros(len(a)), where=lengths > 0)
    bounded: Rows = np.where((a == b).all(axis=1), 1.0, np.clip(cosines, -1.0, 1.0))
    return bounded


def softmax(logits: Rows) -> Rows:
    """Along each row."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances: Rows = powers / powers.sum(axis=1, keepdims=True)
    return chances


def _tower_pair(
    one: Side,
    other: Side,
    galleries: Mapping[str, Gallery],
    ranked: Mapping[str, Ranked],
    names: Sequence[str],
    kendall_tau: float,
) -> TowerPair:
    a, b = galleries[one.name], galleries[other.name]
    margin, cosines = _margin(one, other), centred_cosines(a.rows, b.rows)
    return TowerPair(
        one=one.name,
        other=other.name,
        centred_cosine_min=float(cosines.min()),
        centred_cosine_mean=float(cosines.mean()),
        worst_sample=names[int(cosines.argmin())],
        ranking=agree(ranked[one.name], ranked[other.name], margin, kendall_tau),
        mixed_of_one=_mixed(ranked[one.name], scores_of(b.rows, a), margin),
        mixed_of_other=_mixed(ranked[other.name], scores_of(a.rows, b), margin),
    )


def _mixed(owner: Ranked, scores: Rows, tie_margin: float) -> float:
    """How much of its own k best the gallery's owner is given when another side asks."""
    asked = rank(others(scores), owner.best.shape[1])
    return float(found(owner, asked.best, tie_margin).mean())


def _checked(name: str, rows: Rows, first: Rows, k: int) -> Rows:
    if rows.shape != first.shape or rows.ndim != 2 or len(rows) < k + 2:
        message = f"{name}: equal shapes and at least {k + 2} samples are needed, got {rows.shape}, {first.shape}"
        raise ParityError(message)
    return rows


def _margin(one: Side | ZeroShotSide, other: Side | ZeroShotSide) -> float:
    """What the less exact of the two may take for a tie."""
    return max(one.tie_margin, other.tie_margin)


def _right_share(scores: Rows, right: npt.NDArray[np.bool_]) -> float | None:
    counted = right.any(axis=1)
    hits = np.take_along_axis(right, scores.argmax(axis=1)[:, None], axis=1)[counted]
    return float(hits.mean()) if counted.any() else None
