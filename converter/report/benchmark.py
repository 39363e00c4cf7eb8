"""Tables of `mcconvert bench`: one run, the history, and what changed since an earlier run."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from converter.benchmarked import BenchMachine, Benchmark, Change, Comparison, Measured, Ratio, Timing
from converter.report.summary import size_words, three_figures

STYLES = {"faster": "green", "slower": "red", "no difference within noise": "dim"}
WIDE = 150
"""Console width from which on throughput and intervals of ratios fit."""


def print_benchmark(console: Console, run: Benchmark, title: str) -> None:
    """A row a file, then what was not measured and why, then what the figures hold for."""
    console.print(_table(run, title, wide=console.width >= WIDE))
    for why, steps in _reasons(run).items():
        _say(console, f"not measured: {', '.join(steps)}: {why}", "yellow")
    for executed_by in dict.fromkeys(row.executed_by for row in run.rows if row.executed_by):
        _say(console, f"run by {executed_by}", "dim")
    _say(console, machine_words(run.machine, run.threads), "dim")
    _say(console, f"{run.rounds} rounds of {run.calls} calls after {run.warmup} to warm up; {run.method}", "dim")
    for note in run.machine.notes:
        _say(console, f"note: {note}", "yellow")


def print_comparison(console: Console, found: Comparison) -> None:
    """A line a file, those that differ first in words, then what the runs do not share."""
    table = Table(title=f"beside {found.old}", title_justify="left", title_style="bold")
    for name in ("file", "before, ms", "now, ms", "now / before", ""):
        table.add_column(name, justify="left" if name in ("file", "") else "right", overflow="fold")
    for change in found.changes:
        table.add_row(*_change_cells(change))
    console.print(table)
    for one in found.together:
        _say(
            console,
            f"all files of the {one.tower} tower together: {ratio_words(one.ratio)} of before, taken out of each ratio "
            f"above; they scatter so that less than a factor of {one.scatter:.2f} says nothing",
        )
    for words, steps in (("measured only before", found.only_old), ("measured only now", found.only_new)):
        if steps:
            _say(console, f"{words}: {', '.join(steps)}")
    if found.differences:
        _say(console, f"not the same: {', '.join(found.differences)}", "yellow")
    _say(console, closing_line(found))


def closing_line(found: Comparison) -> str:
    """How many files are what, and which."""
    if not found.changes:
        return "no file was measured in both runs"
    parts = []
    for verdict in STYLES:
        steps = [change.step_id for change in found.changes if change.verdict == verdict]
        if steps:
            which = "" if verdict.startswith("no") else f": {', '.join(steps)}"
            parts.append(f"{len(steps)} {verdict}{which}")
    return "; ".join(parts)


def print_history(console: Console, runs: Sequence[tuple[str, Benchmark]], unread: Sequence[str]) -> None:
    """A line a run, the oldest first."""
    table = Table(title="benchmarks", title_justify="left", title_style="bold")
    for name in ("file", "when", "machine", "threads", "rows", "fastest image file", "fastest text file"):
        table.add_column(name, overflow="fold")
    for name, run in runs:
        rows = sum(row.latency_ms is not None for row in run.rows)
        table.add_row(name, run.created, f"{run.machine.name}: {run.machine.processor}", str(run.threads), str(rows),
                      _fastest(run, "image"), _fastest(run, "text"))  # fmt: skip
    console.print(table)
    for line in unread:
        _say(console, f"not read: {line}", "yellow")


def machine_words(machine: BenchMachine, threads: int) -> str:
    """The machine in one line."""
    load = f", load before {machine.load_before:.2f}" if machine.load_before is not None else ""
    instructions = f" ({', '.join(machine.instructions)})" if machine.instructions else ""
    return (
        f"{machine.name}: {machine.processor}{instructions}, {threads} of {machine.cores} cores, "
        f"{machine.memory_bytes / 2**30:.0f} GiB, {machine.system}{load}; {', '.join(machine.libraries)}"
    )


def timing_words(timed: Timing) -> str:
    """The median with its interval: "41.2 [40.8, 41.9]"."""
    low, high = timed.interval
    return f"{three_figures(timed.median)} [{three_figures(low)}, {three_figures(high)}]"


def ratio_words(found: Ratio) -> str:
    """A ratio with its interval: "0.52 [0.51, 0.54]"."""
    low, high = found.interval
    return f"{_share(found.value)} [{_share(low)}, {_share(high)}]"


def _table(run: Benchmark, title: str, *, wide: bool) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("file", overflow="fold")
    names = ["size", "load\nms", "median, ms\n95 % interval", "p95\nms", "beside\nPyTorch", "beside\nONNX Runtime",
             "peak\nMiB"]  # fmt: skip
    for name in [*names, *(["inputs a second\nby batch"] if wide else [])]:
        table.add_column(name, justify="right", no_wrap=True)
    for row in run.rows:
        cells = _cells(row, wide=wide)
        table.add_row(*(cells if wide else cells[:-1]), style="" if row.latency_ms else "dim")
    return table


def _reasons(run: Benchmark) -> dict[str, list[str]]:
    """The rows without figures, by what they have to say."""
    reasons: dict[str, list[str]] = {}
    for row in run.rows:
        if row.why_not:
            reasons.setdefault(row.why_not, []).append(row.step_id)
    return reasons


def _cells(row: Measured, *, wide: bool) -> list[str]:
    timed = row.latency_ms
    if timed is None:
        return [row.step_id, size_words(row.size_bytes), *["-"] * 7]
    load = "-" if row.load_ms is None else f"{row.load_ms:.0f}"
    peak = "-" if row.peak_rss_bytes is None else f"{row.peak_rss_bytes / 2**20:.0f}"
    rates = "  ".join(f"{one.batch}: {three_figures(one.per_second)}" for one in row.throughput)
    ratios = [_ratio(found, wide=wide) for found in (row.vs_pytorch, row.vs_onnxruntime)]
    return [
        row.step_id,
        size_words(row.size_bytes),
        load,
        timing_words(timed),
        three_figures(timed.p95),
        *ratios,
        peak,
        rates,
    ]


def _ratio(found: Ratio | None, *, wide: bool) -> str:
    if found is None:
        return "-"
    return ratio_words(found) if wide else _share(found.value)


def _change_cells(change: Change) -> list[str | Text]:
    said = change.verdict if change.same_file else f"{change.verdict}; the file is another one"
    return [change.step_id, three_figures(change.old_ms), three_figures(change.new_ms), ratio_words(change.ratio),
            Text(said, style=STYLES[change.verdict])]  # fmt: skip


def _fastest(run: Benchmark, tower: str) -> str:
    timed = [(row.latency_ms.median, row.step_id) for row in run.rows if row.latency_ms and row.tower == tower]
    return f"{min(timed)[1].partition('/')[2]}, {three_figures(min(timed)[0])} ms" if timed else "-"


def _share(value: float) -> str:
    """Two places, or two digits that mean something."""
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def _say(console: Console, line: str, style: str = "") -> None:
    console.print(line, style=style, highlight=False, markup=False, soft_wrap=True)
