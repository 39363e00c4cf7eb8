"""One file out of several: by the figure that is preferred, and by the next one among those that it cannot tell apart.

Two files are alike

- in speed when the 95 % interval of the ratio of their times, paired by round, holds 1; where there is no benchmark,
  when the times of single calls during the proof differ by less than `PROOF_ALIKE`;
- in size within `SIZE_ALIKE`: one graph is written a little longer in one format than in another;
- in fidelity when their worst centred cosines differ by less than `COSINE_ALIKE`, what the order of float32 sums moves
  (the bound of float32 rows is 0.999999);
- in ease when as many facts hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from converter.advised import Candidate, Preference
from converter.bench.ratios import ratio

SIZE_ALIKE = 0.02
COSINE_ALIKE = 1e-6
PROOF_ALIKE = 0.1
ORDER: Mapping[Preference, tuple[Preference, ...]] = {
    "speed": ("speed", "size", "fidelity"),
    "size": ("size", "fidelity", "speed"),
    "fidelity": ("fidelity", "size", "speed"),
    "ease": ("ease", "fidelity", "size", "speed"),
}
"""What decides next among those that are alike."""
type Figure = float | None


@dataclass(frozen=True, kw_only=True)
class Cut:
    """What one preference did: of `before` files those that it cannot tell from the best are `left`."""

    preference: Preference
    before: int
    left: int


def rank(candidates: Sequence[Candidate], preference: Preference) -> tuple[list[Candidate], list[Cut]]:
    """The best two at most, and how the first was found: what each preference left, in order."""
    if not candidates:
        return [], []
    winner, decided = _best(candidates, preference)
    others = [one for one in candidates if one is not winner]
    second = [_best(others, preference)[0]] if others else []
    return [winner, *second], decided


def figure_of(candidate: Candidate, preference: Preference) -> Figure:
    """The number that is compared; smaller is better."""
    match preference:
        case "speed":
            return candidate.latency_ms.median if candidate.latency_ms else candidate.proof_ms
        case "size":
            return float(candidate.size_bytes)
        case "fidelity":
            return None if candidate.centred_cosine_min is None else 1 - candidate.centred_cosine_min
        case "ease":
            return -float(sum(fact.holds for fact in candidate.ease))


def are_alike(one: Candidate, other: Candidate, preference: Preference) -> bool:
    """Whether the figure cannot tell them apart; a missing one is like a missing one only."""
    here, there = figure_of(one, preference), figure_of(other, preference)
    if here is None or there is None:
        return here is there
    return _ALIKE[preference](one, other, here, there)


def _best(candidates: Sequence[Candidate], preference: Preference) -> tuple[Candidate, list[Cut]]:
    left = list(candidates)
    cuts = []
    for criterion in ORDER[preference]:
        leader = min(left, key=lambda one: _placed(one, criterion))
        alike = [one for one in left if one is leader or are_alike(leader, one, criterion)]
        cuts.append(Cut(preference=criterion, before=len(left), left=len(alike)))
        left = alike
    return min(left, key=lambda one: one.step_id), cuts


def _placed(candidate: Candidate, criterion: Preference) -> tuple[bool, float]:
    found = figure_of(candidate, criterion)
    return found is None, found or 0.0


def _alike_speed(one: Candidate, other: Candidate, here: float, there: float) -> bool:
    if not one.rounds_ms or len(one.rounds_ms) != len(other.rounds_ms):
        return abs(here - there) <= PROOF_ALIKE * min(here, there)
    low, high = ratio(other.rounds_ms, one.rounds_ms).interval
    return low <= 1.0 <= high


_ALIKE: Mapping[Preference, Callable[[Candidate, Candidate, float, float], bool]] = {
    "speed": _alike_speed,
    "size": lambda _one, _other, here, there: abs(here - there) <= SIZE_ALIKE * min(here, there),
    "fidelity": lambda _one, _other, here, there: abs(here - there) <= COSINE_ALIKE,
    "ease": lambda _one, _other, here, there: here == there,
}
