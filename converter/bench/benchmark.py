"""`mcconvert bench`: what every file costs, in every runtime, in one run beside PyTorch eager and ONNX Runtime.

Each file is opened by a worker of its own (`converter.bench.worker`), the unmodified model by another. Files are hashed
before: a figure belongs to the very bytes that were proven. A worker that dies costs its row, never the run.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from converter import __version__
from converter.bench.machine import allowed_cores, this_machine
from converter.bench.memory import allowed_bytes
from converter.bench.messages import Job
from converter.bench.ratios import METHOD, ratio, timing
from converter.bench.rounds import Said, Settings, Taken, measure_group
from converter.bench.selecting import (
    EAGER,
    choose_entries,
    grouped,
    onnx_yardstick,
    opened_as,
    require_unchanged,
    sample_files,
    why_not_here,
)
from converter.benchmarked import PYTORCH, SCHEMA_VERSION, Benchmark, Measured, Ratio, Throughput
from converter.errors import McconvertError, UsageError
from converter.manifest import Manifest, ManifestEntry
from converter.records import ModelSpec, Tower, Weights

FLOAT_BYTES = 4


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What to measure. `weights` is what --weights takes, for the PyTorch row; empty for the manifest's own."""

    towers: tuple[Tower, ...]
    only: tuple[str, ...] = ()
    weights: str = ""


@dataclass(frozen=True, kw_only=True)
class Eager:
    """The unmodified model, or why it cannot be had."""

    spec: ModelSpec | None = None
    weights: Weights | None = None
    why_not: str = ""


def run_benchmark(folder: Path, manifest: Manifest, wanted: Wanted, settings: Settings, say: Said) -> Benchmark:
    """Measure the files of a model's folder on this machine.

    Raises:
        UsageError: nothing is meant by `wanted`, or more threads are asked for than there are cores.
        ParityError: a file is not the one that was proven.
    """
    if settings.threads > len(allowed_cores()):
        message = (
            f"--threads {settings.threads}: this process may use {len(allowed_cores())} cores; threads that share a "
            "core measure their sharing"
        )
        raise UsageError(message)
    entries = choose_entries(manifest, wanted.towers, wanted.only)
    require_unchanged(folder, entries)
    machine, eager = this_machine(), find_eager(manifest, wanted.weights)
    rows: list[Measured] = []
    for tower in wanted.towers:
        of_tower = [entry for entry in entries if entry.tower == tower]
        if of_tower:
            rows += _measure_tower(_Bench(folder, manifest, eager, settings, say), tower, of_tower)
    return Benchmark(
        schema_version=SCHEMA_VERSION, model=manifest.model.id, weights_sha256=manifest.model.weights.sha256,
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), created_by=f"mcconvert {__version__}",
        machine=machine, threads=settings.threads, rounds=settings.rounds, calls=settings.calls,
        warmup=settings.warmup, rows=tuple(rows), method=METHOD,
    )  # fmt: skip


def find_eager(manifest: Manifest, asked: str) -> Eager:
    """The model and the weights that the files were made from."""
    from converter.bench.bare_int8 import weights_wanted
    from converter.models.catalog import find
    from converter.models.weights import resolve

    try:
        spec = find(manifest.model.id)
        weights = resolve(spec, asked or weights_wanted(manifest))
    except McconvertError as error:
        return Eager(why_not=f"{error}; give the weights that the files were made from with --weights")
    if weights.sha256 != manifest.model.weights.sha256:
        seen, expected = weights.sha256[:12], manifest.model.weights.sha256[:12]
        return Eager(why_not=f"the weights found here are {seen}..., the files were made from {expected}...: --weights")
    return Eager(spec=spec, weights=weights)


@dataclass(frozen=True)
class _Bench:
    folder: Path
    manifest: Manifest
    eager: Eager
    settings: Settings
    say: Said


def _measure_tower(bench: _Bench, tower: Tower, entries: Sequence[ManifestEntry]) -> list[Measured]:
    """PyTorch's row first, then the files in the manifest's order."""
    reasons = {entry.step_id: why for entry in entries if (why := why_not_here(entry))}
    runnable = [entry for entry in entries if entry.step_id not in reasons]
    yardstick = onnx_yardstick(bench.manifest, tower)
    yardstick = yardstick if yardstick in runnable else None
    found: dict[str, Measured] = {}
    size = FLOAT_BYTES * sum(bench.eager.spec.parameters.values() if bench.eager.spec else ())  # it is built whole
    for group in grouped(runnable, yardstick, size, allowed_bytes()) if runnable else ():
        for step_id, row in _measure_group(bench, tower, group, yardstick).items():
            found.setdefault(step_id, row)
    rows = [found.get(f"{tower}/{EAGER}") or replace(_eager_row(bench, tower), why_not=bench.eager.why_not)]
    return rows + [
        found.get(entry.step_id) or replace(_row(entry), why_not=reasons.get(entry.step_id, "")) for entry in entries
    ]


def _measure_group(
    bench: _Bench, tower: Tower, group: Sequence[ManifestEntry], yardstick: ManifestEntry | None
) -> dict[str, Measured]:
    eager = f"{tower}/{EAGER}"
    jobs = {entry.step_id: _job(bench, tower, entry) for entry in group}
    if not bench.eager.why_not:
        jobs = {eager: _job(bench, tower, None)} | jobs
    flexible = frozenset({eager} | {entry.step_id for entry in group if not isinstance(entry.inputs[0].shape[0], int)})
    taken = measure_group(
        jobs, flexible, bench.settings, _environment(bench.settings.threads), lambda line: bench.say(f"{tower}: {line}")
    )
    blank = {entry.step_id: _row(entry) for entry in group} | {eager: _eager_row(bench, tower)}
    sides = (taken.get(eager), taken.get(yardstick.step_id) if yardstick else None)
    return {name: _filled(blank[name], one, *sides, batches=bench.settings.batches) for name, one in taken.items()}


def _job(bench: _Bench, tower: Tower, entry: ManifestEntry | None) -> Job:
    settings = bench.settings
    return Job(
        tower=tower, artifact=opened_as(bench.folder, entry) if entry else None,
        spec=None if entry else bench.eager.spec, weights=None if entry else bench.eager.weights,
        samples=sample_files(bench.folder, bench.manifest).get(tower, ""), threads=settings.threads,
        cores=tuple(allowed_cores()[: settings.threads]), warmup=settings.warmup,
    )  # fmt: skip


def _filled(
    row: Measured, taken: Taken, eager: Taken | None, onnx: Taken | None, *, batches: Sequence[int]
) -> Measured:
    """The row with what was measured; one that was lost on the way keeps no figures."""
    if taken.why_not or not taken.rounds:
        return replace(row, executed_by=taken.executed_by, why_not=taken.why_not or "it was never run")
    medians = tuple(statistics.median(calls) for calls in taken.rounds)
    timed = timing(taken.rounds)
    one = [Throughput(batch=1, per_second=1e3 / timed.median)] if 1 in batches else []
    return replace(
        row, executed_by=taken.executed_by, latency_ms=timed, load_ms=statistics.median(taken.load_ms),
        peak_rss_bytes=taken.peak_rss_bytes, throughput=(*one, *sorted(taken.throughput, key=lambda one: one.batch)),
        vs_pytorch=_against(medians, eager), vs_onnxruntime=_against(medians, onnx), rounds_ms=medians,
    )  # fmt: skip


def _against(medians: Sequence[float], other: Taken | None) -> Ratio | None:
    if other is None or other.why_not or len(other.rounds) != len(medians):
        return None
    return ratio(medians, [statistics.median(calls) for calls in other.rounds])


def _row(entry: ManifestEntry) -> Measured:
    return Measured(
        step_id=entry.step_id, path=entry.path, sha256=entry.sha256, target=entry.target, tower=entry.tower,
        precision=entry.precision, size_bytes=entry.size_bytes, executed_by="",
    )  # fmt: skip


def _eager_row(bench: _Bench, tower: Tower) -> Measured:
    """The model has no file; its size is that of its parameters in float32."""
    size = FLOAT_BYTES * (bench.eager.spec.parameters.get(tower, 0) if bench.eager.spec else 0)
    return Measured(
        step_id=f"{tower}/{EAGER}", path="", sha256=bench.manifest.model.weights.sha256, target=PYTORCH, tower=tower,
        precision="fp32", size_bytes=size, executed_by="",
    )  # fmt: skip


def _environment(threads: int) -> Mapping[str, str]:
    """The user's environment, with threads bounded and networks off."""
    return os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "PYTHONHASHSEED": "0",
    }
