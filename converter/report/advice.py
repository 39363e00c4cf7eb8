"""`mcconvert advise` on the screen: the file to ship, the runner-up beside it, and what that rests on."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from converter.advised import Advice, Candidate, TowerAdvice
from converter.report.benchmark import timing_words
from converter.report.summary import share_words, size_words


def print_advice(console: Console, advice: Advice) -> None:
    """A block a tower, then what concerns both."""
    for tower in advice.towers:
        _print_tower(console, advice, tower)
    for line in advice.together:
        _say(console, f"together: {line}")
    for line in advice.caveats:
        _say(console, f"CAUTION {line}", "bold yellow")
    for line in advice.measure:
        _say(console, f"to measure it: {line}")


def left_out_lines(tower: TowerAdvice) -> list[str]:
    """Why files of a tower cannot be shipped, a line for those that share a reason."""
    reasons: dict[str, list[str]] = {}
    for one in tower.left_out:
        reasons.setdefault(one.why, []).append(one.step_id)
    return [f"{', '.join(steps)}: {why}" for why, steps in reasons.items()]


def _print_tower(console: Console, advice: Advice, tower: TowerAdvice) -> None:
    if tower.winner is None:
        _say(console, f"{tower.tower} tower: nothing that PASSED fits {advice.platform}", "bold red")
        for line in left_out_lines(tower):
            _say(console, f"  left out: {line}")
        return
    runtime = advice.runtimes.get(tower.winner.format, "")
    _say(console, f"{tower.tower} tower: ship {tower.winner.path}" + (f", run by {runtime}" if runtime else ""), "bold")
    _say(console, f"  {tower.decided_by}")
    console.print(_table(tower))
    for holds, words in ((True, "easy there"), (False, "not so easy")):
        facts = [fact.name for fact in tower.winner.ease if fact.holds is holds]
        if facts:
            _say(console, f"  {words}: {'; '.join(facts)}")
    for note in tower.winner.notes:
        _say(console, f"  mind: {note}")
    basis = tower.basis
    if basis is not None:
        _say(console, f"  rests on benchmarks/{basis.file} of {basis.created}, {basis.machine}")
    else:
        _say(console, "  rests on the proof in manifest.json alone")
    for line in tower.not_measured:
        _say(console, f"  not measured: {line}", "yellow")
    for line in left_out_lines(tower):
        _say(console, f"  left out: {line}", "dim")


def _table(tower: TowerAdvice) -> Table:
    table = Table()
    for name in (
        "",
        "file",
        "ms, 95 % interval",
        "size",
        "centred cosine, min",
        "top-5 kept",
        "peak MiB",
        "easy there",
    ):
        table.add_column(name, overflow="fold")
    for name, one in (("ship", tower.winner), ("runner-up", tower.runner_up)):
        if one is not None:
            table.add_row(name, one.step_id, *_figures(one))
    return table


def _figures(one: Candidate) -> list[str]:
    if one.latency_ms is not None:
        time = timing_words(one.latency_ms)
    else:
        time = "not measured" if one.proof_ms is None else f"{one.proof_ms:.1f}, in the proof"
    cosine = "-" if one.centred_cosine_min is None else f"{one.centred_cosine_min:.6f}"
    kept = "-" if one.top_k is None else share_words(one.top_k, one.top_k_interval)
    peak = "-" if one.peak_rss_bytes is None else f"{one.peak_rss_bytes / 2**20:.0f}"
    easy = sum(fact.holds for fact in one.ease)
    return [time, size_words(one.size_bytes), cosine, kept, peak, f"{easy} of {len(one.ease)}"]


def _say(console: Console, line: str, style: str = "") -> None:
    console.print(line, style=style, highlight=False, markup=False, soft_wrap=True)
