"""Reductions: each against its formula in float64, through a file and at the edges."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from converter.mil.ops import reduction
from tests.mil.building import Array, Case, agree, computed, in_both, in_float16, inferred, one_op

pytest.importorskip("coremltools", reason="needs the extra mcconvert[coreml]")

quick = settings(max_examples=40, deadline=None)
MIL_TYPES = {np.float32: "FLOAT32", np.float16: "FLOAT16"}
INEXACT = 16
"""Units in the last place of the largest sum here: up to 54 values are added in float32, in another order."""

OVER_AXES: dict[str, Callable[..., Array]] = {
    "reduce_l1_norm": lambda x, **k: np.abs(x).sum(**k),
    "reduce_l2_norm": lambda x, **k: np.sqrt((x * x).sum(**k)),
    "reduce_log_sum": lambda x, **k: np.log(x.sum(**k)),
    "reduce_log_sum_exp": lambda x, **k: np.log(np.exp(x).sum(**k)),
    "reduce_max": lambda x, **k: x.max(**k),
    "reduce_mean": lambda x, **k: x.mean(**k),
    "reduce_min": lambda x, **k: x.min(**k),
    "reduce_prod": lambda x, **k: x.prod(**k),
    "reduce_sum": lambda x, **k: x.sum(**k),
    "reduce_sum_square": lambda x, **k: (x * x).sum(**k),
}
PLACES: dict[str, Callable[..., Array]] = {"reduce_argmax": np.argmax, "reduce_argmin": np.argmin}
X = np.array([[[1.0, 2.0], [0.5, 1.5]], [[3.0, 0.25], [2.5, 1.25]]], np.float32)
EXACT = X.astype(np.float64)
CASES = [
    *(Case(name=f"{kind}_some", kind=kind, inputs={"x": X}, constants={"axes": [-1, 0], "keep_dims": True},
           expected=(f(EXACT, axis=(0, 2), keepdims=True).astype(np.float32),)) for kind, f in OVER_AXES.items()),
    *(Case(name=f"{kind}_one", kind=kind, inputs={"x": X}, constants={"axes": [1]},
           expected=(f(EXACT, axis=1).astype(np.float32),)) for kind, f in OVER_AXES.items()),
    *(Case(name=f"{kind}_one", kind=kind, inputs={"x": X}, constants={"axis": 1}, expected=(f(X, axis=1),))
      for kind, f in PLACES.items()),
    *(Case(name=f"{kind}_last", kind=kind, inputs={"x": X}, constants={"keep_dims": True},
           expected=(f(X, axis=-1, keepdims=True),)) for kind, f in PLACES.items()),
]  # fmt: skip


@pytest.fixture(scope="module")
def from_file() -> dict[str, dict[str, list[Array]]]:
    """What the programs of all cases give."""
    return in_both(CASES)


def test_every_operation_of_the_group_has_a_case() -> None:
    """No kernel of this group goes without a file that holds it."""
    assert {case.kind for case in CASES} == set(reduction.kernels())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_program_from_a_file_computes_it(case: Case, from_file: dict[str, dict[str, list[Array]]]) -> None:
    """Each reduction, written by coremltools and read back, gives what its formula says; in float16, rounded."""
    agree(from_file["float32"][case.name][0], case.expected[0], INEXACT)
    agree(from_file["float16"][case.name][0], in_float16(case).expected[0], 1)


@st.composite
def reductions(draw: st.DrawFn, dtype: Any) -> tuple[Array, tuple[int, ...], bool]:
    """A tensor, some of its axes by positive or negative numbers, and whether to keep them."""
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, max_side=3))
    elements = st.integers(-40, 40) if dtype is np.int32 else st.floats(0.125, 4, width=16)
    x = draw(hnp.arrays(dtype, shape, elements=elements))
    axes = draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))
    signed = tuple(axis - len(shape) * draw(st.integers(0, 1)) for axis in axes)
    return x, signed, draw(st.booleans())


@pytest.mark.parametrize("kind", OVER_AXES)
@quick
@given(data=st.data())
def test_a_reduction_follows_its_formula(kind: str, data: st.DataObject) -> None:
    """Over any axes, kept or not, in float32 and float16."""
    dtype = data.draw(st.sampled_from([np.float32, np.float16]))
    x, axes, keep = data.draw(reductions(dtype))

    with np.errstate(over="ignore"):
        expected = np.asarray(OVER_AXES[kind](x.astype(np.float64), axis=axes, keepdims=keep)).astype(dtype)
    found = computed(kind, MIL_TYPES[dtype], x=x, axes=np.array(axes, np.int32), keep_dims=keep)
    agree(found, expected, INEXACT if dtype is np.float32 else 1)


@pytest.mark.parametrize("kind", [kind for kind in OVER_AXES if "log" not in kind])
@quick
@given(data=st.data())
def test_a_reduction_of_whole_numbers_is_the_whole_part(kind: str, data: st.DataObject) -> None:
    """As coremltools' own inference gives it; sums and products wrap at 32 bits."""
    x, axes, keep = data.draw(reductions(np.int32))

    (expected,) = inferred(kind, x=x, axes=np.array(axes, np.int32), keep_dims=keep)
    found = computed(kind, "INT32", x=x, axes=np.array(axes, np.int32), keep_dims=keep)
    agree(found, expected)


@pytest.mark.parametrize("kind", PLACES)
@quick
@given(data=st.data())
def test_the_first_of_equal_values_is_the_place(kind: str, data: st.DataObject) -> None:
    """The specification promises none of them; this one is NumPy's too."""
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, max_side=4))
    x = data.draw(hnp.arrays(np.float32, shape, elements=st.sampled_from([-1.0, 0.0, 2.0, math.inf, math.nan])))
    axis, keep = data.draw(st.integers(-len(shape), len(shape) - 1)), data.draw(st.booleans())

    agree(computed(kind, "INT32", x=x, axis=axis, keep_dims=keep), PLACES[kind](x, axis=axis, keepdims=keep))


@pytest.mark.parametrize("kind", OVER_AXES)
def test_all_axes_are_reduced_by_default(kind: str) -> None:
    """Without `axes` one value is left, a scalar unless the axes are kept; `keep_dims` is false by default."""
    expected = OVER_AXES[kind](EXACT).astype(np.float32)

    agree(computed(kind, "FLOAT32", x=X), expected, INEXACT)
    agree(computed(kind, "FLOAT32", x=X, keep_dims=True), expected.reshape(1, 1, 1), INEXACT)


def test_no_axes_reduce_nothing() -> None:
    """An empty list of axes keeps the declared shape; torch would take it for all of them."""
    (found,) = one_op("reduce_l2_norm", {"x": -X}, axes=np.array([], np.int32))

    agree(found, X)


def test_an_argument_may_be_declared_narrow() -> None:
    """`output_dtype` of iOS17."""
    (found,) = one_op("reduce_argmax", {"x": X}, axis=0, output_dtype="uint16")

    agree(found, X.argmax(0))


def test_a_sum_of_exponentials_neither_overflows_nor_vanishes() -> None:
    """Values of 1000 and of -1000; of minus infinities alone it is minus infinity, where coremltools' inference has
    NaN.
    """
    x = np.array([[1000.0, 1000.0], [-1000.0, -1000.0], [-math.inf, -math.inf], [math.inf, 0.0]], np.float32)

    found = computed("reduce_log_sum_exp", "FLOAT32", x=x, axes=np.array([1], np.int32))

    expected = np.array([1000 + math.log(2), -1000 + math.log(2), -math.inf, math.inf], np.float32)
    agree(found, expected, INEXACT)


def test_a_sum_beyond_float16_is_infinite_though_its_mean_is_not() -> None:
    """Sums are taken in float32 and rounded once."""
    x = np.full((1, 4), 40000.0, np.float16)

    assert one_op("reduce_sum", {"x": x}, axes=[1])[0].tolist() == [math.inf]
    assert one_op("reduce_mean", {"x": x}, axes=[1])[0].tolist() == [40000.0]


@pytest.mark.parametrize("kind", [*OVER_AXES, *PLACES])
def test_other_axes_give_another_result(kind: str) -> None:
    """The tests' agreement sees a reduction along the wrong axis."""
    key, first, second = ("axis", 0, 1) if kind in PLACES else ("axes", [0], [1])

    with pytest.raises(AssertionError):
        agree(
            computed(kind, "FLOAT32", x=X, **{key: np.array(first)}),
            computed(kind, "FLOAT32", x=X, **{key: np.array(second)}),
            INEXACT,
        )
