"""Numbers of one output: what equal, broken and sleeping embeddings look like."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter.errors import ParityError
from converter.parity.metrics import SQNR_CAP_DB, compare_outputs


def unit_rows(n: int = 32, d: int = 16, seed: int = 0, common: float = 0.0) -> npt.NDArray[np.float64]:
    """Random unit-length rows; `common` is the length of a part that all share, as in CLIP."""
    rows = np.random.default_rng(seed).normal(size=(n, d)) / np.sqrt(d) + common
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_equal_outputs_are_equal_in_every_figure() -> None:
    """Cosines 1, no difference, the capped SQNR."""
    rows = unit_rows()

    found = compare_outputs("embedding", rows, rows.copy())

    assert found.max_abs == 0.0
    assert found.cosine_min == pytest.approx(1.0)
    assert found.centred_cosine_min == pytest.approx(1.0)
    assert found.sqnr_db == SQNR_CAP_DB
    assert found.nonfinite == 0


def test_a_constant_output_looks_right_to_the_plain_cosine_only() -> None:
    """What all inputs share hides everything: the centred cosine sees that nothing is told apart."""
    rows = unit_rows(common=10.0)
    constant = np.repeat(rows.mean(axis=0, keepdims=True), len(rows), axis=0)

    found = compare_outputs("embedding", rows, constant)

    assert found.cosine_min > 0.99
    assert found.centred_cosine_mean < 0.1
    assert found.sqnr_db == pytest.approx(0.0, abs=0.5)


def test_one_swapped_pair_is_found_with_its_index() -> None:
    """Two samples exchanged: the worst index names one of them."""
    rows = unit_rows()
    swapped = rows.copy()
    swapped[[3, 7]] = swapped[[7, 3]]

    found = compare_outputs("embedding", rows, swapped)

    assert found.worst_index in (3, 7)
    assert found.centred_cosine_min < 0.9


def test_sqnr_is_the_energy_ratio_in_decibels() -> None:
    """Noise of a tenth of the signal's size is 20 dB."""
    rows = unit_rows(n=400, d=64)
    centred = rows - rows.mean(axis=0)
    noise = np.random.default_rng(1).normal(size=rows.shape)
    noise *= 0.1 * np.linalg.norm(centred) / np.linalg.norm(noise)

    assert compare_outputs("e", rows, rows + noise).sqnr_db == pytest.approx(20.0, abs=0.01)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nonfinite_values_are_counted_and_figures_stay_numbers(value: float) -> None:
    """NaN and Inf are their own figure; the others can still be printed and stored."""
    rows = unit_rows()
    broken = rows.copy()
    broken[5, :3] = value

    found = compare_outputs("embedding", rows, broken)

    assert found.nonfinite == 3
    assert np.isfinite([found.max_abs, found.cosine_min, found.centred_cosine_mean, found.sqnr_db]).all()


@pytest.mark.parametrize(
    ("reference", "candidate", "words"),
    [
        (np.ones((4, 3)), np.ones((4, 2)), "shape"),
        (np.ones((4, 3)), np.ones((3, 3)), "shape"),
        (np.ones((1, 3)), np.ones((1, 3)), "prove nothing"),
        (np.ones((0, 3)), np.ones((0, 3)), "prove nothing"),
        (np.full((4, 3), np.nan), np.ones((4, 3)), "reference itself"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    reference: npt.NDArray[np.float64], candidate: npt.NDArray[np.float64], words: str
) -> None:
    """Comparing nothing, or with something that is no reference, is an error and not a pass."""
    with pytest.raises(ParityError, match=words):
        compare_outputs("embedding", reference, candidate)


@given(st.integers(0, 10_000), st.floats(1e-6, 10.0))
def test_centred_cosine_ignores_what_is_added_to_all(seed: int, size: float) -> None:
    """A constant vector on both sides changes no centred figure."""
    rows = unit_rows(seed=seed)
    other = rows + 0.05 * unit_rows(seed=seed + 1)

    plain = compare_outputs("e", rows, other)
    moved = compare_outputs("e", rows + size, other + size)

    assert moved.centred_cosine_min == pytest.approx(plain.centred_cosine_min, abs=1e-6)
    assert moved.spread == pytest.approx(plain.spread, abs=1e-6)


def test_values_of_any_size_give_finite_figures() -> None:
    """A candidate gone wild fails by its figures, not by an overflow."""
    reference = np.random.default_rng(0).normal(size=(4, 8))

    parity = compare_outputs("embedding", reference, reference * 1e200)

    assert parity.sqnr_db == -200.0
    assert np.isfinite([parity.cosine_min, parity.centred_cosine_min, parity.max_abs]).all()


def test_rows_of_no_numbers_are_refused() -> None:
    """An empty output compares nothing."""
    with pytest.raises(ParityError, match="prove nothing"):
        compare_outputs("embedding", np.zeros((3, 0)), np.zeros((3, 0)))
