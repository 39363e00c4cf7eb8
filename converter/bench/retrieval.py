"""How memory and time of indexing grow with the number of photographs: both sides from one run.

Each size is indexed from nothing by `mcconvert search` in a process of its own, on pictures made here, then once more
with nothing to do. A peak that grew with the photographs' pixels would show: 10,000 of them are 2 GB decoded.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

SIZES = (200, 1_000, 10_000)
SIDES = (320, 240)
COARSE = (8, 6)
"""Squares of colour across a picture, so that no two are alike and a JPEG of one is small."""


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m converter.bench.retrieval", description=__doc__)
    parser.add_argument("--with", dest="file", required=True, help="what embeds, as 'mcconvert search --with' takes it")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of photographs")
    parser.add_argument("--json", type=Path, default=None, help="also write the figures to this file")
    options = parser.parse_args(arguments)
    rows = []
    for size in options.sizes:
        with tempfile.TemporaryDirectory(prefix="mcconvert-bench-") as scratch:
            rows.append(measure(Path(scratch), size, options.file))
        print(line(rows[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 0


def measure(scratch: Path, size: int, file: str) -> dict[str, float]:
    """Seconds and peak resident memory of a first indexing, and of a second with nothing to do."""
    photographs = scratch / "photographs"
    make_pictures(photographs, size)
    command = ["search", "--index", str(photographs), "--index-cache", str(scratch / "indexes"), "--with", file]
    first_seconds, first_bytes = _run(command)
    again_seconds, again_bytes = _run(command)
    kept = sum(path.stat().st_size for path in (scratch / "indexes").rglob("*") if path.is_file())
    return {
        "photographs": size, "first_seconds": first_seconds, "first_peak_bytes": first_bytes,
        "again_seconds": again_seconds, "again_peak_bytes": again_bytes, "index_bytes": kept,
    }  # fmt: skip


def line(row: dict[str, float]) -> str:
    """One size, for eyes."""
    first, again = (
        f"{row[f'{run}_seconds']:.1f} s, peak {row[f'{run}_peak_bytes'] / 2**20:.0f} MiB" for run in ("first", "again")
    )
    return f"{row['photographs']:,} photographs: {first}; again {again}; on disk {row['index_bytes'] / 2**20:.1f} MiB"


def make_pictures(folder: Path, size: int) -> None:
    """So many JPEGs of coloured squares, no two alike, 320 x 240."""
    from PIL import Image

    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number in range(size):
        squares = generator.integers(0, 256, (*reversed(COARSE), 3), np.uint8)
        picture = Image.fromarray(squares).resize(SIDES, Image.Resampling.BICUBIC)
        picture.save(folder / f"{number:05d}.jpg", quality=90)


def _run(command: Sequence[str]) -> tuple[float, int]:
    """(seconds, peak resident bytes) of one command, which must succeed."""
    begun = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "converter.cli", *command],
        env=os.environ | {"MCCONVERT_WATCHED": "1"}, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        message = f"mcconvert {' '.join(command)} ended with {process.returncode}"
        raise RuntimeError(message)
    unit = 1 if sys.platform == "darwin" else 1024
    return time.monotonic() - begun, usage.ru_maxrss * unit


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
