"""The closing table of a run or of a verification, and its last line."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from converter.records import StageResult

STYLES = {"PASSED": "green", "FAILED": "red", "ERROR": "bold red", "BLOCKED": "yellow"}


def print_summary(console: Console, results: Sequence[StageResult], title: str) -> None:
    """A row a result, then every failure in words, then one line that names what did not pass."""
    rows = [result for result in results if result.requested]
    console.print(_table(rows, title, console.width))
    for result in rows:
        for failure in (*result.failures, *([result.reason] if result.status in ("ERROR", "BLOCKED") else [])):
            line = Text(f"{result.status} {result.step_id}: {failure}", style=STYLES[result.status])
            console.print(line, soft_wrap=True)
        if result.status == "ERROR" and result.log:
            console.print(f"  log: {result.log}", highlight=False, markup=False, soft_wrap=True)
    console.print(closing_line(rows), highlight=False, markup=False, soft_wrap=True)


def closing_line(results: Sequence[StageResult]) -> str:
    """How many rows passed, and the name of every row that did not."""
    required = [result for result in results if result.required]
    passed = sum(result.status == "PASSED" for result in required)
    line = f"{passed} of {len(required)} required rows PASSED"
    broken = [f"{result.step_id} {result.status}" for result in required if result.status != "PASSED"]
    optional = [result for result in results if not result.required]
    excused = [f"{result.step_id} {result.status}" for result in optional if result.status != "PASSED"]
    if broken:
        line += f"; not passed: {', '.join(broken)}"
    if excused:
        line += f"; not passed, not required: {', '.join(excused)}"
    return line


def size_words(size_bytes: int) -> str:
    """A size as people write it."""
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 1e5 else f"{size_bytes / 1e3:.1f} kB"


def _table(rows: Sequence[StageResult], title: str, width: int) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", caption=None)
    table.add_column("file", overflow="fold")
    for name in ("size", "centred cosine\nmin / mean", "SQNR\ndB", "max abs", "top-5\nkept", "spread"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    if width >= 130:
        table.add_column("proven by")
    for result in rows:
        table.add_row(*_cells(result)[: len(table.columns)])
    return table


def _cells(result: StageResult) -> list[Text | str]:
    size = size_words(result.artifact.size_bytes) if result.artifact else "-"
    verdict = Text(_verdict(result), style=STYLES[result.status])
    return [result.step_id, size, *_figures(result), verdict, _proven_by(result)]


def _figures(result: StageResult) -> list[str]:
    report = result.vs_reference
    if report is None or not report.outputs:
        checked = f"{report.structure.tensors} tensors" if report and report.structure else "-"
        return [checked, "-", "-", "-", "-"]
    output, ranking = report.outputs[0], report.ranking
    return [
        f"{output.centred_cosine_min:.6f} / {output.centred_cosine_mean:.6f}",
        f"{output.sqnr_db:.1f}",
        f"{output.max_abs:.1e}",
        f"{ranking.top_k:.3f}" if ranking else "-",
        f"{output.spread:.2f}",
    ]


def _verdict(result: StageResult) -> str:
    structure_only = result.vs_reference is not None and result.vs_reference.structure is not None
    words: str = result.status
    if structure_only and result.status == "PASSED":
        words = "PASSED, not run"
    return words if result.required else f"{words} (not required)"


def _proven_by(result: StageResult) -> str:
    return result.vs_reference.executed_by if result.vs_reference else "-"
