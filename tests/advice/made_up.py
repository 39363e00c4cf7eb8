"""Manifests and benchmarks as data: files of a few bytes, with figures that a test chooses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from converter.bench.history import write_run
from converter.bench.ratios import timing
from converter.benchmarked import SCHEMA_VERSION, BenchMachine, Benchmark, Measured
from converter.files import hash_path
from converter.manifest import Manifest, ManifestEntry
from converter.publishing.manifest import merge, model_part, write_manifest
from converter.records import OutputParity, ParityReport, RankingParity, TensorSpec, Weights
from tests.inference.conftest import SPEC

FORMATS = {"pt": "torchscript", "ptl": "torchscript_lite", "onnx": "onnx", "tflite": "tflite", "mlpackage": "coreml"}
LINUX, ANDROID, IOS = "Linux x86_64", "Android 14 arm64-v8a", "iOS 17.5 arm64"


def entry(folder: Path, step: str, suffix: str, size: int = 1000, cosine: float = 0.999, **facts: Any) -> ManifestEntry:
    """A file of so many bytes, and what the manifest says of it."""
    tower, target, row = step.split("/")
    path = folder / target / f"{tower}_{row}.{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(step.encode().ljust(size, b"."))
    sha256, size_bytes = hash_path(path)
    spec = TensorSpec(name="image", shape=facts.pop("shape", (1, 3, 8, 8)), dtype=facts.pop("dtype", "float32"),
                      layout="NCHW")  # fmt: skip
    known = ManifestEntry(
        step_id=step, target=target, tower=tower, precision="fp32", format=FORMATS[suffix],  # type: ignore[arg-type]
        path=f"{target}/{path.name}", sha256=sha256, size_bytes=size_bytes, inputs=(spec,), outputs=(spec,),
        recipe=None, parent_sha256="", status="PASSED", required=True, not_required_because="", failures=(), notes=(),
        tolerances=(), tie_margin=0.0, size_ratio=None, parity=proof(cosine, sha256), parity_with_parent=None,
        tool_versions={},
    )  # fmt: skip
    return replace(known, **facts)


def proof(cosine: float, sha256: str = "", executed_by: str = "a runtime 1.0, CPU") -> ParityReport:
    """A report with that worst centred cosine."""
    output = OutputParity(
        name="embedding", shape=(8,), max_abs=0.0, cosine_min=cosine, centred_cosine_min=cosine,
        centred_cosine_mean=cosine, sqnr_db=40.0, spread=0.9, worst_index=0, nonfinite=0,
    )  # fmt: skip
    ranking = RankingParity(
        queries=64, k=5, top1=1.0, top_k=1.0, top_k_strict=1.0, kendall_tau=1.0, score_diff_max=0.0, tie_margin=0.0,
        top_k_interval=(0.9, 1.0),
    )  # fmt: skip
    return ParityReport(
        reference="PyTorch", candidate="it", sample_set="64", executed_by=executed_by, outputs=(output,),
        ranking=ranking, candidate_sha256=sha256, passed=True,
    )  # fmt: skip


def write_folder(folder: Path, entries: Sequence[ManifestEntry], *, trained: bool = True) -> Manifest:
    """The manifest beside them."""
    weights = Weights(kind="hub" if trained else "seeded", sha256="a" * 64, trained=trained)
    merged = merge(folder, model_part(SPEC, weights, 20.0), [], entries, {})
    manifest = replace(merged, artifacts=tuple(entries))
    write_manifest(folder / "manifest.json", manifest)
    return manifest


def measured(one: ManifestEntry, rounds_ms: Sequence[float], **facts: Any) -> Measured:
    """A row with those rounds."""
    row = Measured(
        step_id=one.step_id, path=one.path, sha256=one.sha256, target=one.target, tower=one.tower,
        precision=one.precision, size_bytes=one.size_bytes, executed_by="a runtime 1.0, CPU",
        latency_ms=timing([[ms] for ms in rounds_ms]), load_ms=1.0, peak_rss_bytes=2**20, rounds_ms=tuple(rounds_ms),
    )  # fmt: skip
    return replace(row, **facts)


def around(milliseconds: float, seed: int = 0, noise: float = 0.01, rounds: int = 15) -> list[float]:
    """Rounds of about that time."""
    return [float(ms) for ms in milliseconds * np.random.default_rng(seed).lognormal(0.0, noise, rounds)]


def benchmark(rows: Sequence[Measured], **facts: Any) -> Benchmark:
    """A run on a machine called after its system."""
    system = facts.pop("system", LINUX)
    machine = BenchMachine(
        name=facts.pop("name", "this machine"), processor=f"processor of {system}", instructions=(), cores=2,
        memory_bytes=2**34, system=system, python="3.12", libraries=tuple(facts.pop("libraries", ("torch 2.14.1",))),
        load_before=0.0,
    )  # fmt: skip
    run = Benchmark(
        schema_version=SCHEMA_VERSION, model=SPEC.id, weights_sha256="a" * 64, created="2026-01-31T12:00:00Z",
        created_by="mcconvert 0", machine=machine, threads=2, rounds=15, calls=3, warmup=3, rows=tuple(rows),
    )  # fmt: skip
    return replace(run, **facts)


def keep(folder: Path, *pairs: tuple[ManifestEntry, float], **facts: Any) -> Path:
    """A run in the folder's history with a row of about that many milliseconds for each file."""
    rows = [measured(one, around(ms, seed)) for seed, (one, ms) in enumerate(pairs)]
    return write_run(folder, benchmark(rows, **facts))
