"""How far a classifier's answers survive, and with known labels how many are right: (n, ...) outputs of two files.

Views of one photograph agree and disagree together, so intervals draw whole photographs (`parity.intervals`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from converter.errors import ParityError
from converter.judged import Accuracy, Agreed, Counted
from converter.parity.intervals import groups_of, intervals, share_interval
from converter.parity.metrics import compare_outputs
from converter.parity.scores import finite

Rows = npt.NDArray[Any]
FIRST = 5


def agreement(given: Rows, quantized: Rows, names: Sequence[str]) -> Agreed:
    """Outputs of any shape, one row an image.

    Raises:
        ParityError: shapes differ, there are fewer than two images, or the given file's outputs are all alike.
    """
    ref, cand = (_flat(rows) for rows in (given, quantized))
    compared = compare_outputs("output", ref, cand)
    if compared.spread == 0.0:
        message = f"the given file answers the same to all {len(ref)} images, so comparing would prove nothing"
        raise ParityError(message)
    groups = groups_of(names, len(ref))
    ref, cand = finite(ref), finite(cand)
    return Agreed(
        images=len(ref), groups=int(groups.max()) + 1,
        top1=_counted((ref.argmax(axis=1) == cand.argmax(axis=1)).astype(np.float64), groups),
        top5=_counted(_shared(_first(ref), _first(cand)), groups),
        centred_cosine_min=compared.centred_cosine_min, centred_cosine_mean=compared.centred_cosine_mean,
        sqnr_db=compared.sqnr_db, max_abs=compared.max_abs, spread=compared.spread, nonfinite=compared.nonfinite,
    )  # fmt: skip


def accuracy(given: Rows, quantized: Rows, labels: npt.NDArray[np.intp]) -> Accuracy:
    """Of (n, classes) outputs, how many have their largest at the label's place.

    Raises:
        ParityError: a label is beyond the classes.
    """
    ref, cand = (finite(_flat(rows)) for rows in (given, quantized))
    if labels.max() >= ref.shape[1]:
        message = f"the file tells {ref.shape[1]} classes apart, and one of the images has the label {labels.max()}"
        raise ParityError(message)
    right = [(rows.argmax(axis=1) == labels).astype(np.float64) for rows in (ref, cand)]
    groups = np.arange(len(labels))
    (bound,) = intervals((right[0] - right[1])[None], groups)
    lost = Counted(value=float((right[0] - right[1]).mean()), interval=bound)
    return Accuracy(given=_counted(right[0], groups), quantized=_counted(right[1], groups), lost=lost)


def _flat(rows: Rows) -> Rows:
    flat: Rows = rows.reshape(len(rows), -1)
    return flat


def _counted(shares: Rows, groups: npt.NDArray[np.intp]) -> Counted:
    (bound,) = intervals(shares[None], groups)
    return Counted(value=float(shares.mean()), interval=share_interval(bound, shares, int(groups.max()) + 1))


def _first(rows: Rows) -> Rows:
    order: Rows = np.argsort(-rows, axis=1, kind="stable")[:, :FIRST]
    return order


def _shared(one: Rows, other: Rows) -> Rows:
    """For each row, the share of one's entries that are among the other's."""
    share: Rows = (one[:, :, None] == other[:, None, :]).any(axis=2).mean(axis=1)
    return share
