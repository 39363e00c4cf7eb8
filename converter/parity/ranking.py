"""Retrieval over the sample set: each sample a query against all others, in the reference and in the candidate."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from converter.errors import ParityError
from converter.records import RankingParity

Rows = npt.NDArray[Any]


def compare_rankings(reference: Rows, candidate: Rows, k: int = 5, tie_margin: float = 0.0) -> RankingParity:
    """Compare the rankings that (n, d) unit-length embeddings give, scores being dot products.

    An item that the candidate returns counts as right when its reference score is at least the reference's k-th best
    (first, for top-1) less `tie_margin`.

    Raises:
        ParityError: the shapes differ, or there are too few samples for k results each.
    """
    if reference.shape != candidate.shape or len(reference) < k + 2:
        message = f"rankings need equal shapes and at least {k + 2} samples, got {reference.shape}, {candidate.shape}"
        raise ParityError(message)
    ref, cand = _scores(reference), _scores(candidate)
    ref_order, cand_order = (np.argsort(-scores, axis=1, kind="stable") for scores in (ref, cand))
    sorted_ref = np.take_along_axis(ref, ref_order, axis=1)
    picked = np.take_along_axis(ref, cand_order, axis=1)
    strict = [len(set(a) & set(b)) / k for a, b in zip(ref_order[:, :k], cand_order[:, :k], strict=True)]
    return RankingParity(
        queries=len(ref),
        k=k,
        top1=float((picked[:, 0] >= sorted_ref[:, 0] - tie_margin).mean()),
        top_k=float((picked[:, :k] >= sorted_ref[:, k - 1 : k] - tie_margin).mean()),
        top_k_strict=float(np.mean(strict)),
        kendall_tau=float(np.mean([_kendall_tau(a, b) for a, b in zip(ref, cand, strict=True)])),
        score_diff_max=float(np.abs(ref - cand).max()),
        tie_margin=tie_margin,
    )


def _scores(rows: Rows) -> Rows:
    """(n, n-1) dot products of each row with all others, in order."""
    finite = np.nan_to_num(rows.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    full = finite @ finite.T
    n = len(full)
    others: Rows = full[~np.eye(n, dtype=bool)].reshape(n, n - 1)
    return others


def _kendall_tau(one: Rows, other: Rows) -> float:
    """Kendall's tau-b of two score lists; 1 when both are constant, 0 when one is."""
    upper = np.triu_indices(len(one), 1)
    a = np.sign(one[:, None] - one[None, :])[upper]
    b = np.sign(other[:, None] - other[None, :])[upper]
    norm = float(np.sqrt((a**2).sum() * (b**2).sum()))
    if norm == 0.0:
        return float(np.array_equal(a, b))
    return float((a * b).sum()) / norm
