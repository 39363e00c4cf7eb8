"""The table of `mcconvert diff`: a row a file, then everything else that changed, then what got worse."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from converter.difference import Difference, Figure, FileChange
from converter.report.summary import size_words

_STYLES = {"better": "green", "worse": "red", "neither": ""}
_KINDS = {"added": "green", "removed": "yellow", "changed": "cyan", "same": "dim"}


def print_diff(console: Console, found: Difference, old: str, new: str) -> None:
    """Everything, and a closing line that a log's reader sees last."""
    console.print(_table(found, f"{found.model}: {old} -> {new}"))
    for file in found.files:
        for change in file.changes:
            _say(console, f"{file.step_id}: {change.name}: {change.old} -> {change.new}")
    for change in found.changes:
        _say(console, f"{change.name}: {change.old} -> {change.new}")
    for line in found.broken:
        console.print(Text(f"WORSE {line}", style="bold red"), soft_wrap=True)
    _say(console, closing_line(found))


def closing_line(found: Difference) -> str:
    """How many files are what, and whether a promise was broken."""
    counts = {kind: sum(file.kind == kind for file in found.files) for kind in _KINDS}
    words = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count) or "no files"
    broken = len(found.broken)
    return f"{words}; " + (f"{broken} worse than promised" if broken else "nothing is worse than was promised")


def sizes(file: FileChange) -> str:
    """What it takes, or what it took and takes."""
    if file.old_bytes is None or file.new_bytes is None or file.old_bytes == file.new_bytes:
        return size_words(file.new_bytes or file.old_bytes or 0)
    return f"{size_words(file.old_bytes)} -> {size_words(file.new_bytes)}"


def _say(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def _table(found: Difference, title: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for name in ("file", "bytes", "size", "figures that changed (! where 95 % intervals lie apart)"):
        table.add_column(name, overflow="fold")
    for file in found.files:
        figures = Text("\n").join(_figure(one) for one in file.figures)
        table.add_row(file.step_id, Text(file.kind, style=_KINDS[file.kind]), sizes(file), figures)
    return table


def _figure(one: Figure) -> Text:
    mark = " !" if one.significant else ""
    sense = "" if one.sense == "neither" else f" {one.sense}{mark}"
    return Text(f"{one.name} {one.old:.7g} -> {one.new:.7g}{sense}", style=_STYLES[one.sense])
