"""The closing table of a run or of a verification, and its last line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from converter.records import Interval, ParityReport, StageResult

STYLES = {"PASSED": "green", "FAILED": "red", "ERROR": "bold red", "BLOCKED": "yellow"}
WIDE, MIDDLE = 150, 133
"""Console widths from which on all of the table fits, and all but the intervals."""
COLUMNS = (
    ("file", 0),
    ("size", MIDDLE),
    ("centred cosine\nmin / mean", 0),
    ("SQNR\ndB", MIDDLE),
    ("max abs", MIDDLE),
    ("top-5\nkept", 0),
    ("spread", MIDDLE),
    ("stress\ncosine", MIDDLE),
    ("verdict", 0),
)
"""Names of the table's columns, and how wide a console must be for each."""


def print_summary(console: Console, results: Sequence[StageResult], title: str) -> None:
    """A row a result, what ran them, cautions, every failure in words, then one line that names what did not pass."""
    rows = [result for result in results if result.requested]
    console.print(_table(rows, title, console.width))
    for line in _executors(rows):
        console.print(line, style="dim", highlight=False, markup=False, soft_wrap=True)
    for line in _cautions(rows):
        console.print(line, style="yellow", highlight=False, markup=False, soft_wrap=True)
    for result in rows:
        for failure in (*result.failures, *([result.reason] if result.status in ("ERROR", "BLOCKED") else [])):
            text = Text(f"{result.status} {result.step_id}: {failure}", style=STYLES[result.status])
            console.print(text, soft_wrap=True)
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


def three_figures(value: float) -> str:
    """Three figures, as far as they mean anything: times in milliseconds, inputs a second."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def executed_words(executed_by: str, reports: Sequence[ParityReport]) -> str:
    """What ran files, how many values it computed where that was counted, and what was read in them beside."""
    words = [executed_by]
    if values := sum(report.values_executed for report in reports):
        words.append(f"{values:.1e} values executed".replace("e+0", "e").replace("e+", "e"))
    if tensors := sum(report.structure.tensors for report in reports if report.structure):
        words.append(f"{tensors} tensors compared")
    return "; ".join(words)


def share_words(share: float, interval: Interval | None) -> str:
    """A share of agreement with the range that it may have for other samples: "0.991 [0.978, 0.998]"."""
    return f"{share:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")


def _table(rows: Sequence[StageResult], title: str, width: int) -> Table:
    shown = [index for index, (_, least) in enumerate(COLUMNS) if width >= least]
    table = Table(title=title, title_justify="left", title_style="bold", caption=None)
    for index in shown:
        name = COLUMNS[index][0]
        text = name in ("file", "verdict")
        table.add_column(name, justify="left" if text else "right", no_wrap=name != "file", overflow="fold")
    for result in rows:
        cells = _cells(result, intervals=width >= WIDE)
        table.add_row(*(cells[index] for index in shown))
    return table


def _cells(result: StageResult, *, intervals: bool) -> list[Text | str]:
    size = size_words(result.artifact.size_bytes) if result.artifact else "-"
    verdict = result.status if result.required else f"{result.status} (not required)"
    return [result.step_id, size, *_figures(result, intervals=intervals), Text(verdict, style=STYLES[result.status])]


def _figures(result: StageResult, *, intervals: bool) -> list[str]:
    report = result.vs_reference
    if report is None or not report.outputs:
        return ["-"] * 6
    output, ranking, stress = report.outputs[0], report.ranking, report.stress
    return [
        f"{output.centred_cosine_min:.6f} / {output.centred_cosine_mean:.6f}",
        f"{output.sqnr_db:.1f}",
        f"{output.max_abs:.1e}",
        share_words(ranking.top_k, ranking.top_k_interval if intervals else None) if ranking else "-",
        f"{output.spread:.2f}",
        f"{stress.cosine_min:.6f}" if stress else "-",
    ]


def _executors(rows: Sequence[StageResult]) -> Iterator[str]:
    """What ran the files, a line for each target and engine; a file of its own where values were counted."""
    reports: dict[tuple[str, str], list[ParityReport]] = {}
    for report, step_id in ((result.vs_reference, result.step_id) for result in rows):
        if report is not None:
            name = step_id if report.values_executed else step_id.split("/")[1]
            reports.setdefault((name, report.executed_by), []).append(report)
    for (name, executed_by), several in reports.items():
        count = "" if "/" in name else f"{len(several)} "
        yield f"{name}: {count}run by {executed_words(executed_by, several)}"


def _cautions(rows: Sequence[StageResult]) -> Iterator[str]:
    """What a verdict does not prove, a line for all files that share it."""
    files: dict[str, list[str]] = {}
    for result in rows:
        for caution in result.vs_reference.cautions if result.vs_reference else ():
            files.setdefault(caution, []).append(result.step_id)
    for caution, ids in files.items():
        yield f"CAUTION {', '.join(ids)}: {caution}"
