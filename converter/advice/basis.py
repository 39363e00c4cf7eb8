"""Which benchmark an advice rests on, and which of its rows still count.

1. A row counts when its sha256 is that of the manifest: of another file, its time says nothing.
2. A machine of the platform's own kind goes before one that is near, that before any other.
3. Then the run that measured most of the candidates, then the newest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from converter.advised import Basis, Platform
from converter.bench.history import Run
from converter.benchmarked import PYTORCH, Benchmark, Measured
from converter.manifest import ManifestEntry

KINDS: tuple[Literal["own", "near", "other"], ...] = ("own", "near", "other")


def choose_basis(
    runs: Sequence[Run], platform: Platform, candidates: Sequence[ManifestEntry]
) -> tuple[Basis | None, Mapping[str, Measured]]:
    """The benchmark, and its rows that count by sha256; None where no run measured a candidate."""
    wanted = {entry.sha256: entry.step_id for entry in candidates}
    usable = [run for run in runs if _counting(run.benchmark, wanted)]
    if not usable:
        return None, {}
    best = max(usable, key=lambda run: _order(run.benchmark, platform, wanted))
    rows, machine = _counting(best.benchmark, wanted), best.benchmark.machine
    steps = {entry.step_id: entry.sha256 for entry in candidates}
    stale = [row.step_id for row in best.benchmark.rows if row.step_id in steps and row.sha256 != steps[row.step_id]]
    basis = Basis(
        file=best.path.name, created=best.benchmark.created, kind=kind_of(best.benchmark, platform),
        machine=f"{machine.name}: {machine.processor}, {machine.system}, {best.benchmark.threads} threads",
        stale=tuple(stale),
    )  # fmt: skip
    return basis, rows


def stale_steps(runs: Sequence[Run], candidates: Sequence[ManifestEntry]) -> list[str]:
    """Candidates that were measured, but never with today's bytes."""
    steps = {entry.step_id: entry.sha256 for entry in candidates}
    rows = [row for run in runs for row in run.benchmark.rows if row.target != PYTORCH and row.latency_ms]
    measured = {row.sha256 for row in rows}
    return sorted({row.step_id for row in rows if row.step_id in steps and steps[row.step_id] not in measured})


def kind_of(run: Benchmark, platform: Platform) -> Literal["own", "near", "other"]:
    """How the run's machine is to the platform."""
    system = run.machine.system
    if system.startswith(platform.systems):
        return "own"
    return "near" if platform.near and system.startswith(platform.near) else "other"


def _order(run: Benchmark, platform: Platform, wanted: Mapping[str, str]) -> tuple[int, int, str]:
    return -KINDS.index(kind_of(run, platform)), len(_counting(run, wanted)), run.created


def _counting(run: Benchmark, wanted: Mapping[str, str]) -> dict[str, Measured]:
    """Rule 1."""
    return {row.sha256: row for row in run.rows if row.sha256 in wanted and row.latency_ms and row.target != PYTORCH}
