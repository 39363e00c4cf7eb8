"""Where a file parts from the reference: the verdict in words, and a table of layers along the depth."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from converter.explained import Explanation, Layer

BAR_CELLS = 12
BAR_TOP_DB = 128.0
"""A full bar: float32 rounding alone leaves about as much."""
EQUAL_DB = 200.0
WAY_NAMES = 3
MISSING_NAMES = 5
END = "(after the tower)"
"""Stands for the root module, which scales embeddings to length 1."""


def verdict_lines(explained: Explanation) -> list[str]:
    """The verdict first, then what speaks for it."""
    lines = [*_lost(explained), *_parting(explained)]
    if explained.also:
        others = ", ".join(_place(explained.layers[index]) for index in explained.also[:5])
        more = f" and {len(explained.also) - 5} more" if len(explained.also) > 5 else ""
        lines.append(f"also lose more by themselves than a healthy {explained.precision} layer does: {others}{more}")
    return [*lines, _basis(explained), *_missing(explained)]


def layers_view(explained: Explanation, *, every: bool) -> RenderableType:
    """Verdict and table, for the screen and for a picture."""
    words = [Text(line, style=_style(explained) if number == 0 else "") for number, line in
             enumerate(verdict_lines(explained))]  # fmt: skip
    return Group(*words, layers_table(explained, every=every))


def layers_table(explained: Explanation, *, every: bool) -> Table:
    """A row a module with its last value, or with `every` a row a value."""
    table = Table(title=f"{explained.entry}: {explained.file}", title_justify="left")
    table.add_column("", no_wrap=True)
    table.add_column("module", overflow="fold")
    table.add_column("kind", no_wrap=True)
    table.add_column("SQNR dB", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("by itself", justify="right", no_wrap=True)
    table.add_column("worst", justify="right", no_wrap=True)
    table.add_column("on", overflow="ellipsis", no_wrap=True, max_width=20)
    table.add_column("matched by", no_wrap=True)
    if every:
        table.add_column("value of the file", overflow="fold")
    for index, layer in enumerate(explained.layers):
        if every or layer.ends_module or index in _marked(explained):
            table.add_row(*_cells(explained, index, every=every), style=_row_style(explained, index))
    return table


def _lost(explained: Explanation) -> list[str]:
    lost = explained.nonfinite
    if lost is None:
        return []
    where = f" in {lost.module}" if lost.module else ""
    return [f"{lost.kind} '{lost.name}'{where} is the first to give NaN or infinity: {lost.count} numbers on "
            f"{lost.sample}"]  # fmt: skip


def _parting(explained: Explanation) -> list[str]:
    bound = f"{explained.bound_db:.1f} dB ({explained.bound_why})"
    if explained.suspect is None:
        if explained.nonfinite is not None:
            return []
        low = min(explained.layers, key=lambda layer: layer.sqnr_db)
        end = explained.end_db if explained.end_db is not None else explained.layers[-1].sqnr_db
        return [f"holds all along: {db_words(end)} at the end, no layer at fault; lowest {db_words(low.sqnr_db)} at "
                f"{_place(low)}; bound {bound}"]  # fmt: skip
    layer = explained.layers[explained.suspect]
    figures = f"{db_words(layer.in_db)} in, {db_words(layer.sqnr_db)} out, {db_words(layer.own_db)} by itself"
    if explained.first_below is None:
        head = (f"holds, but {_place(layer)} loses more by itself than a healthy {explained.precision} layer does: "
                f"{figures}; nothing ends below {bound}")  # fmt: skip
        return [head, *_hints(layer)]
    first = explained.layers[explained.first_below]
    below = "there" if explained.first_below == explained.suspect else f"at {_place(first)}"
    fault = "" if layer.own_db is None or layer.own_db < layer.own_floor_db else " (losses add up; most come from here)"
    head = f"parts at {_place(layer)}: {figures}{fault}; first below {bound} {below}"
    return [head, *_hints(layer), f"worst on {layer.worst_sample}: {db_words(layer.worst_db)}"]


def _hints(layer: Layer) -> list[str]:
    """What the layer's numbers tell, and what only the file has before it: a fault may as well lie there."""
    lines = [layer.remark] if layer.remark else []
    if layer.by_way_of:
        more = f" and {len(layer.by_way_of) - WAY_NAMES} more" if len(layer.by_way_of) > WAY_NAMES else ""
        lines.append(f"the file gets there by way of {', '.join(layer.by_way_of[:WAY_NAMES])}{more}")
    return lines


def _basis(explained: Explanation) -> str:
    return (
        f"{len(explained.layers)} of {explained.reference_values} values of the PyTorch tower matched with the file's "
        f"{explained.candidate_values}, over {len(explained.samples)} samples; run by {explained.executed_by}"
    )


def _missing(explained: Explanation) -> list[str]:
    names = explained.unmatched
    more = f" and {len(names) - MISSING_NAMES} more" if len(names) > MISSING_NAMES else ""
    return [f"the file has no value for {', '.join(names[:MISSING_NAMES])}{more}"] if names else []


def db_words(figure: float | None) -> str:
    """A figure as people read it."""
    if figure is None:
        return "not known"
    return "equal" if figure >= EQUAL_DB else "lost" if figure <= -EQUAL_DB else f"{figure:.1f} dB"


def _place(layer: Layer) -> str:
    inside = f" with {', '.join(layer.inside)} in one operation" if layer.inside else ""
    return f"{layer.module or END} ({layer.kind}){inside}"


def _cells(explained: Explanation, index: int, *, every: bool) -> list[str | Text]:
    layer = explained.layers[index]
    cells: list[str | Text] = [
        _mark(explained, index), layer.module or END, layer.kind,
        _short(layer.sqnr_db), _bar(layer.sqnr_db, explained.bound_db), _short(layer.own_db),
        _short(layer.worst_db), layer.worst_sample, f"{layer.how} {layer.confidence:.2f}",
    ]  # fmt: skip
    return [*cells, f"{layer.candidate_kind} {layer.candidate}"] if every else cells


def _short(figure: float | None) -> str:
    return "-" if figure is None else db_words(figure).removesuffix(" dB")


def _bar(figure: float, bound_db: float) -> Text:
    full = round(BAR_CELLS * min(1.0, max(0.0, figure / BAR_TOP_DB)))
    style = "red" if figure < bound_db else "green"
    return Text("█" * full, style=style) + Text("·" * (BAR_CELLS - full), style="dim")


def _mark(explained: Explanation, index: int) -> str:
    if index == explained.suspect:
        return ">"
    return "<" if index == explained.first_below else "!" if index in explained.also else ""


def _marked(explained: Explanation) -> Sequence[int | None]:
    return (explained.suspect, explained.first_below, *explained.also)


def _row_style(explained: Explanation, index: int) -> str:
    return "bold red" if index == explained.suspect else "yellow" if index in explained.also else ""


def _style(explained: Explanation) -> str:
    return "bold red" if explained.parts else "yellow" if explained.suspect is not None else "bold green"
