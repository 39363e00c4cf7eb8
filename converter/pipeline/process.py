"""Start a step's process, watch its time and memory, stop it with everything it started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from converter.pipeline.leftovers import SCRATCH, end_leftovers
from converter.records import Limits

POLL_SECONDS = 0.2
LOG_LIMIT_BYTES = 256 * 2**20
"""What a step may print: a converter that never stops talking would fill the disk with its log."""
Stopped = Literal["", "time", "memory", "log", "interrupted"]


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a process ended. `returncode` is negative for a signal."""

    returncode: int
    seconds: float
    peak_rss_bytes: int
    stopped: Stopped = ""


class MemoryMeter:
    """The resident memory of all running steps together, and its peak."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now: dict[int, int] = {}
        self.peak_bytes = 0

    def update(self, pid: int, rss_bytes: int) -> None:
        """Set one tree's memory; 0 removes it."""
        with self._lock:
            self._now[pid] = rss_bytes
            self.peak_bytes = max(self.peak_bytes, sum(self._now.values()))


def run_worker(
    folder: Path, log: Path, limits: Limits, threads: int, stop: threading.Event, meter: MemoryMeter
) -> Ended:
    """Run the job in `folder` in a process group of its own until it ends, exceeds a limit, or `stop` is set."""
    log.parent.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "converter.pipeline.worker", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches the run, which then stops its steps
            env=_environment(folder, threads),
        )
        try:
            peak, stopped = _watch(process, log, limits, stop, begun, meter)
        finally:
            _kill_group(process)
            end_leftovers(folder)
            meter.update(process.pid, 0)
    return Ended(returncode=process.returncode, seconds=time.monotonic() - begun, peak_rss_bytes=peak, stopped=stopped)


def describe(ended: Ended, limits: Limits) -> str:
    """Why a process that wrote no outcome ended, and what to do."""
    if ended.stopped == "time":
        return f"stopped after {limits.seconds / 60:.0f} minutes: it hangs, or --set limits.minutes=... is too low"
    if ended.stopped == "memory":
        gib = limits.memory_bytes / 2**30
        return f"stopped at {gib:.1f} GiB of memory: raise --set limits.memory_gib=..., or take a smaller model"
    if ended.stopped == "log":
        return f"stopped after printing {LOG_LIMIT_BYTES / 2**20:.0f} MiB: its log, cut there, says what it repeats"
    if ended.returncode == -signal.SIGKILL:
        return (
            "its process was killed (SIGKILL), most likely by the system for want of memory: close other programs, use "
            "--jobs 1, then run again"
        )
    if ended.returncode < 0:
        name = _signal_name(-ended.returncode)
        return (
            f"its process crashed natively ({name}), inside a converter's or a runtime's own library: its log may say "
            "more; run again, and 'mcconvert doctor' lists the libraries"
        )
    return f"its process ended with exit code {ended.returncode} and left no result: its log may say why"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal has no name
        return f"signal {number}"


def _watch(
    process: subprocess.Popen[bytes], log: Path, limits: Limits, stop: threading.Event, begun: float,
    meter: MemoryMeter,
) -> tuple[int, Stopped]:  # fmt: skip
    peak = 0
    while process.poll() is None:
        rss = _tree_rss(process.pid)
        meter.update(process.pid, rss)
        peak = max(peak, rss)
        if stop.is_set():
            return peak, "interrupted"
        if rss > limits.memory_bytes:
            return peak, "memory"
        if time.monotonic() - begun > limits.seconds:
            return peak, "time"
        if log.stat().st_size > LOG_LIMIT_BYTES:
            return peak, "log"
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(POLL_SECONDS)
    return peak, ""


def _tree_rss(pid: int) -> int:
    """Resident bytes of a process and all that it started."""
    import psutil

    total = 0
    with contextlib.suppress(psutil.Error):
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += process.memory_info().rss
    return total


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _environment(folder: Path, threads: int) -> dict[str, str]:
    """The user's environment, with threads bounded, networks off, and temporary files inside the step's folder."""
    scratch = folder / "tmp"
    scratch.mkdir(exist_ok=True)
    return os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin while they wait take the cores from the step beside
        "OPENBLAS_NUM_THREADS": "1",  # its threads wait by spinning: five times the work where cores are shared
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONHASHSEED": "0",
        SCRATCH: str(scratch.absolute()),
    }
