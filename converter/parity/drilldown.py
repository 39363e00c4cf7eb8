"""Measure a file against the PyTorch reference at every value that the two have in common.

Two figures a pair. From the input on: both sides run by themselves. By itself: the reference is fed, operation by
operation, with what the file computed before, so that only what this operation loses counts. That run serves the
alignment too, since behind a break values agree in no other way:

1. the file runs on the first sample; its values are kept, and sketched
2. the reference runs by itself; what the file computes in parts is put together (`wholes`), and the two are aligned by
   names, kinds, values and order
3. the reference runs on the file's values by that alignment, and is aligned anew
4. where the file goes on with another value than the matched one, that one is matched (`wiring`)
5. for each sample both runs of the reference are compared with the file's values, and energies are added up
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from converter.errors import ParityError
from converter.parity.alignment import Pair, align
from converter.parity.axes import Axes, exchanged, find_axes, laid_out
from converter.parity.compare import one_sample
from converter.parity.energies import Energies, count_nonfinite, energies_of
from converter.parity.sketches import Sketch, Sketcher, distances, moments
from converter.parity.wholes import gathered
from converter.parity.wiring import StandIn, apart, heals, rewired, stand_ins
from converter.records import TensorSpec
from converter.runtimes import Arrays, Observed, Observer

Array = npt.NDArray[Any]
Said = Callable[[str], None]
FAR_OFF = 0.25
"""Noise above this share of the signal may be numbers in wrong places; less cannot."""
SAME_NUMBERS = 0.01
"""Moments of rounded values lie nearer than this share of their spread; those of other values do not."""


class Steered(Protocol):
    """A reference that goes on with what is sent back for a value."""

    executed_by: str

    def observe(self, arrays: Arrays) -> Generator[Observed, Array | None, None]:
        """Every computed value in order of execution."""
        ...


@dataclass(frozen=True, kw_only=True)
class Side[Watched: (Observer, Steered)]:
    """One side's observer and the inputs that it takes."""

    observer: Watched
    specs: tuple[TensorSpec, ...]


@dataclass(frozen=True, kw_only=True)
class Lost:
    """A value of the file that is not finite everywhere: the sample's index, its name and kind, how many numbers."""

    sample: int
    name: str
    kind: str
    count: int


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was seen: both sides' sketches in order of execution, pairs, and the energies and remark of each pair.

    `end` has the energies at the file's last matched value about the reference's mean, where that mean was given.
    """

    reference: tuple[Sketch, ...]
    candidate: tuple[Sketch, ...]
    pairs: tuple[Pair, ...]
    energies: tuple[Energies, ...]
    remarks: tuple[str, ...]
    end: Energies
    lost: Lost | None
    """The first value that is not finite where the reference's is; None where all are."""


def measure(
    reference: Side[Steered],
    candidate: Side[Observer],
    inputs: Arrays,
    centre: Array | None = None,
    said: Said = lambda _line: None,
) -> Measured:
    """Align the two sides on the first sample and compare them on every one; `inputs` as `load_inputs` gives them.

    `centre` is the mean of the reference's embeddings, (d,).

    Raises:
        ParityError: no value of the file could be matched with the reference's last one.
    """
    count = len(next(iter(inputs.values())))
    seen = _Seen.of(candidate, inputs, 0)
    said(f"sample 1 of {count}: the file computes {len(seen.sketches)} values")
    ours, theirs, pairs = _aligned(reference, seen, inputs)
    if not pairs or pairs[-1].reference != len(ours) - 1:
        shape = f"embedding of {ours[-1].size} numbers" if ours else "result"
        message = (
            f"none of the file's {len(seen.sketches)} values answers to the reference's {shape} "
            f"({len(pairs)} of its {len(ours)} values are matched): another model's file?"
        )
        raise ParityError(message)
    said(f"{len(pairs)} of the reference's {len(ours)} values matched")
    compared = _Compared(pairs={ours[pair.reference].name: pair for pair in pairs}, theirs=theirs, centre=centre)
    lost = None
    for sample in range(count):
        if sample:
            said(f"sample {sample + 1} of {count}")
            seen = _Seen.of(candidate, inputs, sample)
        compared.add(reference, fed(reference.specs, inputs, sample), seen.values)
        lost = lost or compared.first_lost(seen)
    order = [ours[pair.reference].name for pair in pairs]
    return Measured(
        reference=tuple(ours), candidate=tuple(compared.theirs), pairs=tuple(pairs), lost=lost, end=compared.end,
        energies=tuple(compared.energies[name] for name in order),
        remarks=tuple(pair.note or compared.remarks.get(name, "") for pair, name in zip(pairs, order, strict=True)),
    )  # fmt: skip


def fed(specs: Sequence[TensorSpec], inputs: Arrays, sample: int) -> dict[str, Array]:
    """One sample as the artifact takes it.

    Raises:
        ParityError: the samples lack an input that the artifact declares.
    """
    missing = next((spec.name for spec in specs if spec.name not in inputs), None)
    if missing is not None:
        message = f"the file takes '{missing}', the samples are {', '.join(inputs)}: the other tower's file?"
        raise ParityError(message)
    return one_sample(inputs, sample, specs)


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """The file's values on one sample; `lost` are those that are not finite everywhere."""

    values: Mapping[str, Array]
    sketches: list[Sketch]
    lost: list[Lost]

    @classmethod
    def of(cls, candidate: Side[Observer], inputs: Arrays, sample: int) -> _Seen:
        sketcher, lost = Sketcher(sketched=not sample), []
        values: dict[str, Array] = {}
        for observed in candidate.observer.observe(fed(candidate.specs, inputs, sample)):
            count = count_nonfinite(observed.value) if observed.value.dtype.kind == "f" else 0
            if count:
                lost.append(Lost(sample=sample, name=observed.name, kind=observed.kind, count=count))
            if sketcher.add(observed):
                values[observed.name] = observed.value
        return cls(values=values, sketches=list(sketcher.sketches.values()), lost=lost)


def _aligned(reference: Side[Steered], seen: _Seen, inputs: Arrays) -> tuple[list[Sketch], list[Sketch], list[Pair]]:
    """Steps 2 to 4: both sides' sketches and their pairs."""
    arrays = fed(reference.specs, inputs, 0)
    alone, steered = Sketcher(), Sketcher()
    for observed in reference.observer.observe(arrays):
        alone.add(observed)
    ours = list(alone.sketches.values())
    whole = dataclasses.replace(seen, sketches=gathered(ours, seen.sketches))
    pairs = align(ours, whole.sketches)
    values = {ours[pair.reference].name: seen.values[whole.sketches[pair.candidate].name] for pair in pairs}
    for observed, _ in _steer(reference, arrays, values):
        steered.add(observed)
    return ours, whole.sketches, _rewired(reference, arrays, list(steered.sketches.values()), whole)


def _rewired(reference: Side[Steered], arrays: Arrays, ours: Sequence[Sketch], seen: _Seen) -> list[Pair]:
    """Step 4; the reference runs again only where there is something to try."""
    pairs = align(ours, seen.sketches)
    tried = stand_ins(ours, seen.sketches, pairs)
    matched = {ours[pair.reference].name: seen.values[seen.sketches[pair.candidate].name] for pair in pairs}
    without = _noise(reference, arrays, matched) if tried else {}
    healing: list[StandIn] = []
    for group in apart(tried):
        others = {ours[one.reference].name: seen.values[seen.sketches[one.candidate].name] for one in group}
        instead = _noise(reference, arrays, matched | others)
        healing += [one for one in group if heals(one, ours, without, instead)]
    return rewired(ours, seen.sketches, pairs, healing)


def _noise(reference: Side[Steered], arrays: Arrays, values: Mapping[str, Array]) -> dict[str, float]:
    """The share of noise that each operation leaves by itself."""
    shares = {}
    for observed, value in _steer(reference, arrays, values):
        signal, noise = (1.0, 0.0) if value is None else energies_of(observed.value, value)
        shares[observed.name] = noise / signal if signal else math.inf
    return shares


def _steer(
    reference: Side[Steered], arrays: Arrays, values: Mapping[str, Array]
) -> Iterable[tuple[Observed, Array | None]]:
    """Run the reference on those values: what each operation makes of them, and the file's own value in its layout."""
    run = reference.observer.observe(arrays)
    given: Array | None = None
    while True:
        try:
            observed = run.send(given)
        except StopIteration:
            return
        given = _in_layout(values.get(observed.name), observed.value)
        yield observed, given


def _in_layout(value: Array | None, reference: Array) -> Array | None:
    axes = None if value is None else find_axes(value, reference)
    return None if value is None or axes is None else laid_out(value, axes, reference.shape)


@dataclass
class _Compared:
    """What adds up over the samples, by the reference's names. Layouts are chosen on the steered run."""

    pairs: Mapping[str, Pair]
    theirs: Sequence[Sketch]
    centre: Array | None
    energies: dict[str, Energies] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)
    end: Energies = field(default_factory=Energies)
    _axes: dict[str, Axes | None] = field(default_factory=dict)
    _sound: set[str] = field(default_factory=set)

    def add(self, reference: Side[Steered], arrays: Arrays, values: Mapping[str, Array]) -> None:
        """Step 5 for one sample."""
        matched = {name: values[self.theirs[pair.candidate].name] for name, pair in self.pairs.items()}
        for observed, value in _steer(reference, arrays, matched):
            if observed.name in matched:
                self._axes.setdefault(observed.name, find_axes(matched[observed.name], observed.value))
                self._add_own(observed, value)
        for observed in reference.observer.observe(arrays):
            if observed.name in matched:
                self._add(observed, matched[observed.name])

    def first_lost(self, seen: _Seen) -> Lost | None:
        """The first value that is not finite, unless the reference has such values too, as behind a mask of -inf."""
        if not any(energies.nonfinite for energies in self.energies.values()):
            return None
        return next((one for one in seen.lost if one.name not in self._sound), None)

    def _add_own(self, observed: Observed, value: Array | None) -> None:
        energies = self.energies.setdefault(observed.name, Energies())
        if value is None or np.isnan(observed.value).any():
            return
        signal, noise = energies_of(observed.value, value)
        energies.own_signal, energies.own_noise = energies.own_signal + signal, (energies.own_noise or 0.0) + noise
        if noise > FAR_OFF * signal and observed.name not in self.remarks:
            self.remarks[observed.name] = self._remark(observed, value)

    @staticmethod
    def _remark(observed: Observed, value: Array) -> str:
        """What a value that is far off tells of itself; empty where it is simply another."""
        if exchanged(value, observed.value):
            return "it is the reference's once two axes of the same length are exchanged"
        apart = float(distances(moments(observed.value)[None], moments(value)[None])[0, 0])
        return "it holds the reference's numbers in other places" if apart < SAME_NUMBERS else ""

    def _add(self, observed: Observed, value: Array) -> None:
        axes, energies = self._axes[observed.name], self.energies[observed.name]
        moved = None if axes is None else laid_out(value, axes, observed.value.shape)
        more = count_nonfinite(value) - count_nonfinite(observed.value)
        energies.nonfinite += max(0, more)
        if more <= 0:
            self._sound.add(self.theirs[self.pairs[observed.name].candidate].name)
        signal, noise = (0.0, math.inf) if moved is None else energies_of(observed.value, moved)
        energies.signal.append(signal)
        energies.noise.append(noise)
        ends = observed.name == list(self.pairs)[-1]
        if ends and self.centre is not None and observed.value.shape[1:] == self.centre.shape:
            self.end.signal.append(energies_of(observed.value, np.broadcast_to(self.centre, observed.value.shape))[1])
            self.end.noise.append(noise)
