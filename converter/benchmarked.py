"""The frozen records of `mcconvert bench`: what each file costs, measured side by side in one run.

Beside `converter.records`, whose rules hold here too. Measuring is left to `bench`, a document is one run: it lies as
`benchmarks/<created>-<id>.json` in the model's folder, and another machine (a phone, a Mac) writes the same form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from converter.records import Interval, Precision, Tower

BENCHMARKS = "benchmarks"
"""The folder beside the manifest that holds the history, a file a run."""
SCHEMA_VERSION = 1
PYTORCH = "pytorch"
"""The target of the row that is the unmodified model, run by PyTorch eager."""
Verdict = Literal["faster", "slower", "no difference within noise"]


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
    measured; the figures are None then. `rounds_ms` is the median of each round's calls, in order: round r of one row
    and round r of another were measured next to each other, and ratios are taken from such pairs.
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
    rounds_ms: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One run. `created` is the time in UTC, as 2026-01-31T12:00:00Z; `rounds` how often every file had its turn.

    `method` says how times and intervals were taken.
    """

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
    method: str = ""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One file in two runs on one machine, new over old.

    `ratio` has that taken out by which all files of the tower differ (`Comparison.together`), `raw` has not.
    `same_file` says whether both runs measured the same bytes.
    """

    step_id: str
    old_ms: float
    new_ms: float
    ratio: Ratio
    raw: Ratio
    verdict: Verdict
    same_file: bool


@dataclass(frozen=True, kw_only=True)
class Together:
    """What the files of one tower, which were measured side by side, share in two runs: the median of new over old.

    `scatter` is the factor by which a file must lie apart from it to say anything: unchanged files lie within.
    """

    tower: Tower
    ratio: Ratio
    scatter: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A run beside an earlier one. `together` has no tower with fewer than three files in both.

    `differences` names what else is not the same: library versions, the model's weights.
    """

    old: str
    new: str
    together: tuple[Together, ...]
    changes: tuple[Change, ...]
    only_old: tuple[str, ...]
    only_new: tuple[str, ...]
    differences: tuple[str, ...]
