"""Stress rows are compared apart from the samples, and change no figure of theirs."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from converter.errors import ParityError
from converter.parity.compare import compare
from converter.parity.stress import compare_stress
from converter.records import ParityReport
from tests.parity.test_metrics import unit_rows

Rows = np.ndarray[Any, Any]
NAMES = [f"sample {index}" for index in range(29)] + ["stress/black", "stress/white", "stress/noise"]


def report(reference: Rows, candidate: Rows, stress: int = 3) -> ParityReport:
    return compare(
        {"embedding": reference}, {"embedding": candidate}, reference_name="r", candidate_name="c", sample_set="s",
        executed_by="e", k=5, tie_margin=0.0, names=NAMES, stress=stress,
    )  # fmt: skip


def test_the_samples_figures_are_those_without_stress_rows() -> None:
    """However wrong these are: rankings, means and the worst sample are the samples' own."""
    rows, noisy = unit_rows(32), unit_rows(32) + 0.01 * unit_rows(32, seed=1)
    noisy[29:] = -rows[29:]

    found, without = report(rows, noisy), report(rows[:29], noisy[:29], stress=0)

    assert found.outputs == without.outputs
    assert found.ranking == without.ranking
    assert without.stress is None


def test_a_wrong_stress_row_is_named() -> None:
    """The worst by centred cosine, with the largest difference of all of them."""
    rows = unit_rows(32)
    wrong = rows.copy()
    wrong[30] = -rows[30]

    found = report(rows, wrong).stress

    assert found is not None
    assert (found.samples, found.worst, found.nonfinite) == (3, "stress/white", 0)
    assert found.cosine_min < -0.5
    assert found.max_abs == pytest.approx(2 * np.abs(rows[30]).max())


def test_cosines_are_taken_from_the_samples_mean() -> None:
    """What all embeddings share hides an error as it does in the samples."""
    rows = unit_rows(32, common=10.0)
    wrong = rows.copy()
    wrong[31] = rows[:29].mean(axis=0) - (rows[31] - rows[:29].mean(axis=0))

    found = report(rows, wrong).stress

    assert found is not None
    assert found.cosine_min == pytest.approx(-1.0)


def test_a_nan_is_counted_and_is_the_worst() -> None:
    """Before any cosine, and the figures stay numbers."""
    rows = unit_rows(32)
    broken = rows.copy()
    broken[29], broken[30, :2] = -rows[29], np.inf

    found = report(rows, broken).stress

    assert found is not None
    assert (found.worst, found.nonfinite, found.nonfinite_samples) == ("stress/white", 2, 1)
    assert np.isfinite([found.max_abs, found.cosine_min]).all()


def test_what_the_reference_cannot_embed_is_left_out_by_name() -> None:
    """Nothing can be asked of a file there; the others are compared."""
    rows = unit_rows(32)
    reference = rows.copy()
    reference[31] = np.nan

    found, everywhere = report(reference, rows).stress, reference.copy()
    everywhere[29:] = np.nan
    nothing = report(everywhere, rows).stress

    assert found is not None
    assert (found.samples, found.left_out, found.cosine_min) == (2, ("stress/noise",), pytest.approx(1.0))
    assert nothing is not None
    assert nothing.samples == 0
    assert len(nothing.left_out) == 3


def test_every_output_is_looked_at() -> None:
    """The second output's NaN is one."""
    rows = unit_rows(32)
    broken = rows.copy()
    broken[31, 0] = np.nan

    found = compare_stress({"a": rows, "b": rows}, {"a": rows, "b": broken}, NAMES, 3)

    assert found is not None
    assert dataclasses.replace(found, cosine_min=0.0) == dataclasses.replace(
        found, samples=3, worst="stress/noise", nonfinite=1, nonfinite_samples=1, cosine_min=0.0
    )


def test_a_candidate_without_stress_rows_is_refused() -> None:
    """Rows would be taken for others."""
    with pytest.raises(ParityError, match="shape"):
        report(unit_rows(32), unit_rows(29))
