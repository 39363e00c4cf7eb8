"""A value that stands in the place of another is found by what reads it; nothing in a healthy file is."""

from __future__ import annotations

import dataclasses

import numpy as np

from converter.parity.alignment import Pair
from converter.parity.sketches import Sketch
from converter.parity.suspicion import bound_of, floor_of
from converter.parity.wiring import StandIn, apart, heals, rewired, stand_ins


def _sketch(name: str, *sources: str, size: int = 8) -> Sketch:
    return Sketch(
        name=name, kind="Conv", family="conv", module=name, sources=sources, constants=(), shape=(1, size),
        moments=np.zeros(6),
    )  # fmt: skip


def _pair(reference: int, candidate: int) -> Pair:
    return Pair(reference=reference, candidate=candidate, how="name", confidence=0.9)


PLAIN = [_sketch("fc1"), _sketch("act", "fc1"), _sketch("fc2", "act")]
SCALED = [_sketch("a"), _sketch("b", "a"), _sketch("times", "b"), _sketch("c", "times")]
AS_NAMED = [_pair(0, 0), _pair(1, 1), _pair(2, 3)]


def test_what_only_the_file_reads_may_stand_for_what_only_the_reference_reads() -> None:
    """The file's `c` reads `times`, its partner reads `act`; of one size, and with `fc2` to vouch for it."""
    found = stand_ins(PLAIN, SCALED, AS_NAMED)

    assert found == [StandIn(reference=1, candidate=2, readers=(2,))]
    assert stand_ins(PLAIN, [*SCALED[:2], _sketch("times", "b", size=4), SCALED[3]], AS_NAMED) == []


def test_it_does_where_its_readers_come_nearer_and_only_there() -> None:
    """A norm that was taken apart has such a value too; with it, what reads it is farther off."""
    one = StandIn(reference=1, candidate=2, readers=(2,))

    assert heals(one, PLAIN, {"fc2": 0.1}, {"fc2": 1e-9})
    assert not heals(one, PLAIN, {"fc2": 1e-12}, {"fc2": 0.5})
    assert not heals(one, PLAIN, {"fc2": 0.1}, {"fc2": 0.05})


def test_the_match_says_what_stands_there() -> None:
    """A value of another layer is named with the layer."""
    healing = [StandIn(reference=1, candidate=2, readers=(2,))]

    pairs = rewired(PLAIN, SCALED, AS_NAMED, healing)

    assert [(pair.reference, pair.candidate) for pair in pairs] == [(0, 0), (1, 2), (2, 3)]
    assert pairs[1].note == "the file goes on with Conv 'times'"
    left_out = rewired(PLAIN, SCALED, [_pair(0, 2), _pair(2, 3)], healing)
    assert left_out[1].note == "the file goes on with Conv 'times', its value of fc1"


def test_the_result_is_what_nothing_reads() -> None:
    """The reference's last value is matched with it, or with nothing where it has another size."""
    longer = [*SCALED, _sketch("negated", "c")]
    cut = [*SCALED, _sketch("cut", "c", size=4)]

    assert rewired(PLAIN, longer, AS_NAMED, [])[-1].candidate == 4
    assert rewired(PLAIN, cut, AS_NAMED, []) == AS_NAMED[:2]
    assert rewired(PLAIN, SCALED, AS_NAMED, []) == AS_NAMED


def test_stand_ins_that_read_each_other_are_tried_apart() -> None:
    """A reader that is itself exchanged could not vouch for anything."""
    one, reader = StandIn(reference=1, candidate=2, readers=(2,)), StandIn(reference=2, candidate=5, readers=(3,))
    other = StandIn(reference=7, candidate=8, readers=(9,))

    assert apart([one, reader, other]) == [[one, other], [reader]]


def test_a_stand_in_is_not_forgiven_as_rounding() -> None:
    """A dropped branch may be weaker than eight bits are coarse."""
    rounded = _sketch("conv", "x")

    assert floor_of("int8", rounded, [rounded], stands_in=True) == 45.0
    assert floor_of("fp32", rounded, [rounded], stands_in=True) == 105.0


def test_a_palette_is_held_to_its_bits() -> None:
    """The fewer bits, the less is asked; what has no weights is held to float16 in such a file."""
    layer = dataclasses.replace(_sketch("conv", "x"), constants=("w",))
    bare = dataclasses.replace(layer, family="gelu", constants=())

    assert floor_of("int6", layer, [layer]) == 18.0
    assert floor_of("int4", layer, [layer]) == 6.0
    assert floor_of("int4", bare, [layer, bare]) == 45.0
    assert bound_of((), "int4")[0] == 12.2
