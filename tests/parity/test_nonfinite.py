"""The value that first was not finite is named; masks, and what never reaches the output, are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from converter.parity.nonfinite import Kinds, first_origin, kinds_of, traces
from converter.runtimes import Observed

NAN, INF = np.nan, np.inf


def seen(name: str, value: object, *inputs: str) -> Observed:
    return Observed(
        name=name, kind=name.title(), inputs=inputs, constants=("mask",), value=np.asarray(value, np.float32)
    )


def named(bad: list[Observed], good: list[Observed] | None = None) -> str | None:
    found = first_origin(traces(bad), traces(good or []))
    return found.name if found else None


@pytest.mark.parametrize(
    ("value", "kinds"),
    [
        (np.array([1.0, -2.0], np.float32), Kinds.FINITE),
        (np.array([1, 2]), Kinds.FINITE),
        (np.array([True]), Kinds.FINITE),
        (np.array([], np.float32), Kinds.FINITE),
        (np.array([NAN, 1.0]), Kinds.NAN),
        (np.array([-INF, 1.0], np.float16), Kinds.MINUS),
        (np.array([-INF, INF, NAN]), Kinds.NAN | Kinds.PLUS | Kinds.MINUS),
    ],
)
def test_kinds_are_told_apart(value: np.ndarray[Any, Any], kinds: Kinds) -> None:
    """In every element type; numbers are not kept."""
    assert kinds_of(value) == kinds


def test_the_first_on_the_way_to_the_output_is_named() -> None:
    """An overflow that becomes NaN two operations later: the overflow is the origin."""
    bad = [seen("conv", 3.0, "image"), seen("pow", INF, "conv"), seen("sub", NAN, "pow"), seen("out", NAN, "sub")]

    assert named(bad) == "pow"


def test_weights_that_are_nan_name_the_operation_that_reads_them() -> None:
    """Constants are no values: what comes from finite values and is not finite is the origin."""
    assert named([seen("conv", NAN, "image"), seen("out", NAN, "conv")]) == "conv"


def test_of_two_branches_the_one_that_reaches_the_output_is_named() -> None:
    """An infinity that a comparison or a clip ends is no origin, though it comes first."""
    bad = [
        seen("dead", INF, "image"),
        seen("clip", 1.0, "dead"),
        seen("log", NAN, "image"),
        seen("add", NAN, "clip", "log"),
    ]

    assert named(bad) == "log"


def test_a_mask_of_minus_infinity_is_not_blamed() -> None:
    """Scores plus mask are minus infinity in every sample, and the softmax after them is finite."""
    masked, weights = seen("masked", [1.0, -INF], "scores"), seen("softmax", [1.0, 0.0], "masked")
    good = [seen("scores", [1.0, 2.0], "tokens"), masked, weights, seen("out", 1.0, "softmax")]
    bad = [seen("scores", [1.0, 2.0], "tokens"), masked, weights, seen("out", NAN, "softmax")]

    assert named(bad, good) == named(bad) == "out"


def test_a_mask_that_leaves_nothing_names_the_softmax() -> None:
    """Minus infinity everywhere in a row: the mask is what it is in a good sample, the softmax makes NaN of it."""
    good = [seen("masked", [1.0, -INF], "scores"), seen("softmax", [1.0, 0.0], "masked"), seen("out", 1.0, "softmax")]
    bad = [seen("masked", [-INF, -INF], "scores"), seen("softmax", [NAN, NAN], "masked"), seen("out", NAN, "softmax")]

    assert named(bad, good) == "softmax"


def test_a_value_that_is_masked_and_overflows_is_blamed() -> None:
    """What a good sample holds there is minus infinity only."""
    good = [seen("masked", [1.0, -INF], "scores"), seen("out", 1.0, "masked")]
    bad = [seen("masked", [INF, -INF], "scores"), seen("out", NAN, "masked")]

    assert named(bad, good) == "masked"


def test_nothing_is_named_where_all_is_finite_or_harmless() -> None:
    """An observer that runs the file in another way may see no fault."""
    masked = [seen("masked", [1.0, -INF], "scores"), seen("out", 1.0, "masked")]

    assert named([seen("out", 1.0, "image")]) is None
    assert named(masked, masked) is None
    assert named([]) is None


def test_names_that_repeat_or_feed_themselves_are_survived() -> None:
    """Buffers that a file writes again."""
    assert named([seen("state", INF, "state"), seen("out", NAN, "state")]) == "state"
    assert named([seen("a", NAN, "b"), seen("b", NAN, "a")]) is None
