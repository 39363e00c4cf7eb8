"""A model's folder that may be published: tiny files, and parity as comparing real arrays gives it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from converter.build import Material
from converter.files import hash_path
from converter.manifest import Manifest, ManifestEntry
from converter.parity.compare import compare
from converter.parity.judge import judge
from converter.publishing.manifest import write_manifest
from converter.publishing.provenance import write_provenance
from converter.records import ParityReport, TensorSpec, Tolerance, Tower, Weights
from tests.publishing.folders import SMALL_SBOM, make_build, make_manifest

TRAINED = Weights(kind="hub", sha256="1" * 64, trained=True)
TOLERANCES = (
    Tolerance(metric="centred_cosine_mean", limit=0.99, why="measured"),
    Tolerance(metric="top_k", limit=0.9, why="measured"),
)
IMAGE = TensorSpec(name="image", shape=(1, 3, 256, 256), dtype="float32", layout="NCHW", value_range=(0.0, 1.0))
TOKENS = TensorSpec(name="tokens", shape=(1, 77), dtype="int32", layout="NL")
EMBEDDING = TensorSpec(name="embedding", shape=(1, 512), dtype="float32", layout="NC")


def measured(noise: float = 0.0) -> ParityReport:
    """What comparing gives for embeddings that are off by so much."""
    draw = np.random.default_rng(3)
    right = draw.normal(size=(32, 16)).astype(np.float32)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    off = right + noise * draw.normal(size=right.shape).astype(np.float32)
    return compare(
        {"embedding": right}, {"embedding": off}, reference_name="PyTorch reference", candidate_name="candidate",
        sample_set="photographs-32", executed_by="a runtime 1.0, CPU", k=5, tie_margin=0.0,
    )  # fmt: skip


def proven(entry: ManifestEntry, noise: float = 0.0, **changes: Any) -> ManifestEntry:
    """The entry with figures and the verdict that they give."""
    report, failures = judge(dataclasses.replace(measured(noise), candidate_sha256=entry.sha256), TOLERANCES)
    given: Tower = entry.tower
    facts: dict[str, Any] = {
        "parity": report, "status": "FAILED" if failures else "PASSED", "failures": failures,
        "tolerances": TOLERANCES, "inputs": (IMAGE if given == "image" else TOKENS,), "outputs": (EMBEDDING,),
    }  # fmt: skip
    return dataclasses.replace(entry, **(facts | changes))


def make_provable(folder: Path, *, trained: bool = True, **changes: Any) -> Manifest:
    """A folder with two ONNX files and a Core ML package, all proven, documents beside them."""
    manifest = make_manifest(folder)
    model = dataclasses.replace(manifest.model, trained=trained, weights=TRAINED if trained else manifest.model.weights)
    artifacts = tuple(proven(entry) for entry in manifest.artifacts)
    return rewrite(folder, dataclasses.replace(manifest, model=model, artifacts=artifacts), **changes)


def rewrite(folder: Path, manifest: Manifest, **changes: Any) -> Manifest:
    """Write the manifest with other facts, and documents that tell of it."""
    manifest = dataclasses.replace(manifest, **changes)
    write_manifest(folder / "manifest.json", manifest)
    (folder / "sbom.cdx.json").write_bytes(SMALL_SBOM)
    weights = manifest.model.weights
    materials = (
        Material(name="source", digest={"gitCommit": "a" * 40}, facts={"dirty": False}),
        Material(name="weights", digest={"sha256": weights.sha256}, facts={"kind": weights.kind}),
    )
    sbom = hash_path(folder / "sbom.cdx.json")[0]
    write_provenance(folder, manifest, make_build(sbom_sha256=sbom, materials=materials))
    return manifest


def with_entry(manifest: Manifest, named: str, **changes: Any) -> tuple[ManifestEntry, ...]:
    """The artifacts, one of them with other facts."""
    return tuple(
        dataclasses.replace(entry, **changes) if entry.path == named else entry for entry in manifest.artifacts
    )
