"""Quantizing on the way agrees with coremltools' own values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.mil.building import executed, inferred
from tests.mil.calling import called, drawn

pytest.importorskip("coremltools", reason="needs the extra mcconvert[coreml]")

QUICK = settings(max_examples=20, deadline=None)


@QUICK
@given(st.sampled_from(["int8", "uint8"]), st.sampled_from([None, 0, 1, -1]), st.booleans(), st.integers(0, 99))
def test_quantizing_and_back_is_as_coremltools_computes_it(kind: str, axis: Any, shifted: bool, seed: int) -> None:
    """For a number or a vector along an axis, with a zero point or without, also where values must be cut."""
    x = 40 * drawn(seed, 3, 4, 3)
    size = () if axis is None else (x.shape[axis],)
    along: dict[str, Any] = {"scale": np.abs(drawn(1, *size)) + np.float32(0.1)}
    if axis is not None:
        along["axis"] = np.int32(axis)
    if shifted:
        along["zero_point"] = np.asarray(np.full(size, 7), kind)

    whole = called("quantize", input=x, output_dtype=kind, **along)
    back = called("dequantize", input=whole, **along)

    assert np.array_equal(whole, inferred("quantize", input=x, output_dtype=kind, **along)[0])
    floats = whole.astype(np.float32) - along.get("zero_point", np.zeros(size)).astype(np.float32).reshape(
        [] if axis is None else [-1 if i == axis % 3 else 1 for i in range(3)]
    )
    scale = along["scale"].reshape([] if axis is None else [-1 if i == axis % 3 else 1 for i in range(3)])
    assert np.array_equal(back, scale * floats)


def test_a_tie_goes_to_the_even_number() -> None:
    """Half of an odd number of steps, on both sides of zero."""
    found = called("quantize", input=np.float32([0.5, 1.5, 2.5, -0.5, -1.5]), scale=np.float32(1), output_dtype="int8")

    assert found.tolist() == [0, 2, 2, 0, -2]


def test_a_vector_without_its_axis_is_an_error() -> None:
    """It is not clear along which axis it lies."""
    with pytest.raises(ValueError, match="scale"):
        called("quantize", input=drawn(1, 2, 2), scale=np.float32([1, 2]), output_dtype="int8")


def test_quantizing_goes_through_a_file() -> None:
    """The quantized values stay narrow in between; what comes back is a multiple of the scale."""
    x = drawn(1, 2, 3)
    along: dict[str, Any] = {"scale": np.float32([0.01, 0.5]), "zero_point": np.uint8([128, 3]), "axis": 0}

    (found,) = executed(
        lambda mb, x: mb.dequantize(input=mb.quantize(input=x, output_dtype="uint8", **along), **along), {"x": x}
    )

    steps = np.clip(np.rint(x / along["scale"][:, None]) + along["zero_point"][:, None], 0, 255)
    assert np.allclose(found, (steps - along["zero_point"][:, None]) * along["scale"][:, None], atol=1e-6)
