"""`make bench`: INT8 files of the S1 towers, plain library calls beside ours, in latency, size and accuracy.

    python -m converter.bench.int8 --folder artifacts/mobileclip_s1 --page docs/int8.md

All sides are made from the same weights and the same calibration samples, opened in this process and run in turn, one
sample at a time, on the same threads: each round takes every file once unmeasured and once measured, and a ratio is the
median of the rounds' ratios. Accuracy is taken on photographs (`converter.bench.photographs`) and captions against the
float32 ONNX file, which equals PyTorch within 1e-6. Without --folder, S1 is exported first, with seeded weights.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from converter.bench.bare_int8 import make
from converter.bench.int8_page import write_page
from converter.bench.machine import describe
from converter.bench.photographs import photograph_views
from converter.manifest import ManifestEntry
from converter.models.catalog import find
from converter.models.samples import write_samples
from converter.publishing.manifest import read_manifest
from converter.records import TOWERS, Artifact, ModelSpec, Tower

Rows = npt.NDArray[Any]
Run = Callable[[Rows], Rows]
ROUNDS = 25
CAPTIONS = 96
REST_SECONDS = 0.05
TOP_K = 5
RECIPES = ("static_w8a8", "dynamic_w8", "weight_only_w8")
FORMATS = ("tflite", "onnx")
REFERENCE = "onnx fp32"
WANTED = ("--target", "tflite", "--target", "onnx", "--quant", "fp32", "--quant", "int8")


@dataclass(frozen=True, kw_only=True)
class Figures:
    """One file. Ratios of latency have the middle half of the rounds beside them; accuracy is against float32."""

    name: str
    maker: str
    milliseconds: float
    against_own_fp32: tuple[float, float, float]
    against_onnx_fp32: tuple[float, float, float]
    size_bytes: int
    size_ratio: float
    centred_cosine: float
    top_k_kept: float


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m converter.bench.int8", description=__doc__)
    parser.add_argument("--folder", type=Path, default=None, help="an exported model; one is made if it is not there")
    parser.add_argument("--model", default="mobileclip_s1", help="what is exported without --folder")
    parser.add_argument("--tower", choices=TOWERS, action="append", help="one tower only")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="each file once in each")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, default=None, help="also write the figures to this file")
    parser.add_argument("--page", type=Path, default=None, help="also write the tables into this page")
    options = parser.parse_args(arguments)
    found: dict[str, list[Figures]] = {}
    with tempfile.TemporaryDirectory(prefix="mcconvert-bench-") as scratch:
        folder = options.folder or _export(options.model, "seeded", Path(scratch), *WANTED)
        spec = find(read_manifest(folder).model.id)
        for tower in options.tower or TOWERS:
            files = _files(folder, spec, tower, Path(scratch))
            found[tower] = measure(files, _samples(spec, tower), options.threads, options.rounds)
    note = f"{describe(options.threads)}; {spec.id}, {options.rounds} rounds"
    if options.json:
        figures = {"note": note} | {tower: [asdict(one) for one in rows] for tower, rows in found.items()}
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    write_page(note, found, options.page)
    return 0


def measure(files: Mapping[tuple[str, str], Path], samples: Rows, threads: int, rounds: int) -> list[Figures]:
    """Figures of every file of one tower by (maker, name); `samples` are NCHW floats or rows of tokens."""
    from converter.parity.metrics import compare_outputs
    from converter.parity.ranking import compare_rankings

    with ExitStack() as stack:
        runs = {key: _open(path, threads, stack) for key, path in files.items()}
        seconds = _in_turn(runs, samples, rounds)
        embedded = {key: np.concatenate([run(samples[i : i + 1]) for i in range(len(samples))])
                    for key, run in runs.items()}  # fmt: skip
    reference = ("ours", REFERENCE)
    figures = []
    for key, path in files.items():
        maker, name = key
        own = (maker, f"{name.partition(' ')[0]} fp32")
        rows = embedded[key] / np.linalg.norm(embedded[key], axis=1, keepdims=True)
        figures.append(
            Figures(
                name=name, maker=maker, milliseconds=1e3 * statistics.median(seconds[key]),
                against_own_fp32=_ratio(seconds[key], seconds[own]),
                against_onnx_fp32=_ratio(seconds[key], seconds[reference]),
                size_bytes=_size(path), size_ratio=_size(path) / _size(files[own]),
                centred_cosine=compare_outputs(name, embedded[reference], rows).centred_cosine_mean,
                top_k_kept=compare_rankings(embedded[reference], rows, TOP_K).top_k,
            )
        )  # fmt: skip
    return figures


def _in_turn(runs: Mapping[Any, Run], samples: Rows, rounds: int) -> dict[Any, list[float]]:
    """Seconds of every file in each round, after a rest: ONNX Runtime's threads spin for a while after their work."""
    seconds: dict[Any, list[float]] = {key: [] for key in runs}
    for index in range(rounds):
        one = samples[index % len(samples)][None]
        for key, run in runs.items():
            time.sleep(REST_SECONDS)
            run(one)
            begun = time.perf_counter()
            run(one)
            seconds[key].append(time.perf_counter() - begun)
    return seconds


def _ratio(one: Sequence[float], other: Sequence[float]) -> tuple[float, float, float]:
    """Median of the rounds' ratios, and the quartiles."""
    low, middle, high = statistics.quantiles([a / b for a, b in zip(one, other, strict=True)], n=4)
    return middle, low, high


def _open(path: Path, threads: int, stack: ExitStack) -> Run:
    from converter.runtimes import onnx, tflite

    kind = "onnx" if path.suffix == ".onnx" or path.is_dir() else "tflite"
    artifact = Artifact(
        path=str(path), format=kind, target=kind, tower="image", precision="fp32", inputs=(), outputs=()
    )
    runner = stack.enter_context((onnx if kind == "onnx" else tflite).open_runner(artifact, threads))
    (entry,) = runner.inputs

    def run(rows: Rows) -> Rows:
        given = rows.transpose(0, 2, 3, 1) if kind == "tflite" and rows.ndim == 4 else rows
        return next(iter(runner.infer({entry.name: np.ascontiguousarray(given)}).values()))

    return run


def _files(folder: Path, spec: ModelSpec, tower: Tower, scratch: Path) -> dict[tuple[str, str], Path]:
    """Both sides of every recipe that either has, by (maker, "<format> <recipe>")."""
    ours = _ours(folder, tower)
    calibration = scratch / f"{tower}_calibration.npz"
    write_samples(spec, tower, "calibration", calibration)
    plain = make(folder, tower, calibration, scratch / f"plain_{tower}")
    found = {("plain", name): path for name, path in plain.items()}
    return found | {("ours", name): path for name, path in ours.items()}


def _ours(folder: Path, tower: Tower) -> dict[str, Path]:
    """Our files by "<format> <recipe>", float32 ones as fp32; those of a static batch."""
    found: dict[str, Path] = {}
    for entry in read_manifest(folder).artifacts:
        name = _recipe_of(entry)
        wanted = name in {"fp32", *RECIPES}
        if entry.tower == tower and entry.format in FORMATS and wanted and isinstance(entry.inputs[0].shape[0], int):
            found.setdefault(f"{entry.format} {name}", (folder / entry.path).resolve())
    return found


def _recipe_of(entry: ManifestEntry) -> str:
    return entry.recipe.name if entry.recipe else entry.precision


def _samples(spec: ModelSpec, tower: Tower) -> Rows:
    from converter.models.captions import parity_captions
    from converter.models.preprocessing import normalise, prepare
    from converter.models.tokenizer import tokenize

    if tower == "text":
        return tokenize(parity_captions()[:CAPTIONS], spec)
    pixels = prepare((image for _, image in photograph_views()), spec.preprocessing)
    return normalise(pixels, spec.preprocessing.mean, spec.preprocessing.std)


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _export(model: str, weights: str, out: Path, *wanted: str) -> Path:
    command = [sys.executable, "-c", "from converter.cli import main; main()", "--model", model, "--weights", weights,
               *wanted, "--out", str(out)]  # fmt: skip
    ended = subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if ended.returncode not in (0, 6):  # a row that fails parity was exported all the same
        sys.exit(f"{' '.join(command)} ended with {ended.returncode}")
    return out / model


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
