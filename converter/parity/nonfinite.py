"""Where a NaN or an infinity comes from: the first value on its way that is not finite though its inputs are.

Pure: takes what an observer shows, in order of execution, and keeps of each value only which kinds of non-finite
numbers it holds. An attention mask of minus infinity is no fault, and is told from one in two ways: only values that
reach the broken output are looked at (a softmax ends the way), and what a sample with finite outputs shows too is
harmless.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Flag
from typing import Any

import numpy as np
import numpy.typing as npt

from converter.runtimes import Observed


class Kinds(Flag):
    """Which numbers that are not finite a value holds."""

    FINITE = 0
    NAN = 1
    PLUS = 2
    MINUS = 4


@dataclass(frozen=True, kw_only=True)
class Trace:
    """A value without its numbers."""

    name: str
    kind: str
    module: str
    inputs: tuple[str, ...]
    holds: Kinds


def traces(observed: Iterable[Observed]) -> list[Trace]:
    """What is kept of each value that an observer shows."""
    return [
        Trace(name=one.name, kind=one.kind, module=one.module, inputs=one.inputs, holds=kinds_of(one.value))
        for one in observed
    ]


def kinds_of(value: npt.NDArray[Any]) -> Kinds:
    """The kinds of non-finite numbers in an array; integers and bools have none."""
    if not np.issubdtype(value.dtype, np.floating) or bool(np.isfinite(value).all()):
        return Kinds.FINITE
    found = {Kinds.NAN: np.isnan(value), Kinds.PLUS: np.isposinf(value), Kinds.MINUS: np.isneginf(value)}
    return Kinds(sum(kind.value for kind, where in found.items() if where.any()))


def first_origin(bad: Sequence[Trace], good: Sequence[Trace] = ()) -> Trace | None:
    """The first value of a sample with broken outputs that is not finite though all that it was computed from is.

    `good` are the traces of a sample whose outputs are finite: a value that holds no other kind there is harmless.
    The last value that is not finite is taken for the output, or for what leads to it; None where every value is
    finite or harmless.
    """
    harmless = {one.name: one.holds for one in good}
    suspects = {one.name: one for one in bad if one.holds & ~harmless.get(one.name, Kinds.FINITE)}
    if not suspects:
        return None
    reached = _leading_to(next(reversed(suspects)), suspects)
    return next((one for one in suspects.values() if one.name in reached and not _among(one, suspects)), None)


def _leading_to(last: str, suspects: Mapping[str, Trace]) -> set[str]:
    """Names of the suspects from which a way of suspects leads to `last`, itself among them."""
    reached, waiting = {last}, [last]
    while waiting:
        more = _among(suspects[waiting.pop()], suspects) - reached
        reached |= more
        waiting += more
    return reached


def _among(one: Trace, suspects: Mapping[str, Trace]) -> set[str]:
    return {name for name in one.inputs if name in suspects and name != one.name}
