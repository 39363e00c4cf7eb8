"""Codes: nearest numbers on scales that reach, tables of least error, exact zeros, and packing that can be undone."""

from __future__ import annotations

import numpy as np
import pytest

from converter.coreml_codes import grid, nearest_places, packed, scaled, tabled, unpacked


def _weights(dtype: type = np.float16) -> np.ndarray:
    return (np.random.default_rng(0).normal(size=(16, 64)) * 0.05).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_number_is_the_nearest_on_a_scale_of_the_weights_type(dtype: type) -> None:
    """No weight is further away than half a step, the largest is reached, and nothing is cut off."""
    weights = _weights(dtype)

    code = scaled(weights, axis=0)

    steps = code.scale.astype(np.float64)[:, None]
    assert code.scale.dtype == dtype
    assert np.abs(code.numbers * steps - weights).max(axis=1).max() <= (steps / 2).max() * (1 + 1e-6)
    assert (np.abs(code.numbers).max(axis=1) >= 126).all()


def test_channels_of_zeros_stay_zero() -> None:
    """No scale is zero, and zero is itself."""
    weights = _weights()
    weights[3] = 0

    code = scaled(weights, axis=0)

    assert not code.numbers[3].any()
    assert (code.scale > 0).all()


def test_one_scale_serves_a_whole_tensor_if_asked() -> None:
    """Without an axis there is one number."""
    assert scaled(_weights(), axis=None).scale.shape == ()


@pytest.mark.parametrize("bits", [1, 2, 4, 6, 8])
def test_a_table_is_better_than_equal_steps(bits: int) -> None:
    """Its squared error is below that of the same number of even steps, and each value takes its nearest entry."""
    weights = _weights()

    code = tabled(weights, bits)

    even = np.linspace(weights.min(), weights.max(), 2**bits).astype(weights.dtype)
    errors = [np.square(table[nearest_places(weights, table)].astype(float) - weights).sum()
              for table in (code.table, even)]  # fmt: skip
    assert errors[0] < errors[1]
    assert len(code.table) == 2**bits
    assert np.array_equal(code.places, nearest_places(weights, code.table))


def test_few_values_are_kept_as_they_are() -> None:
    """A tensor of fewer values than the table has entries loses nothing."""
    weights = np.float16([[0.5, -1.0], [0.5, 2.0]])

    code = tabled(weights, 4)

    assert np.array_equal(code.table[code.places], weights)


@pytest.mark.parametrize("bits", [1, 2, 4, 6, 8])
def test_packing_can_be_undone(bits: int) -> None:
    """Places come back, and take no more bytes than their bits."""
    places = np.random.default_rng(1).integers(0, 2**bits, (7, 3)).astype(np.uint8)

    assert np.array_equal(unpacked(packed(places, bits), bits, places.shape), places)
    assert packed(places, bits).size == -(-places.size * bits // 8)


@pytest.mark.parametrize(("low", "high"), [(-1.0, 3.0), (0.5, 2.0), (-4.0, -1.0), (0.0, 0.0), (-3000.0, 60000.0)])
def test_a_grid_says_zero_exactly_and_reaches_both_ends(low: float, high: float) -> None:
    """A range is widened to 0, and its ends lie within half a step of the grid's."""
    code = grid(low, high, np.float16)

    ends = (np.array([-128.0, 127.0]) - float(code.zero_point)) * float(code.scale)
    assert -128 <= code.zero_point <= 127
    assert ends[0] <= min(low, 0.0) + float(code.scale) / 2
    assert ends[1] >= max(high, 0.0) - float(code.scale) / 2
