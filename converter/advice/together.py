"""Both towers' files in one app, and files beside an index that PyTorch made: what `matrix.json` says of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from converter.advised import Candidate, TowerAdvice
from converter.agreement import REFERENCE, Agreement, TowerPair
from converter.records import from_json

MATRIX, MANIFEST = "matrix.json", "manifest.json"


def tell_together(folder: Path, towers: Sequence[TowerAdvice]) -> tuple[str, ...]:
    """Sentences on the winners used together."""
    winners = [(one, one.winner) for one in towers if one.winner is not None]
    if not winners:
        return ()
    agreement, why_not = _read(folder)
    lines = list(_towers_apart(winners))
    if agreement is None:
        return (
            *lines,
            f"whether an index can be shared was not looked up ({why_not}): mcconvert verify {folder} --matrix",
        )
    for advice, winner in winners:
        lines += _beside_pytorch(agreement, advice, winner, folder)
    return (*lines, *_zero_shot(agreement, [winner for _, winner in winners]))


def _towers_apart(winners: Sequence[tuple[TowerAdvice, Candidate]]) -> Iterator[str]:
    """Both towers embed into one space, for they were made from one set of weights; precision is another matter."""
    if len(winners) < 2:
        advice, winner = winners[0]
        yield f"only the {advice.tower} tower has a file to ship: {winner.path}"
        return
    precisions = {winner.precision for _, winner in winners}
    if len(precisions) > 1:
        words = " with ".join(f"{winner.precision} ({advice.tower})" for advice, winner in winners)
        yield f"the towers differ in precision: {words}; each was proven against PyTorch, not against the other"


def _beside_pytorch(agreement: Agreement, advice: TowerAdvice, winner: Candidate, folder: Path) -> Iterator[str]:
    row = winner.step_id.partition("/")[2]
    matrix = next((one for one in agreement.towers if one.tower == advice.tower), None)
    pair = next((one for one in matrix.pairs if {one.one, one.other} == {REFERENCE, row}), None) if matrix else None
    if pair is None:
        yield f"{row}, {advice.tower} tower: {MATRIX} does not compare it: mcconvert verify {folder} --matrix"
        return
    yield (
        f"{row}, {advice.tower} tower: an index that PyTorch made and this file searches gives "
        f"{_searched_by(pair, row):.1%} of the {pair.ranking.k} best that PyTorch gives"
    )


def _searched_by(pair: TowerPair, row: str) -> float:
    """The share for queries embedded by `row` against PyTorch's gallery."""
    return pair.mixed_of_one if pair.other == row else pair.mixed_of_other


def _zero_shot(agreement: Agreement, winners: Sequence[Candidate]) -> Iterator[str]:
    rows = {winner.step_id.partition("/")[2] for winner in winners}
    if len(winners) < 2 or agreement.zero_shot is None:
        return
    if len(rows) > 1:
        yield "images against captions were not compared for these two files together, only for files of one row"
        return
    (row,) = rows
    for pair in agreement.zero_shot.pairs:
        if {pair.one, pair.other} == {REFERENCE, row}:
            yield f"{row}, both towers: {pair.captions.top1:.1%} of images get the caption that PyTorch gives them"


def _read(folder: Path) -> tuple[Agreement | None, str]:
    path = folder / MATRIX
    try:
        if path.stat().st_mtime_ns < (folder / MANIFEST).stat().st_mtime_ns:
            return None, f"{MATRIX} is older than the manifest"
        return from_json(path.read_bytes(), Agreement), ""
    except OSError:
        return None, f"there is no {MATRIX}"
    except msgspec.DecodeError as error:
        return None, f"{MATRIX} cannot be read: {error}"
