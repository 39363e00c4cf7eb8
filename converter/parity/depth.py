"""Turn what was measured into layers along the depth, as people and programs read them."""

from __future__ import annotations

from collections.abc import Sequence

from converter.explained import Layer, NonFinite
from converter.parity.drilldown import Measured
from converter.parity.energies import decibels
from converter.parity.metrics import SQNR_CAP_DB
from converter.parity.sketches import Sketch
from converter.parity.suspicion import floor_of
from converter.records import Precision


def layers_of(measured: Measured, precision: Precision, names: Sequence[str]) -> list[Layer]:
    """A layer for every matched value, in the reference's order of execution; `names` are those of the samples."""
    figures = {pair.reference: one.sqnr_db() for pair, one in zip(measured.pairs, measured.energies, strict=True)}
    last = {measured.reference[pair.reference].module: pair.reference for pair in measured.pairs}
    layers = []
    for pair, energies, remark in zip(measured.pairs, measured.energies, measured.remarks, strict=True):
        ours, theirs = measured.reference[pair.reference], measured.candidate[pair.candidate]
        worst_db, worst = energies.worst()
        sources, between = _behind(measured, pair.reference)
        within = dict.fromkeys(measured.reference[row].module for row in between)
        layers.append(Layer(
            module=ours.module, kind=ours.family, name=ours.name, candidate=theirs.name, candidate_kind=theirs.kind,
            how=pair.how, confidence=pair.confidence, sqnr_db=figures[pair.reference], worst_db=worst_db,
            worst_sample=names[worst], in_db=min((figures[row] for row in sources), default=SQNR_CAP_DB),
            own_db=energies.own_db(),
            own_floor_db=floor_of(precision, theirs, measured.candidate, stands_in=bool(pair.note)),
            nonfinite=energies.nonfinite, ends_module=last[ours.module] == pair.reference,
            inside=tuple(module for module in within if module not in ("", ours.module)),
            by_way_of=_by_way_of(measured, theirs), remark=remark,
        ))  # fmt: skip
    return layers


def end_of(measured: Measured) -> float | None:
    """The SQNR of the embeddings about the reference's mean; None where no mean was given."""
    end = measured.end
    return decibels(sum(end.signal), sum(end.noise)) if end.signal else None


def unmatched(measured: Measured) -> tuple[str, ...]:
    """Values of the reference to which none of the file answers, in its order of execution."""
    matched = {pair.reference for pair in measured.pairs}
    return tuple(sketch.name for row, sketch in enumerate(measured.reference) if row not in matched)


def first_lost(measured: Measured, names: Sequence[str]) -> NonFinite | None:
    """The first value that is not finite, with the module of the next matched value."""
    lost = measured.lost
    if lost is None:
        return None
    order = [sketch.name for sketch in measured.candidate]
    at = order.index(lost.name) if lost.name in order else len(order)
    nearest = min(
        (pair for pair in measured.pairs if pair.candidate >= at), key=lambda pair: pair.candidate, default=None
    )
    module = measured.reference[nearest.reference].module if nearest else ""
    return NonFinite(name=lost.name, kind=lost.kind, module=module, sample=names[lost.sample], count=lost.count)


def _by_way_of(measured: Measured, value: Sketch) -> tuple[str, ...]:
    """What the file has between a value and the matched ones behind it, the nearest first."""
    known = {sketch.name: sketch for sketch in measured.candidate}
    matched = {measured.candidate[pair.candidate].name for pair in measured.pairs}
    found, waiting = dict.fromkeys(reversed(value.moved_by)), list(value.sources)
    while waiting:
        sketch = known[waiting.pop()]
        if sketch.name not in matched and sketch.name not in found:
            found |= dict.fromkeys((sketch.name, *reversed(sketch.moved_by)))
            waiting += sketch.sources
    return tuple(found)


def _behind(measured: Measured, row: int) -> tuple[list[int], list[int]]:
    """(matched values that a value was computed from, values without a match between them and it)."""
    index = {sketch.name: number for number, sketch in enumerate(measured.reference)}
    matched = {pair.reference for pair in measured.pairs}
    waiting = [index[name] for name in measured.reference[row].sources]
    found, between = [], []
    while waiting:
        number = waiting.pop()
        if number in matched:
            found.append(number)
        else:
            between.append(number)
            waiting += [index[name] for name in measured.reference[number].sources]
    return found, between
