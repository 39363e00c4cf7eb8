"""Stress samples: what a file makes of inputs that resemble no photograph and no caption."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from converter.parity.metrics import row_cosines
from converter.records import StressParity
from converter.runtimes import Arrays

Rows = npt.NDArray[Any]


def compare_stress(reference: Arrays, candidate: Arrays, names: Sequence[str], count: int) -> StressParity | None:
    """Compare the last `count` rows of every named (n, d) output in float64; None where there are no such rows.

    Cosines are taken after subtracting the reference's mean over the rows before, as those of the samples are. A
    value of the candidate that is not finite is counted and taken as 0. Rows that the reference itself cannot embed
    are left out; `names` are those of all rows.
    """
    if not count:
        return None
    rows = [(reference[name][-count:], candidate[name][-count:], _mean(reference[name], count)) for name in reference]
    whole = np.logical_and.reduce([np.isfinite(ref).all(axis=1) for ref, _, _ in rows])
    labels = np.array(names[-count:])
    return _figures([(ref[whole], cand[whole], mean) for ref, cand, mean in rows], labels[whole], labels[~whole])


def _figures(rows: Sequence[tuple[Rows, Rows, Rows]], labels: Rows, left_out: Rows) -> StressParity:
    """The worst of all outputs, each as (reference, candidate, mean)."""
    broken = np.sum([(~np.isfinite(cand)).sum(axis=1) for _, cand, _ in rows], axis=0)
    pairs = [(ref - mean, np.where(np.isfinite(cand), cand, 0.0) - mean) for ref, cand, mean in rows]
    cosines = np.min([row_cosines(one, other) for one, other in pairs], axis=0)
    worst = np.where(broken > 0, -np.inf, cosines)
    return StressParity(
        samples=len(labels),
        max_abs=max((float(np.abs(one - other).max()) for one, other in pairs if len(labels)), default=0.0),
        cosine_min=float(cosines.min(initial=1.0)),
        worst=str(labels[worst.argmin()]) if len(labels) else "",
        nonfinite=int(broken.sum()),
        nonfinite_samples=int(np.count_nonzero(broken)),
        left_out=tuple(map(str, left_out)),
    )


def _mean(reference: Rows, count: int) -> Rows:
    mean: Rows = reference[:-count].astype(np.float64).mean(axis=0)
    return mean
