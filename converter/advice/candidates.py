"""The files that may be shipped to a platform, with their figures; and why the others may not.

1. It PASSED, on its very bytes.
2. The platform runs its format.
3. Its bytes on the disk are still the proven ones: looked at when it is about to be chosen, hashing takes time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from converter.advised import Candidate, EaseFact, LeftOut, Platform
from converter.benchmarked import Measured
from converter.files import hash_path, inside
from converter.manifest import ManifestEntry
from converter.records import ParityReport

OWN_INTERPRETER = "mcconvert reference interpreter"
"""Begins `executed_by` where Core ML itself ran nothing."""


def candidates_of(entries: Iterable[ManifestEntry], platform: Platform) -> tuple[list[ManifestEntry], list[LeftOut]]:
    """Rules 1 and 2."""
    fit, left_out = [], []
    for entry in entries:
        why = _why_not(entry, platform)
        if why:
            left_out.append(LeftOut(step_id=entry.step_id, why=why))
        else:
            fit.append(entry)
    return fit, left_out


def described(entry: ManifestEntry, platform: Platform, measured: Mapping[str, Measured]) -> Candidate:
    """The file with its figures; `measured` are the rows of the benchmark by sha256."""
    report, row = entry.parity, measured.get(entry.sha256)
    output = report.outputs[0] if report and report.outputs else None
    ranking = report.ranking if report else None
    return Candidate(
        step_id=entry.step_id, path=entry.path, sha256=entry.sha256, format=entry.format, precision=entry.precision,
        size_bytes=entry.size_bytes, centred_cosine_min=output.centred_cosine_min if output else None,
        top_k=ranking.top_k if ranking else None, top_k_interval=ranking.top_k_interval if ranking else None,
        latency_ms=row.latency_ms if row else None, rounds_ms=row.rounds_ms if row else (),
        proof_ms=report.latency_ms if report else None, peak_rss_bytes=row.peak_rss_bytes if row else None,
        ease=tuple(ease_facts(entry, platform)), notes=entry.notes,
    )  # fmt: skip


def ease_facts(entry: ManifestEntry, platform: Platform) -> Sequence[EaseFact]:
    """What was seen of the file or is a fact of the platform; no taste."""
    format_there = platform.formats[entry.format]
    dtypes = {spec.dtype for spec in (*entry.inputs, *entry.outputs)}
    is_open = not isinstance(entry.inputs[0].shape[0], int)
    facts = {
        f"{format_there.runtime} comes with the system": format_there.own,
        "the runtime itself, without extra ops, ran it in the proof": _ran_itself(entry.parity),
        "floats and tokens in and out, nothing to quantize around it": not dtypes & {"int8", "uint8", "int16"}
        or entry.inputs[0].dtype == "uint8",
        "any batch" if platform.open_batch else "a fixed batch of 1, which delegates ask for": is_open
        is platform.open_batch,
    }
    if entry.tower == "image":
        facts["normalises pixels inside"] = entry.inputs[0].dtype == "uint8"
    return [EaseFact(name=name, holds=holds) for name, holds in facts.items()]


def why_changed(folder: Path, candidate: Candidate) -> str:
    """Rule 3; empty where it holds."""
    path = inside(folder, candidate.path)
    if path is None or not path.exists():
        return f"{candidate.path} is missing"
    sha256, _ = hash_path(path)
    if sha256 == candidate.sha256:
        return ""
    return f"its bytes are not the proven ones: sha256 {sha256[:12]}..., the manifest says {candidate.sha256[:12]}..."


def _why_not(entry: ManifestEntry, platform: Platform) -> str:
    if entry.format not in platform.formats:
        return f"{entry.format} files do not run on {platform.title} (configs/platforms.yaml)"
    if entry.status != "PASSED":
        why = f": {entry.failures[0]}" if entry.failures else ""
        return f"{entry.status}{why}"
    if entry.parity and entry.parity.candidate_sha256 not in ("", entry.sha256):
        return "its proof is of other bytes: run 'mcconvert verify'"
    return ""


def _ran_itself(report: ParityReport | None) -> bool:
    return report is not None and not report.executed_by.startswith(OWN_INTERPRETER)
