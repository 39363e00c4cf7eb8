"""`make bench`: wall time and memory of exporting the S1 image tower, ours beside the bare library calls.

Every ratio's two sides are measured in this run, in turn, cold (a fresh cache each time), as whole processes, with
seeded weights on our side and freshly initialised ones on the other. Three comparisons: the bare calls, the bare calls
that also run every file on as many samples as we do, and ours with 1 and 2 steps side by side. Then the warm run, and
the peak memory of the whole tree of processes while both towers are exported.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

POLL_SECONDS = 0.1
ROWS = ("--weights", "seeded", "--tower", "image", "--target", "all")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One command's run as a whole process tree."""

    seconds: float
    peak_rss_bytes: int
    code: int


def main(arguments: Sequence[str]) -> int:
    """Measure, print, and return 1 when a command failed."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--repeats", type=int, default=1, help="runs of each command, in turn; medians are printed")
    parser.add_argument("--skip-memory", action="store_true", help="leave out the export of both towers")
    parser.add_argument("--json", type=Path, default=None, help="also write the figures to this file")
    options = parser.parse_args(arguments)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {options.repeats} run(s) of each")
    figures = {**export_times(options.repeats), **warm_time()}
    if not options.skip_memory:
        figures |= memory()
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


def export_times(repeats: int) -> dict[str, float]:
    """Seconds of each kind of export, and their ratios."""
    runs: dict[str, list[Measured]] = {"bare": [], "bare and checked": [], "jobs 1": [], "jobs 2": []}
    for _ in range(repeats):
        runs["bare"].append(_in_scratch(_bare))
        runs["bare and checked"].append(_in_scratch(_bare, "--check"))
        runs["jobs 1"].append(_in_scratch(_ours, *ROWS, "--jobs", "1"))
        runs["jobs 2"].append(_in_scratch(_ours, *ROWS, "--jobs", "2"))
    seconds = {name: statistics.median(one.seconds for one in measured) for name, measured in runs.items()}
    for name, measured in runs.items():
        peak = max(one.peak_rss_bytes for one in measured) / 2**30
        print(f"export, {name:<17} {seconds[name]:7.1f} s   peak memory of the tree {peak:4.1f} GiB")
    found = {f"{name} seconds": value for name, value in seconds.items()}
    for ours in ("jobs 1", "jobs 2"):
        for bare in ("bare", "bare and checked"):
            ratio = seconds[ours] / seconds[bare]
            found[f"{ours} / {bare}"] = ratio
            print(f"ratio, {ours} / {bare:<17} {ratio:5.2f}")
    return found


def warm_time() -> dict[str, float]:
    """Median seconds of a second run with nothing changed."""
    with tempfile.TemporaryDirectory(prefix="mcconvert-bench-") as folder:
        _ours(Path(folder), *ROWS, "--jobs", "2")
        warm = statistics.median(_ours(Path(folder), *ROWS).seconds for _ in range(5))
    print(f"second run, nothing changed {warm:5.2f} s")
    return {"warm seconds": warm}


def memory() -> dict[str, float]:
    """Peak resident memory of all processes together, both towers."""
    found = {}
    for jobs in ("1", "2"):
        measured = _in_scratch(_ours, "--weights", "seeded", "--jobs", jobs)
        found[f"both towers, jobs {jobs}, seconds"] = measured.seconds
        found[f"both towers, jobs {jobs}, peak GiB"] = measured.peak_rss_bytes / 2**30
        gib = measured.peak_rss_bytes / 2**30
        print(f"both towers, jobs {jobs}: {measured.seconds:6.1f} s, peak memory of the tree {gib:4.1f} GiB")
    return found


def _in_scratch(run: object, *arguments: str) -> Measured:
    with tempfile.TemporaryDirectory(prefix="mcconvert-bench-") as folder:
        measured: Measured = run(Path(folder), *arguments)  # type: ignore[operator]
    return measured


def _bare(folder: Path, *arguments: str) -> Measured:
    return _measure([sys.executable, "-m", "converter.bench.bare_calls", str(folder / "out"), *arguments], folder)


def _ours(folder: Path, *arguments: str) -> Measured:
    command = [str(Path(sys.executable).with_name("mcconvert")), *arguments, "--out", str(folder / "out")]
    return _measure(command, folder)


def _measure(command: Sequence[str], folder: Path) -> Measured:
    begun, peak = time.monotonic(), 0
    environment = os.environ | {"MCCONVERT_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        while process.poll() is None:
            peak = max(peak, _tree_rss(process.pid))
            time.sleep(POLL_SECONDS)
    if process.returncode not in (0, 6):  # a row that fails parity was exported all the same
        print((folder / "log").read_text(encoding="utf-8", errors="replace")[-2000:])
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    return Measured(seconds=time.monotonic() - begun, peak_rss_bytes=peak, code=process.returncode)


def _tree_rss(pid: int) -> int:
    total = 0
    try:
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            total += process.memory_info().rss
    except psutil.Error:
        pass
    return total


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
