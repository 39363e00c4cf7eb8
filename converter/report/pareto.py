"""Which files nobody beats: the Pareto front of accuracy against a cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from converter.records import Precision

ALIKE = 1 - 1e-7
"""Centred cosines above it differ by float32 rounding alone."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """A file in a plot: what it costs (bytes, milliseconds) and how near it is to the reference (centred cosine)."""

    name: str
    target: str
    precision: Precision
    passed: bool
    cost: float
    accuracy: float


def front(points: Sequence[Point]) -> list[Point]:
    """The points that no other one equals or beats in both, cheapest first. Cosines beyond `ALIKE` count as equal.

    Of points that are equal in both, the first by name. Files that did not pass are nobody's choice, and not on it.
    """
    best: list[Point] = []
    passed = (one for one in points if one.passed)
    for point in sorted(passed, key=lambda one: (one.cost, -min(one.accuracy, ALIKE), one.name)):
        if not best or min(point.accuracy, ALIKE) > best[-1].accuracy:
            best.append(point)
    return best
