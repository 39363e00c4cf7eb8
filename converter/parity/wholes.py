"""Put together what a file computes in parts, so that a part is not matched with what the layer as a whole gives.

A converter may split a large kernel into small ones and add up their results, or leave a bias, or the factor of a norm,
to an operation of its own. Half of such a sum carries the layer's name in its weights as well as the whole does, and
its numbers may come near.

    before: x -> conv (weights of m) -> add -> add -> y         y reads a sum that reads a part that reads x
            x -> conv (no name) --------^      ^
            x -> conv (no name) ---------------'
    after:  x -> y, a conv with the constants of all; the other values are parts of y

Rules:

1. A convolution, a product, or a product with constants, of one value x and with constants, is a whole to begin with.
2. If one addition alone reads a whole, and reads nothing else but constants, or further wholes of the same x that it
   alone reads, it is a whole too, and what it reads are its parts: all of this is linear in x. A product with constants
   counts like an addition if it reads one whole.
3. The constants of a whole speak of one module. What is added to it, or multiplied with it, must speak of that module
   too where it is nothing but constants: a scale without a name may well be a layer of its own.
4. The reference reads that module's weights for one value, and does not itself sum that value up in this way: there
   each part is a layer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from converter.parity.naming import Modules
from converter.parity.sketches import Sketch

LINEAR = ("conv", "product")
SUMS = ("add", "sub")
SCALES = ("mul", "div")


def gathered(reference: Sequence[Sketch], candidate: Sequence[Sketch]) -> list[Sketch]:
    """The candidate's sketches, in their order: wholes read what their first parts read, and parts say what of."""
    modules = Modules(sketch.module for sketch in reference)
    grown = _Wholes.of(candidate, modules)
    single = _single(reference)
    found: dict[str, Sketch] = {}
    for name in grown.roots():
        if grown.spoken(name) in single:
            found |= grown.joined(name)
    return [found.get(sketch.name, sketch) for sketch in candidate]


@dataclass(frozen=True, kw_only=True)
class _Wholes:
    """Rules 1 to 3: names of values that each whole is put together of, itself the last, by its own name."""

    known: dict[str, Sketch]
    modules: Modules
    members: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, side: Sequence[Sketch], modules: Modules) -> _Wholes:
        readers = Counter(name for sketch in side for name in sketch.sources)
        made = cls(known={sketch.name: sketch for sketch in side}, modules=modules, members={})
        for sketch in side:
            parts = made._parts(sketch, readers)
            if parts is not None:
                made.members[sketch.name] = (*parts, sketch.name)
        return made

    def roots(self) -> list[str]:
        """Wholes of more than one value that are part of no other."""
        inner = {name for names in self.members.values() for name in names[:-1]}
        return [name for name, names in self.members.items() if len(names) > 1 and name not in inner]

    def spoken(self, name: str) -> str | None:
        """The one module that the constants of a whole speak of."""
        spoken = self._speaks(self.members[name])
        return next(iter(spoken)) if len(spoken) == 1 else None

    def joined(self, name: str) -> dict[str, Sketch]:
        """The whole's sketch and those of its parts, by name."""
        sketches = [self.known[one] for one in self.members[name]]
        root, first = sketches[-1], sketches[0]
        whole = replace(
            root, sources=first.sources, rounded=any(one.rounded for one in sketches),
            family=first.family if first.family in LINEAR else root.family,
            constants=tuple(dict.fromkeys(constant for one in sketches for constant in one.constants)),
            moved_by=tuple(dict.fromkeys(moved for one in sketches for moved in one.moved_by)),
        )  # fmt: skip
        return {one.name: replace(one, part_of=name) for one in sketches[:-1]} | {name: whole}

    def _parts(self, sketch: Sketch, readers: Counter[str]) -> tuple[str, ...] | None:
        """What the whole that ends here is put together of besides it; None where none does."""
        if all(name in self.members and readers[name] == 1 for name in sketch.sources):
            inner = tuple(one for name in sketch.sources for one in self.members[name])
            read = {self._reads(name) for name in sketch.sources}
            if len(read) == 1 and self._adds(sketch, inner):
                return inner
        starts = sketch.family in LINEAR or sketch.family in SCALES
        return () if starts and len(sketch.sources) == 1 and sketch.constants else None

    def _adds(self, sketch: Sketch, inner: tuple[str, ...]) -> bool:
        if len(sketch.sources) > 1:
            return sketch.family in SUMS and not sketch.constants and len(self._speaks(inner)) <= 1
        own, before = self._speaks((sketch.name,)), self._speaks(inner)
        return sketch.family in (*SUMS, *SCALES) and len(own) == 1 and own == before

    def _reads(self, name: str) -> tuple[str, ...]:
        return self.known[self.members[name][0]].sources

    def _speaks(self, names: Sequence[str]) -> set[str]:
        return {module for name in names for module in self.modules.hints(self.known[name].constants)}


def _single(reference: Sequence[Sketch]) -> set[str]:
    """Rule 4: modules of which one value reads the weights, and that one is no part of a sum."""
    counts = Counter(sketch.module for sketch in reference if sketch.constants)
    nameless = _Wholes.of(reference, Modules(()))
    summed = {one for name in nameless.roots() for one in nameless.members[name]}
    return {one.module for one in reference if counts[one.module] == 1 and one.constants and one.name not in summed}
