"""Match the values that a file computes with those of the PyTorch model.

Both sides are in their order of execution. Four witnesses speak for a pair: names (module paths in the names of values
and of weights), kinds (families of operations), values (`sketches.moments`, the same in any layout) and order. A
dynamic programme finds the pairs with the most evidence that keep the order of both sides:

    best(i, j) = max(best(i-1, j), best(i, j-1), best(i-1, j-1) + evidence(i, j))

Branches that run side by side may stand in another order on the other side, so that what is left over is paired in a
second pass, best evidence first. What is only a part of a layer's value (`wholes`) is paired with nothing. Behind a
break, where the file computes something else, values cannot speak; names, kinds and order carry the match from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from converter.explained import How
from converter.parity.naming import Modules
from converter.parity.operations import likeness
from converter.parity.sketches import Sketch, distances

Matrix = npt.NDArray[np.float64]

NAME_WEIGHT, VALUE_WEIGHT, KIND_WEIGHT, SHAPE_WEIGHT = 3.0, 2.0, 1.0, 0.5
"""A weight's own name says more than an equal value, which other layers may come near."""
LATE_BONUS = 0.05
"""Of several values that carry one module's name the last is the module's result."""
LEAST_EVIDENCE = 1.2
"""Less than a common kind and shape, or a value like it, is no match: 1.2 of the 6.5 that can be had."""
DECADES = 3.0
"""Values whose moments lie 0.1 % of the spread apart are as good as equal; at 100 % nothing is left of the likeness."""
TRUST = {"name": 0.95, "value": 0.95, "order": 0.5}
"""How far a witness at full strength is believed: order alone is right about every other time where layers repeat."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Indexes of a reference's and of a candidate's sketch, with what speaks for them.

    `note` says what is odd about a match that was not made here but by `converter.parity.wiring`.
    """

    reference: int
    candidate: int
    how: How
    confidence: float
    note: str = ""


def align(reference: Sequence[Sketch], candidate: Sequence[Sketch]) -> list[Pair]:
    """Pairs in the reference's order; neither side is used twice, and either may have values without a partner."""
    if not reference or not candidate:
        return []
    names, values, evidence = _evidence(reference, candidate)
    chosen = _in_order(evidence)
    chosen |= _left_over(evidence, chosen)
    chosen = _past_fused(reference, chosen, values)
    return [_pair(i, chosen[i], names, values, chosen) for i in sorted(chosen)]


def _evidence(reference: Sequence[Sketch], candidate: Sequence[Sketch]) -> tuple[Matrix, Matrix, Matrix]:
    """(strength of the names, likeness of the values, all evidence) for each pair, (n, m)."""
    names = _names(reference, candidate)
    values = _values(reference, candidate)
    kinds, shapes, possible = _kinds(reference, candidate), *_shapes(reference, candidate)
    total = NAME_WEIGHT * names + VALUE_WEIGHT * values + KIND_WEIGHT * kinds + SHAPE_WEIGHT * shapes
    stranger = (kinds == 0) & (values < 2 / DECADES) & (names < 0.5)
    total[~possible | stranger | (total < LEAST_EVIDENCE)] = 0.0
    total[:, [bool(sketch.part_of) for sketch in candidate]] = 0.0
    return names, values, np.where(total > 0, total + _lateness(candidate), 0.0)


def _names(reference: Sequence[Sketch], candidate: Sequence[Sketch]) -> Matrix:
    """1 where a weight's name spells the module, less where a part is missing or only the value's own name does.

    Negative where the weights that the two read belong to different modules.
    """
    modules = Modules(sketch.module for sketch in reference)
    found = np.zeros((len(reference), len(candidate)))
    rows: dict[str, list[int]] = {}
    for index, sketch in enumerate(reference):
        rows.setdefault(sketch.module, []).append(index)
    weighted = np.array([bool(sketch.constants) for sketch in reference])
    for column, sketch in enumerate(candidate):
        of_weights = modules.hints(sketch.constants)
        if of_weights:
            found[weighted, column] = -1 / NAME_WEIGHT
        hints = of_weights or {path: share * 0.7 for path, share in modules.hints([sketch.name]).items()}
        for path, share in hints.items():
            for row in rows[path]:
                found[row, column] = share if weighted[row] or not of_weights else share / 2
    return found


def _values(reference: Sequence[Sketch], candidate: Sequence[Sketch]) -> Matrix:
    apart = distances(np.stack([one.moments for one in reference]), np.stack([one.moments for one in candidate]))
    with np.errstate(divide="ignore"):
        return np.clip(-np.log10(apart) / DECADES, 0.0, 1.0)


def _kinds(reference: Sequence[Sketch], candidate: Sequence[Sketch]) -> Matrix:
    return np.array([[likeness(one.family, other.family) for other in candidate] for one in reference])


def _shapes(reference: Sequence[Sketch], candidate: Sequence[Sketch]) -> tuple[Matrix, npt.NDArray[np.bool_]]:
    """(1 where the sizes are the same but for order and axes of size 1, whether the pair is possible at all)."""
    ours, theirs = [_sizes(one) for one in reference], [_sizes(one) for one in candidate]
    same = np.array([[one == other for other in theirs] for one in ours])
    sizes, other_sizes = (np.array([one.size for one in side]) for side in (reference, candidate))
    return same.astype(np.float64), sizes[:, None] == other_sizes[None, :]


def _sizes(sketch: Sketch) -> tuple[int, ...]:
    return tuple(sorted(size for size in sketch.shape if size > 1))


def _lateness(candidate: Sequence[Sketch]) -> Matrix:
    return LATE_BONUS * np.arange(1, len(candidate) + 1) / len(candidate)


def _in_order(evidence: Matrix) -> dict[int, int]:
    """The chain of pairs with the most evidence."""
    best = np.zeros((evidence.shape[0] + 1, evidence.shape[1] + 1))
    for i, row in enumerate(evidence, start=1):
        taken = np.where(row > 0, best[i - 1, :-1] + row, 0.0)
        best[i, 1:] = np.maximum.accumulate(np.maximum(best[i - 1, 1:], taken))
    chosen, i, j = {}, *evidence.shape
    while i and j:
        if best[i, j] == best[i, j - 1]:
            j -= 1
        elif best[i, j] == best[i - 1, j]:
            i -= 1
        else:
            i, j = i - 1, j - 1
            chosen[i] = j
    return chosen


def _left_over(evidence: Matrix, chosen: dict[int, int]) -> dict[int, int]:
    """Pairs of what the chain passed over, each the best for both, with more for them than kind and shape."""
    left = evidence.copy()
    left[list(chosen), :] = 0.0
    left[:, list(chosen.values())] = 0.0
    found = {}
    while left.max(initial=0.0) > KIND_WEIGHT + SHAPE_WEIGHT + LATE_BONUS:
        i, j = (int(index) for index in np.unravel_index(int(left.argmax()), left.shape))
        found[i] = j
        left[i, :] = left[:, j] = 0.0
    return found


def _past_fused(reference: Sequence[Sketch], chosen: dict[int, int], values: Matrix) -> dict[int, int]:
    """Pairs with activations that the file computes inside the operation before: its value is the activation's."""
    readers: dict[str, list[int]] = {}
    for index, sketch in enumerate(reference):
        for name in sketch.sources:
            readers.setdefault(name, []).append(index)
    moved = dict(chosen)
    for i, j in chosen.items():
        after = readers.get(reference[i].name, [])
        if len(after) == 1 and after[0] not in chosen and values[after[0], j] > values[i, j]:
            moved[after[0]] = moved.pop(i)
    return moved


def _pair(i: int, j: int, names: Matrix, values: Matrix, chosen: dict[int, int]) -> Pair:
    beside = (chosen.get(i - 1) == j - 1) + (chosen.get(i + 1) == j + 1)
    witnesses: dict[How, float] = {
        "name": TRUST["name"] * max(0.0, float(names[i, j])),
        "value": TRUST["value"] * float(values[i, j]),
        "order": TRUST["order"] * beside / 2,
    }
    how = max(witnesses, key=lambda name: witnesses[name])
    return Pair(reference=i, candidate=j, how=how, confidence=1.0 - float(np.prod([1 - s for s in witnesses.values()])))
