"""Find every weight of a Core ML program among the weights of the module that it was made from.

Names do not survive the conversion, and layouts need not, so a tensor is looked for by its values: among the parent's
tensors of the same size, in every order of their axes, at a few probe positions first and then in full.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
PROBES = 64
"""Positions compared before the whole tensor is."""
ALIKE = 0.5
"""Share of equal probes from which on two tensors are taken for the same one, damaged."""


@dataclass(frozen=True, kw_only=True)
class Match:
    """Where a constant comes from. `parent` is None when no tensor is like it; 0 difference means bit-equal."""

    constant: str
    parent: str | None
    max_abs: float = 0.0
    differing: int = 0


def match_weights(constants: Mapping[str, Array], parents: Mapping[str, Array]) -> tuple[Match, ...]:
    """A match for every constant; the parent's values are rounded to the constant's type before comparing."""
    by_size: dict[int, list[str]] = {}
    for name, values in parents.items():
        by_size.setdefault(values.size, []).append(name)
    return tuple(_match(name, values, by_size.get(values.size, []), parents) for name, values in constants.items())


def orders(values: Array, shape: tuple[int, ...]) -> Iterator[Array]:
    """The tensor with its axes in every order that gives `shape`; axes of size 1 do not count."""
    wanted = tuple(size for size in shape if size != 1)
    yield from (view.reshape(shape) for view in _orders(values) if view.shape == wanted)


def unused_parents(matches: tuple[Match, ...], parents: Mapping[str, Array]) -> tuple[str, ...]:
    """Parent tensors that no constant holds; equal tensors are stored once, so an equal one that was found counts."""
    found = {match.parent for match in matches if match.parent is not None}
    return tuple(
        name
        for name, values in parents.items()
        if values.size > 1 and name not in found and not any(_equal(values, parents[other]) for other in found)
    )


def _match(name: str, values: Array, candidates: list[str], parents: Mapping[str, Array]) -> Match:
    flat = values.reshape(-1)
    probes = np.unique(np.linspace(0, flat.size - 1, PROBES, dtype=np.int64))
    alike = []
    for candidate in candidates:
        for view in _orders(parents[candidate]):
            probed = _rounded(view[np.unravel_index(probes, view.shape)], values.dtype)
            share = float(np.mean(probed == flat[probes]))
            if share >= ALIKE:
                alike.append((share, candidate, view))
    best: Match | None = None
    for _, candidate, view in sorted(alike, key=lambda one: -one[0]):
        match = _compared(name, flat, candidate, view)
        if match.differing == 0:
            return match
        if best is None or match.differing < best.differing:
            best = match
    return best or Match(constant=name, parent=None)


def _orders(values: Array) -> Iterator[Array]:
    """The tensor with its axes in every order; axes of size 1 do not count."""
    squeezed = values.squeeze()
    for axes in itertools.permutations(range(squeezed.ndim)):
        yield squeezed.transpose(axes)


def _compared(name: str, flat: Array, candidate: str, view: Array) -> Match:
    expected = _rounded(view.reshape(-1), flat.dtype)
    wrong = np.flatnonzero((flat != expected) | (np.signbit(flat) != np.signbit(expected)))  # 0 and -0 are equal
    off = np.abs(flat[wrong].astype(np.float64) - expected[wrong].astype(np.float64))
    finite = off[np.isfinite(off)]
    return Match(constant=name, parent=candidate, max_abs=float(finite.max(initial=0.0)), differing=len(wrong))


def _rounded(values: Array, dtype: np.dtype[Any]) -> Array:
    """As coremltools rounds: to the nearest, and to infinity what does not fit, which another check reports."""
    with np.errstate(over="ignore"):
        return values.astype(dtype)


def _equal(one: Array, other: Array) -> bool:
    return one.shape == other.shape and np.array_equal(one, other)
