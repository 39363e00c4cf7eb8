"""Find where a file goes on with another value than the one that was matched.

Names and numbers match a layer with the value that the file computes for it. Where a factor was slipped in behind that
value, or where the layer is left out, what comes next reads something else, and seems at fault although it does right
by what it is given. Rules:

1. Of what the two sides of a pair read, those that are matched with each other are left out. If one is left on each
   side, and they are of one size, the file's may stand in the place of the reference's.
2. It does stand there if the matched layers that read the reference's value come nearer to the file by `HEALED_DB` once
   the reference goes on with the file's.
3. The one value of the file that nothing reads is its result, and stands in the place of the reference's; where it is
   of another size, the reference's has no match.

Norms and activations that a converter took apart are asked by rule 1 and refused by rule 2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from converter.parity.alignment import TRUST, Pair
from converter.parity.sketches import Sketch

HEALED_DB = 10.0
"""Seen on MobileCLIP nano and S1: what does stand there takes 39 dB of noise or more from its readers; each of the 128
values that rule 1 asks for in healthy files adds 110 dB or more."""


@dataclass(frozen=True, kw_only=True)
class StandIn:
    """Indexes of a reference's value, of the file's value that may stand in its place, and of matched readers."""

    reference: int
    candidate: int
    readers: tuple[int, ...]


def stand_ins(reference: Sequence[Sketch], candidate: Sequence[Sketch], pairs: Sequence[Pair]) -> list[StandIn]:
    """By rule 1, at most one for each value of the reference."""
    partners = {pair.reference: pair.candidate for pair in pairs}
    read = _sources(reference)
    found = dict(reversed(list(_odd_ones(reference, candidate, partners))))
    return [
        StandIn(reference=i, candidate=j, readers=tuple(row for row in partners if i in read[row]))
        for i, j in found.items()
    ]


def apart(tried: Sequence[StandIn]) -> list[list[StandIn]]:
    """Groups that can be tried in one run: none has the place of a reader of another."""
    groups: list[list[StandIn]] = []
    for one in tried:
        free = (
            group for group in groups
            if all(other.reference not in one.readers and one.reference not in other.readers for other in group)
        )  # fmt: skip
        group = next(free, None)
        if group is None:
            groups.append([one])
        else:
            group.append(one)
    return groups


def heals(
    one: StandIn, reference: Sequence[Sketch], without: Mapping[str, float], instead: Mapping[str, float]
) -> bool:
    """Rule 2, given the share of noise that each value has by itself, by name, without the stand-in and with it."""
    before, after = (sum(side[reference[row].name] for row in one.readers) for side in (without, instead))
    return before > after * 10 ** (HEALED_DB / 10)


def rewired(
    reference: Sequence[Sketch], candidate: Sequence[Sketch], pairs: Sequence[Pair], healing: Sequence[StandIn]
) -> list[Pair]:
    """The pairs by rule 3, and with these stand-ins."""
    found = {pair.reference: pair for pair in pairs}
    for one in healing:
        trust = max(found[row].confidence for row in one.readers)
        found[one.reference] = _pair(one.reference, one.candidate, trust, reference, candidate, pairs)
    last, result = len(reference) - 1, _result(candidate)
    ends = found.pop(last, None)
    if ends is not None and result in (None, ends.candidate):
        found[last] = ends
    elif result is not None and candidate[result].size == reference[last].size:
        trust = ends.confidence if ends else TRUST["order"]
        found[last] = _pair(last, result, trust, reference, candidate, pairs)
    return [found[row] for row in sorted(found)]


def _odd_ones(
    reference: Sequence[Sketch], candidate: Sequence[Sketch], partners: Mapping[int, int]
) -> Iterator[tuple[int, int]]:
    read, given = _sources(reference), _sources(candidate)
    for i, j in partners.items():
        ours = [row for row in read[i] if partners.get(row) not in given[j]]
        theirs = [row for row in given[j] if row not in {partners.get(one) for one in read[i]}]
        if len(ours) == len(theirs) == 1 and reference[ours[0]].size == candidate[theirs[0]].size:
            yield ours[0], theirs[0]


def _sources(side: Sequence[Sketch]) -> list[list[int]]:
    index = {sketch.name: number for number, sketch in enumerate(side)}
    return [[index[name] for name in sketch.sources] for sketch in side]


def _result(candidate: Sequence[Sketch]) -> int | None:
    """The one value that nothing reads; None where there are several."""
    read = {row for rows in _sources(candidate) for row in rows}
    unread = [row for row, sketch in enumerate(candidate) if row not in read and not sketch.part_of]
    return unread[0] if len(unread) == 1 else None


def _pair(
    i: int, j: int, trust: float, reference: Sequence[Sketch], candidate: Sequence[Sketch], pairs: Sequence[Pair]
) -> Pair:
    """A match that its readers vouch for, with a note of what stands there."""
    owner = next((reference[pair.reference].module for pair in pairs if pair.candidate == j), "")
    of = f", its value of {owner}" if owner else ""
    note = f"the file goes on with {candidate[j].kind} '{candidate[j].name}'{of}"
    return Pair(reference=i, candidate=j, how="order", confidence=trust, note=note)
