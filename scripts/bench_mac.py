#!/usr/bin/env python3
"""Time the Core ML files of a model on a Mac, beside each other, by compute unit.

    pip install coremltools numpy
    python bench_mac.py mobileclip_s1 --units ALL,CPU_ONLY,CPU_AND_NE --out .

The folder is what `mcconvert` exported (artifacts/MODEL), copied to the Mac whole or with `manifest.json` and `coreml`.
Nothing of mcconvert is needed there: Core ML, coremltools and numpy. For each compute unit a file
`MODEL-<unit>.json` is written; take it in where the folder came from:

    mcconvert bench artifacts/mobileclip_s1 --import mobileclip_s1-ALL.json

Every package is loaded once for a unit; all are run in turn, in each round in an order drawn anew, so that heat and
whatever else the Mac does hit all alike. Figures are of `MLModel.predict`, Python's copying of arrays included.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

UNITS = ("ALL", "CPU_ONLY", "CPU_AND_NE", "CPU_AND_GPU")
DRAWS = 4999
METHOD = (
    "Core ML by coremltools, all files loaded in one process, in turns of random order; medians of rounds; 95 % "
    "intervals by the percentile bootstrap over rounds"
)


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the model's folder, with manifest.json and coreml/")
    parser.add_argument("--units", default="ALL,CPU_ONLY,CPU_AND_NE", help=f"of {', '.join(UNITS)}")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=5, help="measured in each round")
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(), help="where the JSON files go")
    options = parser.parse_args()
    wrong = [unit for unit in options.units.split(",") if unit not in UNITS]
    if wrong or options.rounds < 2 or options.calls < 1:
        parser.error(f"unknown compute unit {wrong[0]}" if wrong else "take 2 rounds of 1 call or more")
    manifest = json.loads((options.folder / "manifest.json").read_text(encoding="utf-8"))
    entries = [one for one in manifest["artifacts"] if one["format"] == "coreml"]
    if not entries:
        parser.error(f"{options.folder} has no Core ML file")
    for entry in entries:
        if hash_path(options.folder / entry["path"]) != entry["sha256"]:
            parser.error(f"{entry['path']} is missing, or not the file that was proven: copy the folder again")
    for unit in options.units.split(","):
        path = options.out / f"{manifest['model']['id']}-{unit}.json"
        run = measure(options, manifest, entries, unit)
        path.write_text(json.dumps(run, indent=2) + "\n", encoding="utf-8")
        print(f"wrote {path}")
    return 0


def measure(options: argparse.Namespace, manifest: Any, entries: Any, unit: str) -> dict[str, Any]:
    """One run in the form that `mcconvert bench --import` takes."""
    import coremltools

    load_before = os.getloadavg()[0]
    generator = np.random.default_rng(0)
    sides, rows, rounds = {}, {}, {}
    for entry in entries:
        rows[entry["step_id"]] = row_of(entry)
        begun = time.perf_counter()
        try:
            model = coremltools.models.MLModel(
                str(options.folder / entry["path"]), compute_units=getattr(coremltools.ComputeUnit, unit)
            )
            rows[entry["step_id"]]["load_ms"] = 1e3 * (time.perf_counter() - begun)
            given = inputs_of(entry, generator)
            for _ in range(options.warmup):
                model.predict(given)
        except Exception as error:  # coremltools raises RuntimeError and errors of its Objective-C bridge
            rows[entry["step_id"]]["why_not"] = f"Core ML: {' '.join(str(error).split())[:300]}"
            continue
        sides[entry["step_id"]] = (model, given)
        rounds[entry["step_id"]] = []
    order = random.Random(0)
    for number in range(options.rounds):
        print(f"{unit}: round {number + 1} of {options.rounds}", file=sys.stderr)
        for step in order.sample(sorted(sides), len(sides)):
            rounds[step].append(turn(*sides[step], options.calls))
    for step, calls in rounds.items():
        rows[step] |= figures(calls, unit)
    return {
        "schema_version": 1, "model": manifest["model"]["id"],
        "weights_sha256": manifest["model"]["weights"]["sha256"],
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), "created_by": "bench_mac.py",
        "machine": machine(unit, load_before), "threads": os.cpu_count() or 1, "rounds": options.rounds,
        "calls": options.calls, "warmup": options.warmup, "rows": list(rows.values()), "method": METHOD,
    }  # fmt: skip


def turn(model: Any, given: Any, calls: int) -> list[float]:
    """Milliseconds of each call, after one that is not measured."""
    model.predict(given)
    taken = []
    for _ in range(calls):
        begun = time.perf_counter()
        model.predict(given)
        taken.append(1e3 * (time.perf_counter() - begun))
    return taken


def inputs_of(entry: Any, generator: np.random.Generator) -> dict[str, Any]:
    """Arrays, or a picture for an image type, of the declared shapes; values do not change the time."""
    given: dict[str, Any] = {}
    for spec in entry["inputs"]:
        shape = [size if isinstance(size, int) else 1 for size in spec["shape"]]
        if spec["dtype"] == "uint8":
            from PIL import Image

            pixels = generator.integers(0, 256, (shape[2], shape[3], 3), np.uint8)
            given[spec["name"]] = Image.fromarray(pixels)
        elif spec["dtype"].startswith("int"):
            tokens = np.zeros(shape, np.int32)
            tokens[:, :3] = (49406, 320, 49407)
            given[spec["name"]] = tokens
        else:
            given[spec["name"]] = generator.random(shape, np.float32).astype(spec["dtype"])
    return given


def figures(rounds: list[list[float]], unit: str) -> dict[str, Any]:
    """What a row says of its rounds."""
    medians = np.array([statistics.median(calls) for calls in rounds])
    draws = np.random.default_rng(0).integers(0, len(medians), (DRAWS, len(medians)))
    low, high = np.percentile(np.median(medians[draws], axis=1), [2.5, 97.5])
    return {
        "executed_by": f"Core ML on macOS {platform.mac_ver()[0]}, compute units {unit}",
        "latency_ms": {
            "median": float(np.median(medians)), "p95": float(np.percentile(np.concatenate(rounds), 95)),
            "interval": [float(low), float(high)], "calls": sum(map(len, rounds)),
        },
        "rounds_ms": [float(one) for one in medians],
        "throughput": [{"batch": 1, "per_second": 1e3 / float(np.median(medians))}],
    }  # fmt: skip


def row_of(entry: Any) -> dict[str, Any]:
    """The file of a row."""
    same = ("step_id", "path", "sha256", "target", "tower", "precision", "size_bytes")
    return {name: entry[name] for name in same} | {"executed_by": ""}


def machine(unit: str, load_before: float) -> dict[str, Any]:
    """What the figures hold for; the compute unit is part of the machine's name."""
    memory = sysctl("hw.memsize")
    return {
        "name": f"{sysctl('hw.model') or 'Mac'}, {unit}", "processor": sysctl("machdep.cpu.brand_string") or "unknown",
        "instructions": [], "cores": os.cpu_count() or 1, "memory_bytes": int(memory) if memory.isdigit() else 0,
        "system": f"macOS {platform.mac_ver()[0]} {platform.machine()}", "python": platform.python_version(),
        "libraries": [f"coremltools {version('coremltools')}", f"numpy {version('numpy')}"],
        "load_before": load_before,
        "notes": ["all files were loaded in one process, so that memory was not measured"],
    }  # fmt: skip


def sysctl(name: str) -> str:
    """A fact of the system; empty where it has none."""
    try:
        return subprocess.run(["sysctl", "-n", name], capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        return ""


def hash_path(path: Path) -> str:
    """The sha256 of a file; of a folder, that of its sorted relative paths and their contents, as in manifest.json."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    digest = hashlib.sha256()
    for file in sorted(one for one in path.rglob("*") if one.is_file()):
        digest.update(f"{file.relative_to(path).as_posix()}\0{hash_path(file)}\0".encode())
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
