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
    centred = _cosines(ref - mean, cand - mean)
    spread = float(np.linalg.norm(ref - mean, axis=1).mean())
    return OutputParity(
        name=name,
        shape=tuple(int(size) for size in reference.shape),
        max_abs=float(np.abs(ref - cand).max()),
        cosine_min=float(_cosines(ref, cand).min()),
        centred_cosine_min=float(centred.min()),
        centred_cosine_mean=float(centred.mean()),
        sqnr_db=_sqnr_db(ref - mean, ref - cand),
        spread=spread,
        worst_index=int(centred.argmin()),
        nonfinite=int(finite.size - finite.sum()),
    )


def _checked(name: str, reference: Rows, candidate: Rows) -> tuple[Rows, Rows]:
    if reference.shape != candidate.shape or reference.ndim != 2:
        message = f"{name}: the reference has shape {reference.shape}, the candidate {candidate.shape}; (n, d) expected"
        raise ParityError(message)
    if len(reference) < 2:
        message = f"{name}: {len(reference)} samples prove nothing; at least 2 are needed"
        raise ParityError(message)
    ref = reference.astype(np.float64)
    if not np.isfinite(ref).all():
        message = f"{name}: the reference itself has values that are not finite; check the weights"
        raise ParityError(message)
    return ref, candidate.astype(np.float64)


def _cosines(one: Rows, other: Rows) -> Rows:
    """Row by row; a row of length 0 has cosine 1 with another such row and 0 with any other."""
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    dots = (one * other).sum(axis=1)
    both_zero = ~one.any(axis=1) & ~other.any(axis=1)
    return np.where(norms > 0, dots / np.where(norms > 0, norms, 1.0), both_zero.astype(np.float64))


def _sqnr_db(signal: Rows, noise: Rows) -> float:
    """10 log10 of signal energy over noise energy."""
    energy, error = float((signal**2).sum()), float((noise**2).sum())
    if error == 0.0:
        return SQNR_CAP_DB
    return min(SQNR_CAP_DB, 10 * math.log10(energy / error)) if energy > 0 else -SQNR_CAP_DB
