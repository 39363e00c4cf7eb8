"""Activations: each against its formula in float64, through a file and at the edges."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from converter.mil.ops import activation
from tests.mil.building import Array, Case, agree, computed, in_float16, inferred, through_file

pytest.importorskip("coremltools", reason="needs the extra mcconvert[coreml]")

quick = settings(max_examples=25, deadline=None)
MIL_TYPES = {np.float32: "FLOAT32", np.float16: "FLOAT16"}
INEXACT = 8
"""Units in the last place: an activation rounds two or three times in float32 where the formula here does not."""


def _softplus(x: Array) -> Array:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def _gelu(mode: str) -> Callable[[Array], Array]:
    if mode == "SIGMOID_APPROXIMATION":
        return lambda x: x * _sigmoid(1.702 * x)
    if mode == "TANH_APPROXIMATION":
        return lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return lambda x: 0.5 * x * (1 + np.vectorize(math.erf, otypes=[np.float64])(x / math.sqrt(2)))


def _channels(parameter: Array, x: Array) -> Array:
    return np.float64(parameter)[None, :, None, None]


A, B = np.array([0.5, -2.0, 0.25], np.float32), np.array([1.0, 2.0, -0.5], np.float32)
FORMULAS: dict[str, tuple[str, dict[str, Any], Callable[[Array], Array]]] = {
    "clamped_relu": ("clamped_relu", {"alpha": 0.25, "beta": 1.5},
                     lambda x: np.where(x >= 0, np.minimum(1.5, x), np.minimum(1.5, 0.25 * x))),
    "elu": ("elu", {"alpha": 0.75}, lambda x: np.where(x > 0, x, 0.75 * np.expm1(np.minimum(x, 0)))),
    "gelu": ("gelu", {}, _gelu("EXACT")),
    "gelu exact": ("gelu", {"mode": "EXACT"}, _gelu("EXACT")),
    "gelu tanh": ("gelu", {"mode": "TANH_APPROXIMATION"}, _gelu("TANH_APPROXIMATION")),
    "gelu sigmoid": ("gelu", {"mode": "SIGMOID_APPROXIMATION"}, _gelu("SIGMOID_APPROXIMATION")),
    "leaky_relu": ("leaky_relu", {"alpha": 0.125}, lambda x: np.maximum(x, 0) + 0.125 * np.minimum(x, 0)),
    "linear_activation": ("linear_activation", {"alpha": -2.0, "beta": 0.5}, lambda x: -2 * x + 0.5),
    "prelu": ("prelu", {"alpha": A}, lambda x: np.maximum(x, 0) + _channels(A, x) * np.minimum(x, 0)),
    "relu": ("relu", {}, lambda x: np.maximum(x, 0)),
    "relu6": ("relu6", {}, lambda x: np.clip(x, 0, 6)),
    "scaled_tanh": ("scaled_tanh", {"alpha": 2.0, "beta": 0.5}, lambda x: 2 * np.tanh(0.5 * x)),
    "sigmoid": ("sigmoid", {}, _sigmoid),
    "sigmoid_hard": ("sigmoid_hard", {"alpha": 0.25, "beta": 0.5}, lambda x: np.clip(0.25 * x + 0.5, 0, 1)),
    "silu": ("silu", {}, lambda x: x * _sigmoid(x)),
    "softmax": ("softmax", {}, lambda x: np.exp(x - x.max(-1, keepdims=True))
                / np.exp(x - x.max(-1, keepdims=True)).sum(-1, keepdims=True)),
    "softmax on the first axis": ("softmax", {"axis": 1}, lambda x: np.exp(x - np.log(np.exp(x).sum(1)[:, None]))),
    "softplus": ("softplus", {}, _softplus),
    "softplus_parametric": ("softplus_parametric", {"alpha": A, "beta": B},
                            lambda x: _channels(A, x) * _softplus(_channels(B, x) * x)),
    "softsign": ("softsign", {}, lambda x: x / (1 + np.abs(x))),
    "thresholded_relu": ("thresholded_relu", {"alpha": 0.5}, lambda x: x * (x >= 0.5)),
}  # fmt: skip
"""By name: the operation, its constants, what it is in float64. The second axis has 3 channels."""
X = np.array([-3.0, -0.5, -0.0, 0.0, 0.5, 1.0, 2.0, 7.0, -1.25, 0.25, 4.5, -6.0], np.float32).reshape(1, 3, 2, 2)
CASES = [
    Case(
        name=f"case{i}",
        kind=kind,
        inputs={"x": X},
        constants=constants,
        expected=(formula(X.astype(np.float64)).astype(np.float32),),
    )
    for i, (kind, constants, formula) in enumerate(FORMULAS.values())
]


@pytest.fixture(scope="module")
def from_file() -> dict[str, dict[str, list[Array]]]:
    """What the programs of all cases give."""
    return {
        "float32": through_file(CASES),
        "float16": through_file([in_float16(case) for case in CASES], "iOS17"),
    }


def test_every_operation_of_the_group_has_a_case() -> None:
    """No kernel of this group goes without a file that holds it."""
    assert {case.kind for case in CASES} == set(activation.kernels())


@pytest.mark.parametrize("case", CASES, ids=list(FORMULAS))
def test_a_program_from_a_file_computes_it(case: Case, from_file: dict[str, dict[str, list[Array]]]) -> None:
    """Each activation, written by coremltools and read back, gives what its formula says; in float16, rounded."""
    agree(from_file["float32"][case.name][0], case.expected[0], INEXACT)
    agree(from_file["float16"][case.name][0], in_float16(case).expected[0], 1)


@pytest.mark.parametrize("name", FORMULAS)
@quick
@given(data=st.data())
def test_an_activation_follows_its_formula(name: str, data: st.DataObject) -> None:
    """For any finite values that float16 holds, in both precisions."""
    kind, constants, formula = FORMULAS[name]
    dtype = data.draw(st.sampled_from([np.float32, np.float16]))
    shape = (
        *data.draw(st.tuples(st.integers(1, 2))),
        3,
        *data.draw(hnp.array_shapes(min_dims=2, max_dims=2, max_side=3)),
    )
    x = data.draw(hnp.arrays(dtype, shape, elements=st.floats(-256, 256, width=16)))

    expected = formula(x.astype(np.float64)).astype(dtype)
    unit = INEXACT if dtype is np.float32 else 1
    agree(computed(kind, MIL_TYPES[dtype], x=x, **constants), expected, unit * 4 if "softmax on" in name else unit)


WITHOUT_OPINION = ("silu",)


@pytest.mark.parametrize("name", [name for name, (kind, _, _) in FORMULAS.items() if kind not in WITHOUT_OPINION])
def test_coremltools_computes_the_same(name: str) -> None:
    """Where coremltools has an opinion of its own, it is this one."""
    kind, constants, _ = FORMULAS[name]

    (expected,) = inferred(kind, x=X.copy(), **constants)

    agree(computed(kind, "FLOAT32", x=X, **constants), expected.astype(np.float32), INEXACT)


@pytest.mark.parametrize("name", FORMULAS)
def test_nan_shows_in_the_result(name: str) -> None:
    """No activation turns NaN into a number."""
    kind, constants, _ = FORMULAS[name]

    found = computed(kind, "FLOAT32", x=np.full((1, 3, 1, 1), math.nan, np.float32), **constants)

    assert np.isnan(found).all()


@pytest.mark.parametrize(
    ("kind", "constants", "at_minus_infinity", "at_infinity"),
    [
        ("relu", {}, 0.0, math.inf),
        ("relu6", {}, 0.0, 6.0),
        ("sigmoid", {}, 0.0, 1.0),
        ("softplus", {}, 0.0, math.inf),
        ("elu", {"alpha": 2.0}, -2.0, math.inf),
        ("leaky_relu", {"alpha": 0.5}, -math.inf, math.inf),
        ("scaled_tanh", {"alpha": 3.0, "beta": 1.0}, -3.0, 3.0),
        ("sigmoid_hard", {"alpha": 1.0, "beta": 0.0}, 0.0, 1.0),
        ("thresholded_relu", {"alpha": 1.0}, 0.0, math.inf),
    ],
)
def test_an_activation_has_its_limit(
    kind: str, constants: dict[str, float], at_minus_infinity: float, at_infinity: float
) -> None:
    """At both infinities."""
    x = np.array([-math.inf, math.inf], np.float32)

    assert computed(kind, "FLOAT32", x=x, **constants).tolist() == [at_minus_infinity, at_infinity]


def test_large_values_do_not_overflow() -> None:
    """Softplus of 1000 is 1000 and a softmax of such values sums to 1; coremltools' own formula of
    `softplus_parametric` overflows.
    """
    x = np.full((1, 3, 1, 1), 1000.0, np.float32)

    assert computed("softplus", "FLOAT32", x=x).ravel().tolist() == [1000.0] * 3
    assert computed("softplus_parametric", "FLOAT32", x=x, alpha=A, beta=B).ravel().tolist() == [500.0, -4000.0, 0.0]
    assert computed("softmax", "FLOAT32", x=x, axis=1).sum() == pytest.approx(1.0)


def test_a_clamp_below_zero_follows_the_documentation() -> None:
    """`clamped_relu` with a negative beta gives beta; coremltools' own inference counts it twice for positive x."""
    x = np.array([-8.0, 1.0], np.float32)

    assert inferred("clamped_relu", x=x, alpha=0.5, beta=-1.0)[0].tolist() == [-5.0, -2.0]
    assert computed("clamped_relu", "FLOAT32", x=x, alpha=0.5, beta=-1.0).tolist() == [-4.0, -1.0]


@pytest.mark.parametrize(("kind", "at"), [("leaky_relu", 0.0), ("thresholded_relu", 0.5)])
def test_a_bound_belongs_to_the_upper_side(kind: str, at: float) -> None:
    """`leaky_relu` keeps 0 itself, `thresholded_relu` keeps alpha itself."""
    assert computed(kind, "FLOAT32", x=np.float32(at), alpha=np.float32(0.5)) == at


def test_another_mode_is_another_function() -> None:
    """The three modes of gelu differ by more than the tests' tolerance; an unknown one is refused."""
    exact = computed("gelu", "FLOAT32", x=X, mode="EXACT")

    for mode in ("TANH_APPROXIMATION", "SIGMOID_APPROXIMATION"):
        with pytest.raises(AssertionError):
            agree(computed("gelu", "FLOAT32", x=X, mode=mode), exact, INEXACT)
    with pytest.raises(ValueError, match="no gelu of mode FAST; known are EXACT"):
        computed("gelu", "FLOAT32", x=X, mode="FAST")
