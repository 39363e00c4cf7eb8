"""The consistency matrix as people read it: a triangle of coloured cells, the pairs that differ most, plain answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from converter.agreement import (
    Agreement,
    RankAgreement,
    Side,
    TowerMatrix,
    TowerPair,
    ZeroShotMatrix,
    ZeroShotPair,
    ZeroShotSide,
)
from converter.report.answers import five, percent, tower_answer, zero_shot_answer

LEAST_ALIKE = 5
PICTURE_WIDTH = 132
"""Also from how many letters on the lists have all their columns."""
PHONES = ("coreml", "tflite")
"""Targets whose rows meet in the field: iOS and Android, one photo library."""

STOPS = ((0.5, (222, 90, 80)), (0.9, (247, 220, 111)), (1.0, (88, 178, 105)))
"""Colours of cells: red up to half, yellow at nine tenths, green where all agree; between them a mixture."""

Pair = TowerPair | ZeroShotPair


def print_matrix(console: Console, agreement: Agreement) -> None:
    """Everything, laid out for the console's width."""
    console.print(matrix_view(agreement, console.width), highlight=False)


def matrix_view(agreement: Agreement, width: int) -> RenderableType:
    """A triangle, the pairs that are least alike and the answers, for each tower and for both together."""
    parts: list[RenderableType] = []
    for matrix in agreement.towers:
        parts += _tower_part(matrix, agreement.k, width)
    if agreement.zero_shot is not None:
        parts += _zero_shot_part(agreement.zero_shot, agreement.k, width)
    if not agreement.trained:
        parts.append(Text("The weights are not trained: agreement is real, which photo is right is not.", "yellow"))
    parts += [Text(f"took no part: {one.step_id} of {one.folder}: {one.why}", "red") for one in agreement.left_out]
    return Group(*parts)


def triangle(names: Sequence[str], shares: Mapping[tuple[str, str], float], width: int) -> Table:
    """A cell for every pair, in percent, rounded down so that 100 means all."""
    label = max(len(name) for name in names) + len(str(len(names))) + 2
    size = 6 if label + 6 * (len(names) - 1) <= width else 4
    table = Table(box=None, padding=0, pad_edge=False)
    table.add_column("")
    for number in range(1, len(names)):
        table.add_column(Text(str(number).rjust(size - 1)), min_width=size, no_wrap=True)
    for line, name in enumerate(names):
        cells = [_cell(shares[other, name], size) for other in names[:line]]
        table.add_row(f"{line + 1:>{len(str(len(names)))}} {name} ", *cells)
    return table


def least_alike[P: (TowerPair, ZeroShotPair)](pairs: Sequence[P]) -> list[tuple[P, int]]:
    """The pairs that share least of their k best, and how many more pairs have the same figures as each.

    Of equal ones, those whose whole rankings differ most come first. Files of one precision are often equal to the last
    digit shown; a list of all of these would say one thing many times.
    """
    groups: dict[tuple[str, ...], list[P]] = {}
    for pair in sorted(pairs, key=lambda one: (ranking_of(one).top_k_strict, ranking_of(one).kendall_tau)):
        groups.setdefault(_figures(ranking_of(pair)), []).append(pair)
    return [(alike[0], len(alike) - 1) for alike in list(groups.values())[:LEAST_ALIKE]]


def ranking_of(pair: Pair) -> RankAgreement:
    """What a cell of the triangle is about: retrieval in one tower, or the captions of each image."""
    return pair.ranking if isinstance(pair, TowerPair) else pair.captions


def colour(share: float) -> str:
    """The colour of a cell, as #rrggbb."""
    (low, below), (high, above) = next(
        (pair for pair in pairwise(STOPS) if share <= pair[1][0]), (STOPS[-2], STOPS[-1])
    )
    part = min(1.0, max(0.0, (share - low) / (high - low)))
    mixed = (round(a + (b - a) * part) for a, b in zip(below, above, strict=True))
    return "#" + "".join(f"{value:02x}" for value in mixed)


def _tower_part(matrix: TowerMatrix, k: int, width: int) -> list[RenderableType]:
    title = f"{matrix.tower} tower, {matrix.sample_set}: share of the {five(k)} best that both return, in %"
    shares = {(pair.one, pair.other): pair.ranking.top_k_strict for pair in matrix.pairs}
    broken = [
        Text(f"{side.name} gave {side.nonfinite:,} values that are NaN or infinite; they count as 0", "red")
        for side in matrix.sides
        if side.nonfinite
    ]
    said = [Text(tower_answer(pair, matrix.tower)) for pair in _phones(matrix.sides, matrix.pairs)]
    names = [side.name for side in matrix.sides]
    return [
        Text(title, "bold"),
        triangle(names, shares, width),
        *broken,
        "",
        _tower_list(matrix, k, width),
        "",
        *_block(said),
    ]


def _zero_shot_part(matrix: ZeroShotMatrix, k: int, width: int) -> list[RenderableType]:
    """Nothing to compare where no row has both towers: then that alone is said."""
    alone: list[RenderableType] = [
        Text(f"one tower only, so not among images against captions: {', '.join(matrix.alone)}", "yellow")
    ]
    if len(matrix.sides) < 2:
        return alone
    title = (
        f"{matrix.images} images against {matrix.captions} captions: share of an image's {five(k)} best captions, in %"
    )
    shares = {(pair.one, pair.other): pair.captions.top_k_strict for pair in matrix.pairs}
    names = [side.name for side in matrix.sides]
    said = [Text(zero_shot_answer(pair)) for pair in _phones(matrix.sides, matrix.pairs)]
    return [
        Text(title, "bold"),
        triangle(names, shares, width),
        *(alone if matrix.alone else []),
        "",
        _zero_shot_list(matrix, k, width),
        "",
        *_right_part(matrix),
        *_block(said),
    ]


def _block(lines: Sequence[Text]) -> list[RenderableType]:
    return [*lines, ""] if lines else []


def _tower_list(matrix: TowerMatrix, k: int, width: int) -> Table:
    table = _list(k, width, "centred cosine\nmin / mean", "one index", "score\ndifference")
    for pair, more in least_alike(matrix.pairs):
        cosines = f"{pair.centred_cosine_min:.6f} / {pair.centred_cosine_mean:.6f}"
        mixed = f"{percent(pair.mixed_of_one)} / {percent(pair.mixed_of_other)}"
        cells = (_name(pair, more), *_figures(pair.ranking), cosines, mixed, f"{pair.ranking.score_diff_max:.1e}")
        table.add_row(*cells[: len(table.columns)])
    return table


def _zero_shot_list(matrix: ZeroShotMatrix, k: int, width: int) -> Table:
    table = _list(k, width, f"images:\ntop-{k}", "score\ndifference", "probability\ndifference")
    for pair, more in least_alike(matrix.pairs):
        chances = "-" if pair.probability_diff_max is None else f"{pair.probability_diff_max:.1e}"
        others = (percent(pair.images.top_k_strict), f"{pair.captions.score_diff_max:.1e}", chances)
        table.add_row(*(_name(pair, more), *_figures(pair.captions), *others)[: len(table.columns)])
    return table


def _right_part(matrix: ZeroShotMatrix) -> list[RenderableType]:
    """How often each side is right, where the samples tell what is; sides of equal figures in one line."""
    groups: dict[tuple[str, str], list[str]] = {}
    for side in matrix.sides:
        if side.right_caption is not None and side.right_image is not None:
            groups.setdefault((percent(side.right_caption), percent(side.right_image)), []).append(side.name)
    return _block([
        Text(f"right caption for {captions} % of the images, right image for {images} % of the captions: "
             f"{', '.join(names)}")
        for (captions, images), names in groups.items()
    ])  # fmt: skip


def _list(k: int, width: int, *columns: str) -> Table:
    """A table for the cells that fit: the last ones only where there is room."""
    table = Table(title="least alike", title_justify="left", title_style="bold", box=None, padding=(0, 1, 0, 0))
    table.add_column("pair", overflow="fold")
    for name in (
        "top-1",
        f"top-{k}",
        "ties\nforgiven",
        f"same {five(k)}",
        "tau",
        *(columns if width >= PICTURE_WIDTH else ()),
    ):
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _name(pair: Pair, more: int) -> str:
    return f"{pair.one} - {pair.other}" + (f", {more} more alike" if more else "")


def _figures(ranking: RankAgreement) -> tuple[str, ...]:
    shares = (ranking.top1_strict, ranking.top_k_strict, ranking.top_k)
    return (*map(percent, shares), f"{ranking.same_strict} of {ranking.queries}", f"{ranking.kendall_tau:.4f}")


def _phones[P: (TowerPair, ZeroShotPair)](sides: Sequence[Side | ZeroShotSide], pairs: Sequence[P]) -> list[P]:
    """The pairs of a row for iOS with a row for Android."""
    targets = {side.name: side.target for side in sides}
    return [pair for pair in pairs if {targets[pair.one], targets[pair.other]} == set(PHONES)]


def _cell(share: float, size: int) -> Text:
    """One coloured cell; a narrow one has whole percents."""
    shown = percent(share) if size > 4 else percent(share).partition(".")[0]
    return Text(f"{shown:>{size - 1}} ", style=f"#1b1f24 on {colour(share)}")
