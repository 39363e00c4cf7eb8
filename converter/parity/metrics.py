"""Numbers of one output: how far a candidate's embeddings lie from the reference's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from converter.errors import ParityError
from converter.records import OutputParity

SQNR_CAP_DB = 200.0
"""Stands for "equal": JSON has no infinity. Float64 rounding alone stays below 320 dB, float32's near 140."""

Rows = npt.NDArray[Any]


def compare_outputs(name: str, reference: Rows, candidate: Rows) -> OutputParity:
    """Compare (n, d) embeddings row by row, in float64.

    Centred figures subtract the reference's mean row from both sides. Non-finite values of the candidate are counted
    and taken as 0, so that the other figures stay numbers.

    Raises:
        ParityError: the shapes differ, there are fewer than two rows, or the reference is not finite.
    """
    ref, cand = _checked(name, reference, candidate)
    finite = np.isfinite(cand)
    cand = np.where(finite, cand, 0.0)
    mean = ref.mean(axis=0)
    centred = row_cosines(ref - mean, cand - mean)
    spread = float(np.linalg.norm(ref - mean, axis=1).mean())
    return OutputParity(
        name=name,
        shape=tuple(int(size) for size in reference.shape),
        max_abs=float(np.abs(ref - cand).max()),
        cosine_min=float(row_cosines(ref, cand).min()),
        centred_cosine_min=float(centred.min()),
        centred_cosine_mean=float(centred.mean()),
        sqnr_db=_sqnr_db(ref - mean, ref - cand),
        spread=spread,
        worst_index=int(centred.argmin()),
        nonfinite=int(finite.size - finite.sum()),
        nonfinite_samples=int((~finite.all(axis=1)).sum()),
    )


def row_cosines(one: Rows, other: Rows) -> Rows:
    """Cosines row by row; a row of length 0 has cosine 1 with another such row and 0 with any other."""
    dots = (_unit(one) * _unit(other)).sum(axis=1)
    equal = (one == other).all(axis=1)
    return np.where(equal, 1.0, np.clip(dots, -1.0, 1.0))


def _checked(name: str, reference: Rows, candidate: Rows) -> tuple[Rows, Rows]:
    if reference.shape != candidate.shape or reference.ndim != 2:
        message = f"{name}: the reference has shape {reference.shape}, the candidate {candidate.shape}; (n, d) expected"
        raise ParityError(message)
    if len(reference) < 2 or not reference.size:
        message = f"{name}: {len(reference)} samples prove nothing, shape {reference.shape}; at least 2 are needed"
        raise ParityError(message)
    ref = reference.astype(np.float64)
    if not np.isfinite(ref).all():
        message = f"{name}: the reference itself has values that are not finite; check the weights"
        raise ParityError(message)
    return ref, candidate.astype(np.float64)


def _unit(rows: Rows) -> Rows:
    """Rows of length 1, zero staying zero; scaled by the largest value first, whose square may overflow."""
    for scale in (np.abs(rows).max(axis=1, keepdims=True), None):
        divisor = np.linalg.norm(rows, axis=1, keepdims=True) if scale is None else scale
        rows = np.divide(rows, divisor, out=np.zeros_like(rows), where=divisor > 0)
    return rows


def _sqnr_db(signal: Rows, noise: Rows) -> float:
    """10 log10 of signal energy over noise energy."""
    with np.errstate(over="ignore"):
        energy, error = float((signal**2).sum()), float((noise**2).sum())
    if error == 0.0:
        return SQNR_CAP_DB
    if energy == 0.0 or math.isinf(error):
        return -SQNR_CAP_DB
    return max(-SQNR_CAP_DB, min(SQNR_CAP_DB, 10 * (math.log10(energy) - math.log10(error))))
