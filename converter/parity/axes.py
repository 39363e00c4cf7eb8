"""Bring a value from a file's layout into the reference's.

Rules, in this order, on sizes above 1 only (an axis of size 1 moves no number):
1. The same sizes in the same order: as it is.
2. Channels last where the reference has them first.
3. Another order of the same sizes: the one in which the values agree best.
4. Other sizes with the same product: read in the same order, or with the last axis first, or with the first one last.
Rules 1 and 2 do not ask the values: a transpose that a file lacks must show.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Axes = tuple[int, ...]
MOST_AXES = 5
"""Orders of more axes are not tried; no value of these models has more than five sizes above 1."""
SAMPLED = 65536
"""Numbers that are compared to choose among layouts."""
HALF_EXPLAINED, ALL_EXPLAINED = 0.5, 0.99
"""Shares of the reference's energy between which nothing is said of exchanged axes."""


def find_axes(value: Array, reference: Array) -> Axes | None:
    """The order in which `value`'s axes (those above 1) are the reference's; None where the sizes do not fit."""
    if value.size != reference.size:
        return None
    sizes, wanted = _sizes(value.shape), _sizes(reference.shape)
    plain = tuple(range(len(sizes)))
    channels_first = plain[-1:] + plain[:-1]
    fitting = [axes for axes in dict.fromkeys((plain, channels_first)) if _ordered(sizes, axes) == wanted]
    if not fitting:
        fitting = list(_possible(sizes, wanted))
    if len(fitting) <= 1:
        return fitting[0] if fitting else None
    return max(fitting, key=lambda axes: agreement(laid_out(value, axes, reference.shape), reference))


def laid_out(value: Array, axes: Axes, shape: Sequence[int]) -> Array:
    """The value with its axes (those above 1) in that order, in the reference's shape."""
    return value.reshape(_sizes(value.shape)).transpose(axes).reshape(shape)


def agreement(one: Array, other: Array) -> float:
    """The correlation of two arrays of the same shape, on numbers spread over them; 0 where one does not vary."""
    step = max(1, one.size // SAMPLED)
    a, b = (side.ravel()[::step].astype(np.float64) for side in (one, other))
    a, b = a - a.mean(), b - b.mean()
    lengths = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / lengths if lengths > 0 and np.isfinite(lengths) else 0.0


def exchanged(value: Array, reference: Array) -> Axes | None:
    """Another order of equally long axes in which a value that does not agree does; None where there is none.

    It tells a transpose too much or too few: in that order the value explains all of the reference, as it is less than
    half of it.
    """
    shape = _sizes(value.shape)
    if shape != _sizes(reference.shape) or len(shape) > MOST_AXES:
        return None
    plain, *others = permutations(range(len(shape)))
    if agreement(laid_out(value, plain, reference.shape), reference) ** 2 > HALF_EXPLAINED:
        return None
    same = [axes for axes in others if _ordered(shape, axes) == shape]
    found = (axes for axes in same if agreement(laid_out(value, axes, reference.shape), reference) ** 2 > ALL_EXPLAINED)
    return next(found, None)


def _possible(sizes: Axes, wanted: Axes) -> Iterator[Axes]:
    if sorted(sizes) == sorted(wanted):
        if len(sizes) <= MOST_AXES:
            yield from (axes for axes in permutations(range(len(sizes))) if _ordered(sizes, axes) == wanted)
        return
    plain = tuple(range(len(sizes)))
    yield from dict.fromkeys((plain, plain[-1:] + plain[:-1], plain[1:] + plain[:1]))


def _ordered(sizes: Axes, axes: Axes) -> Axes:
    return tuple(sizes[axis] for axis in axes)


def _sizes(shape: Sequence[int]) -> Axes:
    return tuple(size for size in shape if size > 1)
