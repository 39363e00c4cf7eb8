"""What was found, for eyes: a table a query, a column a file, and the differences below it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Column, Table
from rich.text import Text

from converter.retrieved import Contrast, Hit, Indexed, Searched

SHOWN_NAMES = 5


def searched_table(searched: Searched) -> Table:
    """A row a photograph that one of them returned; its rank and score in every file. What a file left out is dim."""
    title = Text(f"{searched.kind}: {searched.query[:120]}", style="bold")
    table = Table(Column("photo", overflow="fold"), title=title, title_justify="left")
    for answer in searched.answers:
        table.add_column(answer.space, justify="right", overflow="fold")
    for one in searched.union:
        name = Text(one.name).append("  the query itself" if one.is_query else "", style="italic")
        table.add_row(name, *(_cell(hit, searched.top) for hit in one.places))
    return table


def contrast_line(one: Contrast) -> str:
    """One file against the first, in a line."""
    scores = f"scores differ by up to {one.score_difference:.2g}"
    if not one.missing and not one.added:
        order = "in the same order" if one.same_order else "in another order"
        return f"{one.other} and {one.first}: same {one.returned} photos, {order}; {scores}"
    tie = f"; ties, within {one.tie_margin:g}" if one.tied else ""
    return (
        f"{one.other} and {one.first}: {one.shared} of {one.returned} photos shared; {one.first} has "
        f"{_names(one.missing)}, {one.other} has {_names(one.added)}{tie}; {scores}"
    )


def indexed_line(one: Indexed, seconds: float) -> str:
    """What became of an index, in a line."""
    speed = f", {one.embedded / seconds:.0f} a second" if one.embedded and seconds > 0 else ""
    unread = f", {len(one.unread)} unreadable" if one.unread else ""
    return (
        f"{one.space}: {one.photographs} photographs; {one.embedded} embedded{speed}, {one.kept} kept, {one.reused} "
        f"known by their bytes, {one.removed} gone{unread}"
    )


def _cell(hit: Hit, top: int) -> Text:
    if hit.rank and hit.rank <= top:
        return Text(f"{hit.rank}  {hit.score:.4f}")
    return Text(f"({hit.rank or 'beyond'})  {hit.score:.4f}", style="dim yellow")


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return ", ".join(names[:SHOWN_NAMES]) + more if names else "none instead"
