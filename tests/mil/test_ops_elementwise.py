"""Operations on each value: arithmetic, comparisons, logic, casts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from converter.errors import ConversionError
from converter.mil.ops import elementwise
from tests.mil.building import Array, Case, agree, computed, executed, in_both, in_float16, inferred, one_op

pytest.importorskip("coremltools", reason="needs the extra mcconvert[coreml]")

quick = settings(max_examples=25, deadline=None)
MIL_TYPES = {np.float32: "FLOAT32", np.float16: "FLOAT16"}
SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, 1e-7, 65504.0, math.inf, -math.inf, math.nan]

_erf = np.vectorize(math.erf, otypes=[np.float64])
UNARY: dict[str, Callable[[Array], Array]] = {
    "abs": np.abs, "acos": np.arccos, "asin": np.arcsin, "atan": np.arctan, "atanh": np.arctanh, "ceil": np.ceil,
    "cos": np.cos, "cosh": np.cosh, "erf": _erf, "exp": np.exp, "exp2": lambda x: np.power(2.0, x),
    "floor": np.floor, "round": np.rint, "sign": np.sign, "sin": np.sin, "sinh": np.sinh, "sqrt": np.sqrt,
    "square": lambda x: x * x, "tan": np.tan, "tanh": np.tanh,
    "inverse": lambda x: 1 / (x + 1e-4), "log": lambda x: np.log(x + np.float32(1e-45)),
    "rsqrt": lambda x: 1 / np.sqrt(x + 1e-12),
}  # fmt: skip
"""What each operation is in float64."""
BINARY: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "real_div": np.divide, "floor_div": np.floor_divide,
    "mod": np.mod, "pow": np.power, "maximum": np.maximum, "minimum": np.minimum, "equal": np.equal,
    "not_equal": np.not_equal, "greater": np.greater, "greater_equal": np.greater_equal, "less": np.less,
    "less_equal": np.less_equal,
}  # fmt: skip
LOGIC = {"logical_and": np.logical_and, "logical_or": np.logical_or, "logical_xor": np.logical_xor}
POSITIVE = ("log", "rsqrt", "sqrt")
INEXACT = 4
"""Units in the last place by which two libraries' elementary functions may differ; torch's documented worst is 1 to 2
in float32, the constants beside them add the rest."""

X = np.array([[0.25, -0.5, 0.75], [0.125, 0.5, -0.875]], np.float32)
Y = np.array([[0.5], [-0.25]], np.float32)
FLAGS = np.array([[True, False, True], [False, False, True]])
CASES = [
    *(Case(name=kind, kind=kind, inputs={"x": X}, expected=(f(np.float64(X)).astype(np.float32),))
      for kind, f in UNARY.items() if kind not in POSITIVE),
    *(Case(name=kind, kind=kind, inputs={"x": np.abs(X)}, expected=(UNARY[kind](np.abs(X)).astype(np.float32),))
      for kind in POSITIVE),
    *(Case(name=kind, kind=kind, inputs={"x": np.abs(X), "y": Y}, expected=(np.float32(f(np.abs(X), Y)),))
      for kind, f in BINARY.items()),
    *(Case(name=kind, kind=kind, inputs={"x": FLAGS, "y": ~FLAGS[:1]}, expected=(f(FLAGS, ~FLAGS[:1]),))
      for kind, f in LOGIC.items()),
    Case(name="logical_not", kind="logical_not", inputs={"x": FLAGS}, expected=(~FLAGS,)),
    Case(name="select", kind="select", inputs={"cond": FLAGS, "a": X, "b": -X}, expected=(np.where(FLAGS, X, -X),)),
    Case(name="clip", kind="clip", inputs={"x": X}, constants={"alpha": -0.25, "beta": 0.5},
         expected=(np.array([[0.25, -0.25, 0.5], [0.125, 0.5, -0.25]], np.float32),)),
    Case(name="threshold", kind="threshold", inputs={"x": X}, constants={"alpha": -0.25},
         expected=(np.array([[0.25, -0.25, 0.75], [0.125, 0.5, -0.25]], np.float32),)),
    Case(name="cast", kind="cast", inputs={"x": 4 * X}, constants={"dtype": "int32"},
         expected=(np.array([[1, -2, 3], [0, 2, -3]]),)),
]  # fmt: skip


@pytest.fixture(scope="module")
def from_file() -> dict[str, dict[str, list[Array]]]:
    """What the programs of all cases give."""
    return in_both(CASES)


def test_every_operation_of_the_group_has_a_case() -> None:
    """No kernel of this group goes without a file that holds it."""
    assert {case.kind for case in CASES} == set(elementwise.kernels())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_program_from_a_file_computes_it(case: Case, from_file: dict[str, dict[str, list[Array]]]) -> None:
    """Each operation, written by coremltools and read back, gives what its formula says."""
    (found,) = from_file["float32"][case.name]

    agree(found, case.expected[0], INEXACT)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_program_in_float16_rounds_each_result_to_it(
    case: Case, from_file: dict[str, dict[str, list[Array]]]
) -> None:
    """The same in float16: every value is one that float16 holds, at most one from the exact one."""
    (found,) = from_file["float16"][case.name]

    agree(found, found.astype(np.float16))
    # The builder's default epsilon of rsqrt, log and inverse is rounded to float16 before it is added.
    agree(found, in_float16(case).expected[0], 1)


def arrays(dtype: Any, elements: Any = None) -> Any:
    """Arrays of up to four axes, also of size 1, with zeros of both signs, infinities and NaN among the values."""
    width = 8 * np.dtype(dtype).itemsize
    values = elements or st.one_of(st.sampled_from(SPECIAL), st.floats(width=width))
    return hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, max_side=3), elements=values)


floating = st.sampled_from([np.float32, np.float16])


@pytest.mark.parametrize("kind", UNARY)
@quick
@given(data=st.data())
def test_a_function_of_one_value_follows_its_formula(kind: str, data: st.DataObject) -> None:
    """In float32 and float16, at the edges of its domain and beyond."""
    dtype = data.draw(floating)
    x = data.draw(arrays(dtype))

    with np.errstate(all="ignore"):
        expected = np.asarray(UNARY[kind](x.astype(np.float64))).astype(dtype)
    agree(computed(kind, MIL_TYPES[dtype], x=x), expected, INEXACT if dtype is np.float32 else 1)


@pytest.mark.parametrize("kind", BINARY)
@quick
@given(data=st.data())
def test_a_function_of_two_values_broadcasts_and_follows_its_formula(kind: str, data: st.DataObject) -> None:
    """In float32 and float16, computed in float32; results of comparisons are exact."""
    dtype = data.draw(floating)
    shapes = data.draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=3)).input_shapes
    values = st.one_of(st.sampled_from(SPECIAL), st.floats(width=16))
    x, y = (data.draw(hnp.arrays(dtype, shape, elements=values)) for shape in shapes)

    with np.errstate(all="ignore"):
        result = np.asarray(BINARY[kind](x.astype(np.float32), y.astype(np.float32)))
        expected = result if result.dtype == bool else result.astype(dtype)
    kind_of_result = "BOOL" if result.dtype == bool else MIL_TYPES[dtype]
    agree(computed(kind, kind_of_result, x=x, y=y), expected, INEXACT if kind == "pow" else 0)


@pytest.mark.parametrize("kind", ["add", "sub", "mul", "maximum", "minimum", "floor_div", "mod", "greater", "equal"])
@quick
@given(data=st.data())
def test_whole_numbers_stay_whole_and_wrap(kind: str, data: st.DataObject) -> None:
    """Arithmetic of int32 is exact up to 2^31 and wraps beyond, as coremltools computes it."""
    elements = st.one_of(st.integers(-(2**31), 2**31 - 1), st.integers(-5, 5))
    x = data.draw(hnp.arrays(np.int32, (2, 3), elements=elements))
    y = data.draw(hnp.arrays(np.int32, (3,), elements=elements.filter(lambda one: one not in (0, -1))))

    with np.errstate(all="ignore"):
        (expected,) = inferred(kind, x=x, y=y)
    agree(computed(kind, "BOOL" if expected.dtype == bool else "INT32", x=x, y=y), expected)


@quick
@given(x=st.integers(-(2**31), 2**31 - 1), y=st.integers(-(2**31), 2**31 - 1).filter(lambda one: one not in (0, -1)))
def test_a_quotient_of_whole_numbers_loses_its_fraction(x: int, y: int) -> None:
    """`real_div` of int32 is declared int32; coremltools' own inference keeps the fraction, which no int32 holds."""
    found = computed("real_div", "INT32", x=np.int32(x), y=np.int32(y))

    assert int(found) == int(math.copysign(abs(x) // abs(y), x * y))


@pytest.mark.parametrize(("base", "power", "expected"), [(3, 4, 81), (-2, 3, -8), (2, -1, 0), (-1, -3, -1), (0, 0, 1)])
def test_a_power_of_whole_numbers_is_the_whole_part(base: int, power: int, expected: int) -> None:
    """Also where the power is negative, which numpy refuses."""
    assert int(computed("pow", "INT32", x=np.int32(base), y=np.int32(power))) == expected
    assert int(computed("pow", "INT32", x=np.array([base], np.int32), y=np.int32(power))[0]) == expected


def test_exp2_abs_sign_and_square_take_whole_numbers() -> None:
    """The four functions of one value that the specification also gives int32."""
    x = np.array([-2, 0, 3, 30], np.int32)

    found = executed(
        lambda mb, x: tuple(getattr(mb, kind)(x=x) for kind in ("exp2", "abs", "sign", "square")), {"x": x}
    )

    for result, expected in zip(found, ([0, 1, 8, 2**30], [2, 0, 3, 30], [-1, 0, 1, 1], [4, 0, 9, 900]), strict=True):
        agree(result, np.array(expected))


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("int32", [-1, 1, 0, 49407, 2**31 - 1, -(2**31), 0]),
        ("int16", [-1, 1, 0, -16129, -1, 0, 0]),
        ("uint16", [65535, 1, 0, 49407, 65535, 0, 0]),
        ("int8", [-1, 1, 0, -1, -1, 0, 0]),
        ("uint8", [255, 1, 0, 255, 255, 0, 0]),
        ("bool", [1, 1, 1, 1, 1, 1, 1]),
        ("fp32", [-1.5, 1.5, -0.25, 49407, math.inf, -3e9, math.nan]),
        ("fp16", [-1.5, 1.5, -0.25, 49408, math.inf, -math.inf, math.nan]),
    ],
)
def test_a_cast_truncates_then_wraps(dtype: str, expected: list[float]) -> None:
    """Toward zero; beyond int32 at its ends, NaN to 0; then the narrow type wraps. Float16 rounds to the nearest."""
    x = np.array([-1.5, 1.5, -0.25, 49407, math.inf, -3e9, math.nan], np.float32)

    (found,) = one_op("cast", {"x": x}, dtype=dtype)

    agree(found, np.array(expected))


def test_rounding_goes_to_the_even_neighbour() -> None:
    """Half-way values go to the even one, zeros keep their sign."""
    found = computed("round", "FLOAT32", x=np.array([0.5, 1.5, 2.5, -0.5, -1.5], np.float32))

    agree(found, np.array([0.0, 2.0, 2.0, -0.0, -2.0]))
    assert np.signbit(found).tolist() == [False, False, False, True, True]


def test_float16_overflows_to_infinity() -> None:
    """A product of two float16 values beyond 65504 is infinite, as the declared type says; in float32 it is not."""
    x = np.array([300.0, -300.0], np.float16)

    (found,) = one_op("mul", {"x": x}, y=np.float16(300))

    assert found.tolist() == [math.inf, -math.inf]
    assert computed("mul", "FLOAT32", x=x, y=x).tolist() == [90000.0, 90000.0]


def test_a_bound_that_float16_cannot_hold_is_no_bound() -> None:
    """1e9 is infinite in float16, and so is then the bound of `clip`."""
    x = np.array([-70.0, 60000.0, math.inf], np.float16)

    (found,) = one_op("clip", {"x": x}, alpha=np.float16(-1), beta=np.float16(math.inf))

    agree(found, np.array([-1.0, 60000.0, math.inf]))


@pytest.mark.parametrize(
    ("kind", "given_epsilon", "expected"), [("log", 1.0, 0.0), ("rsqrt", 4.0, 0.5), ("inverse", 0.5, 2.0)]
)
def test_an_epsilon_is_added_before(kind: str, given_epsilon: float, expected: float) -> None:
    """The epsilon of the file counts, and its default keeps the result at 0 finite in float32."""
    zero = np.zeros(1, np.float32)

    (found,) = one_op(kind, {"x": zero}, epsilon=given_epsilon)

    assert found.tolist() == [expected]
    assert np.isfinite(computed(kind, "FLOAT32", x=zero)).all()


@pytest.mark.parametrize("kind", ["maximum", "minimum"])
def test_nan_shows_in_the_result(kind: str) -> None:
    """Whichever operand has it: the formula in the documentation would lose one of them."""
    nan, one = np.float32(math.nan), np.float32(1)

    assert np.isnan(computed(kind, "FLOAT32", x=nan, y=one))
    assert np.isnan(computed(kind, "FLOAT32", x=one, y=nan))
    assert np.isnan(computed("clip", "FLOAT32", x=nan, alpha=-one, beta=one))
    assert np.isnan(computed("threshold", "FLOAT32", x=nan, alpha=one))


def test_select_without_values_gives_places() -> None:
    """The documentation's second form, which coremltools' builder cannot write."""
    assert computed("select", "INT32", cond=FLAGS).tolist() == np.argwhere(FLAGS).tolist()


@pytest.mark.parametrize(
    ("kind", "values", "said"),
    [
        ("cast", {"x": X, "dtype": "complex64"}, "no cast to complex64; known are"),
        ("floor_div", {"x": np.int32(1), "y": np.int32(0)}, "ZeroDivisionError"),
    ],
)
def test_what_has_no_result_is_refused(kind: str, values: dict[str, Any], said: str) -> None:
    """An unknown type and an integer divided by zero are errors, not numbers."""
    with pytest.raises((ValueError, RuntimeError), match=said):
        computed(kind, "INT32", **values)


def test_a_division_by_zero_names_its_operation() -> None:
    """The interpreter says which operation of the file failed."""
    with pytest.raises(ConversionError, match=r"operation mod \(.*\) does not compute"):
        one_op("mod", {"x": np.array([1], np.int32)}, y=np.int32(0))


@pytest.mark.parametrize(
    "wrong", [X + 1e-6, X[:1], np.where(X > 0, X, np.nan), np.where(X > 0, X, -np.inf), X * np.float32(1 + 2e-6)]
)
def test_the_agreement_of_these_tests_sees_a_difference(wrong: Array) -> None:
    """A value, a shape, a NaN or an infinity more makes two arrays disagree."""
    with pytest.raises(AssertionError):
        agree(wrong, X, INEXACT)
