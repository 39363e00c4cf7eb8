"""What changed between two versions, in Markdown for a pull request: promises broken first, then a row a file."""

from __future__ import annotations

from collections.abc import Iterator

from converter.difference import Difference, Figure, FileChange
from converter.report.diff import closing_line, sizes
from converter.report.markdown_report import folded, plain

ICONS = {"better": "🟢 ", "worse": "🔴 ", "neither": ""}


def lines(found: Difference, old: str, new: str) -> Iterator[str]:
    """All of it, a line each; files that are the same are only counted."""
    yield f"### {'❌' if found.broken else '✅'} {plain(found.model)}: {plain(old)} → {plain(new)}"
    yield from ("", f"{closing_line(found)}.", "")
    yield from (f"- **worse** {plain(line)}" for line in found.broken)
    moved = [one for one in found.files if one.kind != "same" or one.figures or one.changes]
    if moved:
        yield ""
        yield "| file | bytes | size | figures that changed (! where 95 % intervals lie apart) |"
        yield "|---|---|---:|---|"
        yield from (_row(one) for one in moved)
    facts = [f"- {plain(one.step_id)}: {_change(change.name, change.old, change.new)}" for one in moved
             for change in one.changes]  # fmt: skip
    facts += [f"- {_change(one.name, one.old, one.new)}" for one in found.changes]
    if facts:
        yield ""
        yield from folded(f"What else is another now: {len(facts)}", facts)


def _row(file: FileChange) -> str:
    figures = "<br>".join(_figure(one) for one in file.figures)
    return f"| {plain(file.step_id)} | {file.kind} | {sizes(file)} | {figures} |"


def _figure(one: Figure) -> str:
    mark = " !" if one.significant else ""
    sense = "" if one.sense == "neither" else f" {one.sense}{mark}"
    return f"{ICONS[one.sense]}{plain(one.name)} {one.old:.7g} → {one.new:.7g}{sense}"


def _change(name: str, old: str, new: str) -> str:
    return f"{plain(name)}: {plain(old)} → {plain(new)}"
