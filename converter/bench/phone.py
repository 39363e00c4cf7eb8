"""`mcconvert bench --adb`: the TFLite files of a model on an Android phone, timed by the official `benchmark_model`.

Every turn of a file is a process of its own on the phone; turns of all files alternate in random order, as on this
machine. PyTorch and ONNX Runtime are not there, so that rows have no ratios to them; rounds are kept, and whoever
compares two files pairs them by round.
"""

from __future__ import annotations

import re
import statistics
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from converter import __version__
from converter.bench.adb import Phone
from converter.bench.benchmark_model import Printed, read_output
from converter.bench.ratios import METHOD, timing
from converter.bench.rounds import Said, Settings
from converter.bench.selecting import require_unchanged
from converter.benchmarked import SCHEMA_VERSION, BenchMachine, Benchmark, Measured
from converter.errors import ConversionError, UsageError
from converter.manifest import Manifest, ManifestEntry

FOLDER = "/data/local/tmp"
"""Where the shell's user may write and execute."""
TOOL = "benchmark_model"
COOL_SECONDS = 0.5
"""Between turns, for the phone's cores to cool down a little."""


@dataclass(kw_only=True)
class _Turns:
    printed: list[Printed] = field(default_factory=list)
    why_not: str = ""


def run_on_phone(
    folder: Path, manifest: Manifest, entries: Sequence[ManifestEntry], phone: Phone, binary: Path, settings: Settings,
    say: Said,
) -> Benchmark:  # fmt: skip
    """Measure the TFLite files among `entries` on the phone; the others are rows that say why not.

    Raises:
        UsageError: no entry is a TFLite file, or there is no such binary.
        ParityError: a file is not the one that was proven.
        ConversionError: the phone takes neither binary nor files.
    """
    files = [entry for entry in entries if entry.format == "tflite"]
    if not files:
        message = f"{manifest.model.id} has no TFLite file among those asked for, and {TOOL} runs no other"
        raise UsageError(message)
    if not binary.is_file():
        message = f"--benchmark-binary {binary}: no such file; docs/benchmark-devices.md says where to get {TOOL}"
        raise UsageError(message)
    require_unchanged(folder, files)
    machine = describe_phone(phone)
    there = f"{FOLDER}/mcconvert-{uuid.uuid4().hex[:12]}"
    phone.shell("mkdir", there)
    try:
        turns = _take(phone, folder, files, binary, there, settings, say)
    finally:
        phone.shell("rm", "-r", there)
    rows = [_row(entry, turns.get(entry.step_id), settings) for entry in entries]
    exact = all(one.exact for found in turns.values() for one in found.printed)
    notes = machine.notes if exact else (*machine.notes, f"this {TOOL} gives means and maxima, not medians and p95")
    return Benchmark(
        schema_version=SCHEMA_VERSION, model=manifest.model.id, weights_sha256=manifest.model.weights.sha256,
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), created_by=f"mcconvert {__version__}, adb",
        machine=replace(machine, notes=notes), threads=settings.threads, rounds=settings.rounds, calls=settings.calls,
        warmup=settings.warmup, rows=tuple(rows), method=METHOD,
    )  # fmt: skip


def describe_phone(phone: Phone) -> BenchMachine:
    """What the figures hold for."""
    model = " ".join(filter(None, [phone.fact("ro.product.manufacturer"), phone.fact("ro.product.model")]))
    memory = re.search(r"MemTotal:\s+(\d+) kB", phone.shell("cat", "/proc/meminfo"))
    features = re.search(r"Features\s*:\s*(.*)", phone.shell("cat", "/proc/cpuinfo"))
    wanted = ("asimddp", "i8mm", "fphp", "asimdhp")
    chip = phone.fact("ro.soc.model") or phone.fact("ro.board.platform") or phone.fact("ro.hardware")
    return BenchMachine(
        name=f"{model or 'a phone'} over adb", processor=chip or "unknown processor",
        instructions=tuple(one for one in wanted if features and one in features[1].split()),
        cores=int(phone.shell("nproc").strip() or 0), memory_bytes=1024 * int(memory[1]) if memory else 0,
        system=f"Android {phone.fact('ro.build.version.release')} {phone.fact('ro.product.cpu.abi')}", python="",
        libraries=(TOOL,), load_before=None, notes=("turns are processes of their own; threads are not kept to cores",),
    )  # fmt: skip


def _take(
    phone: Phone, folder: Path, files: Sequence[ManifestEntry], binary: Path, there: str, settings: Settings, say: Said
) -> Mapping[str, _Turns]:
    phone.push(binary, f"{there}/{TOOL}")
    phone.shell("chmod", "755", f"{there}/{TOOL}")
    turns = {entry.step_id: _Turns() for entry in files}
    for entry in files:
        say(f"copying {entry.path} to the phone")
        phone.push((folder / entry.path).resolve(), f"{there}/{_name(entry)}")
    generator = np.random.default_rng(settings.seed)
    for number in range(settings.rounds):
        say(f"round {number + 1} of {settings.rounds} on the phone")
        for entry in _in_turn(files, turns, generator):
            try:
                turns[entry.step_id].printed.append(read_output(phone.shell(*_command(there, entry, settings))))
            except ConversionError as error:  # the row's reason; other files may well run
                turns[entry.step_id].why_not = str(error)
    return turns


def _in_turn(
    files: Sequence[ManifestEntry], turns: Mapping[str, _Turns], generator: np.random.Generator
) -> Iterator[ManifestEntry]:
    alive = [entry for entry in files if not turns[entry.step_id].why_not]
    for index in generator.permutation(len(alive)):
        time.sleep(COOL_SECONDS)
        yield alive[index]


def _command(there: str, entry: ManifestEntry, settings: Settings) -> Sequence[str]:
    """So many calls and no more: the tool's own least times are set to nothing."""
    return (
        f"{there}/{TOOL}", f"--graph={there}/{_name(entry)}", f"--num_threads={settings.threads}",
        f"--num_runs={settings.calls}", f"--warmup_runs={settings.warmup}", "--min_secs=0", "--warmup_min_secs=0",
        "--use_xnnpack=true",
    )  # fmt: skip


def _name(entry: ManifestEntry) -> str:
    """A name that no shell reads as anything else."""
    return f"{entry.sha256[:16]}.tflite"


def _row(entry: ManifestEntry, turns: _Turns | None, settings: Settings) -> Measured:
    row = Measured(
        step_id=entry.step_id, path=entry.path, sha256=entry.sha256, target=entry.target, tower=entry.tower,
        precision=entry.precision, size_bytes=entry.size_bytes, executed_by="",
    )  # fmt: skip
    if turns is None:
        return replace(row, why_not=f"{TOOL} runs TFLite files only")
    if turns.why_not or not turns.printed:
        return replace(row, why_not=turns.why_not or "it was never run")
    rounds = tuple(one.median_ms for one in turns.printed)
    timed = timing([[one] for one in rounds])
    p95 = max(statistics.median(one.p95_ms for one in turns.printed), timed.median)
    peaks = [one.peak_bytes for one in turns.printed if one.peak_bytes is not None]
    return replace(
        row, executed_by=f"{TOOL} on the phone, CPU (XNNPACK), {settings.threads} threads",
        latency_ms=replace(timed, p95=p95, calls=sum(one.calls for one in turns.printed)),
        load_ms=statistics.median(one.load_ms for one in turns.printed), rounds_ms=rounds,
        peak_rss_bytes=max(peaks, default=None),
    )  # fmt: skip
