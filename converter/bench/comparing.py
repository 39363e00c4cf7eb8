"""Two runs of one benchmark on one machine: which files became slower or faster, beyond noise.

1. Each file: the median of its rounds now over the median of its rounds then.
2. With three files or more of a tower in both runs, what these share (the median over files) is the machine's, or a
   library's: it is a figure of its own, `together`, and is taken out of each file's ratio. A change of one file hardly
   moves it. Towers are measured one after the other, and a machine changes meanwhile.
3. Intervals: rounds of both runs are drawn anew, the same rounds for all files of a run, and 1 and 2 repeated.
4. A file counts as slower or faster when its whole interval lies beyond `MARGIN`, and beyond what files scatter around
   `together`: rounds of one run cannot tell how a run as a whole differs from the next (memory laid out otherwise,
   another clock frequency, a load that hits long calls more than short ones), but files that did not change can. The
   scatter is 1.4826 times the median absolute deviation of logarithms, which is their standard deviation without
   outliers (Rousseeuw & Croux, JASA 88, 1993), and `SIGMAS` of it count.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from converter.bench.ratios import SEED, Figures, draw, interval
from converter.benchmarked import Benchmark, Change, Comparison, Measured, Ratio, Together, Verdict
from converter.records import TOWERS, Tower

MARGIN = 0.05
"""Rule 4: the least that is called a difference."""
SIGMAS, DEVIATION = 3.0, 1.4826
"""Rule 4."""
SHARED = 3
"""Rule 2: with fewer files, one that changed would be half of what they share."""


def compare_runs(old: Benchmark, new: Benchmark, old_name: str, new_name: str) -> Comparison:
    """Every file that both measured, by step."""
    before, after = _timed(old), _timed(new)
    changes: list[Change] = []
    together: list[Together] = []
    for tower in TOWERS:
        shared = [step for step, row in after.items() if step in before and row.tower == tower]
        if shared:
            found, common = _changes(tower, [(before[step], after[step]) for step in shared])
            changes += found
            together += [common] if common else []
    return Comparison(
        old=old_name, new=new_name, together=tuple(together), changes=tuple(changes),
        only_old=tuple(step for step in before if step not in after),
        only_new=tuple(step for step in after if step not in before), differences=_differences(old, new),
    )  # fmt: skip


def _timed(run: Benchmark) -> dict[str, Measured]:
    return {row.step_id: row for row in run.rows if row.rounds_ms and row.latency_ms is not None}


def _changes(tower: Tower, pairs: Sequence[tuple[Measured, Measured]]) -> tuple[list[Change], Together | None]:
    """Rules 1 to 4 for the files of one tower."""
    generator = np.random.default_rng(SEED)
    olds, old_draws = _medians([old for old, _ in pairs], generator)
    news, new_draws = _medians([new for _, new in pairs], generator)
    raw, raw_draws = np.log(news / olds), np.log(new_draws / old_draws)
    several = len(pairs) >= SHARED
    common, common_draws = (
        (np.median(raw), np.median(raw_draws, axis=1)) if several else (0.0, np.zeros(len(raw_draws)))
    )
    own, own_draws = raw - common, raw_draws - common_draws[:, None]
    bound = max(1 + MARGIN, float(np.exp(SIGMAS * DEVIATION * np.median(np.abs(own))))) if several else 1 + MARGIN
    changes = []
    for index, (old, new) in enumerate(pairs):
        found = _ratio(own[index], own_draws[:, index])
        changes.append(
            Change(
                step_id=new.step_id, old_ms=float(olds[index]), new_ms=float(news[index]), ratio=found,
                raw=_ratio(raw[index], raw_draws[:, index]), verdict=verdict(found, bound),
                same_file=old.sha256 == new.sha256,
            )
        )  # fmt: skip
    return changes, Together(tower=tower, ratio=_ratio(common, common_draws), scatter=bound) if several else None


def verdict(found: Ratio, bound: float = 1 + MARGIN) -> Verdict:
    """Rule 4: whether the whole interval lies beyond a factor of `bound`."""
    low, high = found.interval
    if low > bound:
        return "slower"
    return "faster" if high < 1 / bound else "no difference within noise"


def _medians(rows: Sequence[Measured], generator: np.random.Generator) -> tuple[Figures, Figures]:
    """(files,) medians of the rounds, and (draws, files) those of rounds drawn anew; rule 3."""
    rounds = min(len(row.rounds_ms) for row in rows)
    figures = np.array([row.rounds_ms[:rounds] for row in rows])
    drawn = draw(rounds, generator)
    draws = np.stack([np.median(one[drawn], axis=1) for one in figures], axis=1)  # a file at a time: memory
    return np.median(figures, axis=1), draws


def _ratio(value: float, draws: Figures) -> Ratio:
    return Ratio(value=float(np.exp(value)), interval=interval(np.exp(draws)))


def _differences(old: Benchmark, new: Benchmark) -> tuple[str, ...]:
    before, after = (dict(_split(one) for one in run.machine.libraries) for run in (old, new))
    changed = [
        f"{name} {before[name]} -> {after[name]}" for name in after if before.get(name, after[name]) != after[name]
    ]
    facts = {
        "weights": (old.weights_sha256[:12], new.weights_sha256[:12]),
        "threads": (str(old.threads), str(new.threads)),
        "made by": (old.created_by, new.created_by),
        "Python": (old.machine.python, new.machine.python),
    }
    return (*changed, *(f"{name} {one} -> {other}" for name, (one, other) in facts.items() if one != other))


def _split(library: str) -> tuple[str, str]:
    name, _, version = library.partition(" ")
    return name, version
