"""Retrieval over the sample set: each sample a query against all others, in the reference and in the candidate.

Ties are nobody's order. What the candidate scores exactly equal it could return in any order, so it is credited with
the mean over all of them: a file that scores everything alike gets what guessing gets. Items that the reference
scores exactly equal are equally right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from converter.errors import ParityError
from converter.parity.intervals import groups_of, intervals, share_interval
from converter.parity.scores import gallery, others, scores_of
from converter.parity.tau import query_taus
from converter.records import RankingParity

Rows = npt.NDArray[Any]


def compare_rankings(
    reference: Rows, candidate: Rows, k: int = 5, tie_margin: float = 0.0, names: Sequence[str] = ()
) -> RankingParity:
    """Compare the rankings that (n, d) unit-length embeddings give, scores being dot products.

    An item that the candidate returns counts as right when its reference score is at least the reference's k-th best
    (first, for top-1) less `tie_margin`. `names` tell which samples are views of one photograph.

    Raises:
        ParityError: the shapes differ, or there are too few samples for k results each.
    """
    if reference.shape != candidate.shape or len(reference) < k + 2:
        message = f"rankings need equal shapes and at least {k + 2} samples, got {reference.shape}, {candidate.shape}"
        raise ParityError(message)
    ref, cand = _scores(reference), _scores(candidate)
    top1, top_k = (_agreement(ref, cand, first, tie_margin) for first in (1, k))
    tau = query_taus(ref, cand)
    groups = groups_of(names, len(ref))
    count = int(groups.max()) + 1
    in_top1, in_top_k, in_tau = intervals(np.stack([top1, top_k, tau]), groups)
    return RankingParity(
        queries=len(ref),
        k=k,
        top1=float(top1.mean()),
        top_k=float(top_k.mean()),
        top_k_strict=float(_agreement(ref, cand, k, 0.0).mean()),
        kendall_tau=float(tau.mean()),
        score_diff_max=float(np.abs(ref - cand).max()),
        tie_margin=tie_margin,
        groups=count,
        top1_interval=share_interval(in_top1, top1, count),
        top_k_interval=share_interval(in_top_k, top_k, count),
        kendall_tau_interval=in_tau,
    )


def _scores(rows: Rows) -> Rows:
    """(n, n-1) dot products of each row with all others, in order."""
    searched = gallery(rows)
    return others(scores_of(searched.rows, searched))


def _agreement(ref: Rows, cand: Rows, k: int, margin: float) -> Rows:
    """For each query, the share of the candidate's first k that are right, ties of the candidate averaged over."""
    right = ref >= _kth_best(ref, k) - margin
    last = _kth_best(cand, k)
    above, level = cand > last, cand == last
    places = k - above.sum(axis=1)
    credit = places * (level & right).sum(axis=1) / level.sum(axis=1)
    agreed: Rows = ((above & right).sum(axis=1) + credit) / k
    return agreed


def _kth_best(scores: Rows, k: int) -> Rows:
    """(n, 1)."""
    return np.partition(scores, scores.shape[1] - k, axis=1)[:, -k, None]
