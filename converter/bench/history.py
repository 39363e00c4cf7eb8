"""Runs of the benchmark as files: written, found again, and taken in from other machines.

`benchmarks/<created>-<id>.json` in the model's folder; the id is the beginning of the content's sha256. What comes from
elsewhere is believed only after checking: its size, its form, its numbers, and that every file it measured is, byte for
byte, one of the manifest's.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from converter.benchmarked import BENCHMARKS, PYTORCH, SCHEMA_VERSION, BenchMachine, Benchmark, Measured, Ratio
from converter.errors import UsageError
from converter.files import write_atomically
from converter.manifest import Manifest
from converter.records import from_json, to_json

MOST_BYTES = 4 * 2**20
"""The longest run has 200 kB."""
MOST_ROWS, MOST_ROUNDS, MOST_CHARACTERS = 2000, 1000, 500
CREATED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run and the file that holds it."""

    path: Path
    benchmark: Benchmark


def write_run(folder: Path, run: Benchmark) -> Path:
    """Write the run into the model's history; the same run twice is one file."""
    data = to_json(run)
    stamp = run.created.replace("-", "").replace(":", "")
    path = folder / BENCHMARKS / f"{stamp}-{hashlib.sha256(data).hexdigest()[:8]}.json"
    write_atomically(path, data)
    return path


def read_run(path: Path) -> Run:
    """The run in a file.

    Raises:
        UsageError: it cannot be read, is too long, or is no run; the message names the field.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            message = f"{path}: {path.stat().st_size:,} bytes; a run of 'mcconvert bench' has at most {MOST_BYTES:,}"
            raise UsageError(message)
        run = from_json(path.read_bytes(), Benchmark)
    except OSError as error:
        message = f"{path}: {error.strerror or error}; expected a run of 'mcconvert bench'"
        raise UsageError(message) from error
    except msgspec.DecodeError as error:
        message = f"{path}: not a run of 'mcconvert bench': {error}"
        raise UsageError(message) from error
    problems = list(_problems(run))
    if problems:
        message = f"{path}: not a run of 'mcconvert bench': {'; '.join(problems[:5])}"
        raise UsageError(message)
    return Run(path=path, benchmark=run)


def read_history(folder: Path) -> tuple[list[Run], list[str]]:
    """All runs of a model, the oldest first, and why others could not be read."""
    runs, unread = [], []
    for path in sorted((folder / BENCHMARKS).glob("*.json")):
        try:
            runs.append(read_run(path))
        except UsageError as error:
            unread.append(str(error))
    return sorted(runs, key=lambda run: (run.benchmark.created, run.path.name)), unread


def previous_run(runs: list[Run], run: Benchmark) -> Run | None:
    """The newest run before this one, of the same machine, with as many threads."""
    alike = [
        one
        for one in runs
        if machine_key(one.benchmark.machine) == machine_key(run.machine)
        and one.benchmark.threads == run.threads
        and one.benchmark.created <= run.created
        and one.benchmark != run
    ]
    return alike[-1] if alike else None


def machine_key(machine: BenchMachine) -> tuple[object, ...]:
    """What makes two runs comparable in milliseconds."""
    return (machine.name, machine.processor, machine.instructions, machine.cores, machine.system)


def take_in(folder: Path, manifest: Manifest, path: Path) -> Path:
    """Check a run that another machine made, and write it into the history.

    Raises:
        UsageError: it is no run, or of another model.
    """
    run = read_run(path).benchmark
    if run.model != manifest.model.id:
        message = f"{path}: measured {run.model}; {folder} holds {manifest.model.id}"
        raise UsageError(message)
    known = {entry.sha256: entry for entry in manifest.artifacts}
    strangers = [row for row in run.rows if row.target != PYTORCH and row.sha256 not in known]
    mistaken = [row for row in run.rows if row.sha256 in known and known[row.sha256].step_id != row.step_id]
    if strangers or mistaken:
        words = [f"{row.path or row.step_id} (sha256 {row.sha256[:12] or 'none'})" for row in strangers]
        words += [f"{row.step_id}, whose sha256 is that of {known[row.sha256].step_id}" for row in mistaken]
        message = (
            f"{path}: measured what {folder / 'manifest.json'} does not list: {', '.join(words[:5])}; figures count "
            "only for the very files that were proven: measure those, then take the run in again"
        )
        raise UsageError(message)
    return write_run(folder, run)


def _problems(run: Benchmark) -> Iterator[str]:
    """What the types of the records do not say."""
    if run.schema_version != SCHEMA_VERSION:
        yield f"schema_version is {run.schema_version}, this version reads {SCHEMA_VERSION}"
    if not CREATED.fullmatch(run.created):
        yield f"created is '{run.created[:40]}', expected a time in UTC such as 2026-01-31T12:00:00Z"
    if not 0 < len(run.rows) <= MOST_ROWS:
        yield f"it has {len(run.rows)} rows, expected 1 to {MOST_ROWS}"
    ids = [row.step_id for row in run.rows]
    if len(set(ids)) < len(ids):
        yield f"{next(one for one in ids if ids.count(one) > 1)[:80]} is there twice"
    for text in _texts(run):
        if len(text) > MOST_CHARACTERS or not text.isprintable():
            yield f"'{text[:40]!r}...' is no line of at most {MOST_CHARACTERS} printable characters"
    for row in run.rows[:MOST_ROWS]:
        yield from (f"{row.step_id[:80]}: {problem}" for problem in _problems_of(row))


def _texts(run: Benchmark) -> Iterator[str]:
    machine = run.machine
    yield from (run.model, run.created_by, run.method, machine.name, machine.processor, machine.system, machine.python)
    yield from (*machine.instructions, *machine.libraries, *machine.notes)
    for row in run.rows[:MOST_ROWS]:
        yield from (row.step_id, row.path, row.sha256, row.target, row.executed_by)


def _problems_of(row: Measured) -> Iterator[str]:
    timed = row.latency_ms
    if timed is None:
        if not row.why_not:
            yield "neither measured nor said why not"
        return
    if not 0 < len(row.rounds_ms) <= MOST_ROUNDS:
        yield f"{len(row.rounds_ms)} rounds, expected 1 to {MOST_ROUNDS}"
    ratios = [found for found in (row.vs_pytorch, row.vs_onnxruntime) if isinstance(found, Ratio)]
    numbers = [timed.median, timed.p95, *timed.interval, *row.rounds_ms, *(one.per_second for one in row.throughput)]
    numbers += [number for found in ratios for number in (found.value, *found.interval)]
    if not all(math.isfinite(number) and number > 0 for number in numbers):
        yield "a time, a ratio or a rate that is not above zero and finite"
    spans = [(timed.median, timed.interval), *((found.value, found.interval) for found in ratios)]
    if any(not low <= value <= high for value, (low, high) in spans):
        yield "an interval that does not hold its own figure"
    if row.size_bytes < 0 or (row.load_ms or 0) < 0 or (row.peak_rss_bytes or 0) < 0:
        yield "a negative size or time"
