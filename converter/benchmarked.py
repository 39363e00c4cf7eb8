"""The frozen records of `mcconvert bench`: what each file costs, measured side by side in one run.

Beside `converter.records`, whose rules hold here too. Measuring is left to `bench`, a document is one run: it lies as
`benchmarks/<created>-<id>.json` in the model's folder, and another machine (a phone, a Mac) writes the same form.
"""

from __future__ import annotations

from dataclasses import dataclass

from converter.records import Interval, Precision, Tower

BENCHMARKS = "benchmarks"
"""The folder beside the manifest that holds the history, a file a run."""
SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class BenchMachine:
    """What the figures hold for. `name` is what tables call it: "this machine", "Pixel 8 over adb"."""

    name: str
    processor: str
    instructions: tuple[str, ...]
    cores: int
    memory_bytes: int
    system: str
    python: str
    libraries: tuple[str, ...]
    load_before: float | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """Inputs a second when a call takes `batch` of them."""

    batch: int
    per_second: float


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """A file's time over that of another, measured in alternation; `interval` holds it with 95 % confidence."""

    value: float
    interval: Interval


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Milliseconds of one call with one input, after warming up. `interval` is that of the median, 95 %."""

    median: float
    p95: float
    interval: Interval
    calls: int


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One file in its runtime, in a process of its own; PyTorch eager is a row too, with an empty `path`.

    `load_ms` is from opening the file to being ready, the median of several processes; `peak_rss_bytes` the most
    resident memory of the process beyond what it held before the file was opened. `why_not` says why nothing was
    measured; the figures are None then.
    """

    step_id: str
    path: str
    sha256: str
    target: str
    tower: Tower
    precision: Precision
    size_bytes: int
    executed_by: str
    latency_ms: Timing | None = None
    load_ms: float | None = None
    peak_rss_bytes: int | None = None
    throughput: tuple[Throughput, ...] = ()
    vs_pytorch: Ratio | None = None
    vs_onnxruntime: Ratio | None = None
    why_not: str = ""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One run. `created` is the time in UTC, as 2026-01-31T12:00:00Z; `rounds` how often every file had its turn."""

    schema_version: int
    model: str
    weights_sha256: str
    created: str
    created_by: str
    machine: BenchMachine
    threads: int
    rounds: int
    calls: int
    warmup: int
    rows: tuple[Measured, ...]
