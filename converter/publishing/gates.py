"""What must be true before anything is published; everything that is not, at once, each with the way on.

Nothing here trusts a word of the manifest that can be checked: bytes are hashed, figures are judged again. What a user
may waive has a name in `WAIVERS`; changed bytes, absent parity and documents that contradict the files have none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from converter.files import hash_path
from converter.manifest import Manifest, ManifestEntry, Waiver
from converter.parity.judge import judge
from converter.publishing.checking import check_provenance
from converter.publishing.checksums import inside, linked, named
from converter.publishing.manifest import SCHEMA
from converter.publishing.signing import Keys
from converter.records import StageResult
from converter.release import MANIFEST, PROVENANCE

WAIVERS: Mapping[str, str] = {
    "untrained-weights": "the weights are not trained: the files run, and know nothing",
    "unknown-licence": "nobody knows under which licence the weights are",
    "failed-required": "required files that did not pass are left out",
    "missing-required": "required files that could not be made are not there",
    "missing-provenance": "no statement says where the files come from",
}
"""What `--allow` takes, and what it lets through."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_AGAIN = "run the same export again, which makes anew what changed"


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """One thing that is not as it must be. `waiver` is what `--allow` takes for it; empty where nothing does."""

    subject: str
    seen: str
    advice: str
    waiver: str = ""


@dataclass(frozen=True, kw_only=True)
class Examined:
    """What the gates found: refusals that stand, what was waived of them, and files that are left out."""

    refusals: tuple[Refusal, ...]
    waived: tuple[Waiver, ...]
    left_out: tuple[str, ...]


def examine(folder: Path, manifest: Manifest, allowed: Sequence[str], verified: Sequence[StageResult] = ()) -> Examined:
    """Hold everything in an exported folder against what publishing asks for.

    `verified` are the results of running every file once more, where that was done.
    """
    found = [*_schema(folder), *_paths(folder, manifest)]
    if not found:  # what follows reads the files that the manifest names
        found += [
            *_bytes(folder, manifest), *_entries(manifest), *_rows(manifest), *_model(manifest), *_verified(verified),
            *_provenance(folder, manifest),
        ]  # fmt: skip
    waived: dict[str, list[str]] = {}
    for one in found:
        if one.waiver in allowed:
            waived.setdefault(one.waiver, []).append(one.subject)
    return Examined(
        refusals=tuple(one for one in found if one.waiver not in allowed),
        waived=tuple(
            Waiver(name=name, what=f"{WAIVERS[name]}: {', '.join(waived[name])}") for name in WAIVERS if name in waived
        ),
        left_out=tuple(entry.path for entry in manifest.artifacts if entry.status != "PASSED"),
    )


def _schema(folder: Path) -> Iterator[Refusal]:
    import jsonschema

    schema = json.loads(Path(__file__).with_name(SCHEMA).read_bytes())
    validator = jsonschema.Draft202012Validator(schema)
    for error in list(validator.iter_errors(json.loads((folder / MANIFEST).read_bytes())))[:5]:
        where = ".".join(str(part) for part in error.absolute_path) or "the whole"
        yield Refusal(subject=f"{MANIFEST}: {where}", seen=error.message[:200], advice=_AGAIN)


def _paths(folder: Path, manifest: Manifest) -> Iterator[Refusal]:
    if not _NAME.fullmatch(manifest.model.id):
        yield Refusal(subject=MANIFEST, seen=f"its model is called {manifest.model.id!r}", advice=_AGAIN)
    for one in named(manifest):
        if not inside(one.path):
            yield Refusal(subject=one.path, seen="lies outside of the folder", advice=_AGAIN)
        elif linked(folder, one.path):
            yield Refusal(subject=one.path, seen="is a symbolic link", advice="put the file itself there")


def _bytes(folder: Path, manifest: Manifest) -> Iterator[Refusal]:
    """Every file is the one that the manifest names, those of the references and the tokenizer too."""
    for one in named(manifest):
        if not (folder / one.path).exists():
            yield Refusal(subject=one.path, seen="is missing", advice=_AGAIN)
            continue
        sha256, size_bytes = hash_path(folder / one.path)
        if (sha256, size_bytes) != (one.sha256, one.size_bytes):
            seen = f"sha256 {sha256[:12]}..., judged were {one.sha256[:12]}... ({size_bytes:,} bytes)"
            yield Refusal(subject=one.path, seen=seen, advice=_AGAIN)


def _entries(manifest: Manifest) -> Iterator[Refusal]:
    towers = {one.tower for one in manifest.references}
    for entry in manifest.artifacts:
        if entry.tower not in towers:
            yield Refusal(subject=entry.path, seen=f"the manifest has no {entry.tower} reference", advice=_AGAIN)
        yield from unproven(entry)
    if not any(entry.status == "PASSED" for entry in manifest.artifacts):
        yield Refusal(subject=MANIFEST, seen="no file PASSED, so there is nothing to publish", advice=_AGAIN)


def unproven(entry: ManifestEntry) -> Iterator[Refusal]:
    """A verdict counts when its figures, judged again, give it, and when they are of these very bytes."""
    report = entry.parity
    if (
        report is None
        or not report.outputs
        or any(not output.shape or output.shape[0] < 1 for output in report.outputs)
    ):
        yield Refusal(subject=entry.path, seen="nothing was compared, so nothing is proven of it", advice=_AGAIN)
        return
    if report.candidate_sha256 != entry.sha256:
        seen = f"parity was measured on other bytes (sha256 {report.candidate_sha256[:12] or 'unknown'}...)"
        yield Refusal(subject=entry.path, seen=seen, advice="run the same export again, which measures these")
    failures = judge(report, entry.tolerances, size_ratio=entry.size_ratio)[1]
    if entry.status == "PASSED" and failures:
        seen = f"the manifest says PASSED, its figures do not: {failures[0]}"
        yield Refusal(subject=entry.path, seen=seen, advice=_AGAIN)
    elif entry.status != "PASSED" and not failures:
        seen = f"the manifest says {entry.status}, its figures pass their bounds: one of them was changed"
        yield Refusal(subject=entry.path, seen=seen, advice=_AGAIN)


def _rows(manifest: Manifest) -> Iterator[Refusal]:
    for entry in manifest.artifacts:
        if entry.required and entry.status != "PASSED":
            seen = f"required, and {entry.status}: {(*entry.failures, 'no reason is given')[0]}"
            advice = "'mcconvert explain' shows where it parts from PyTorch"
            yield Refusal(subject=entry.path, seen=seen, advice=advice, waiver="failed-required")
    for one in manifest.missing:
        if one.required:
            advice = f"'mcconvert' makes it; its log is logs/{one.step_id.replace('/', '.')}.log"
            seen = f"required, and its step ended in {one.status}"
            yield Refusal(subject=one.step_id, seen=seen, advice=advice, waiver="missing-required")


def _model(manifest: Manifest) -> Iterator[Refusal]:
    model = manifest.model
    if not model.trained or not model.weights.sha256:
        advice = "export with --weights FILE, or where the hub can be reached"
        seen = f"its weights are {model.weights.kind}, not trained"
        yield Refusal(subject=model.id, seen=seen, advice=advice, waiver="untrained-weights")
    if not model.license.strip() or "unknown" in model.license.lower():
        advice = "name it in the model's YAML: license, license_url"
        seen = f"its licence is {model.license.strip() or 'not named'}"
        yield Refusal(subject=model.id, seen=seen, advice=advice, waiver="unknown-licence")


def _verified(results: Sequence[StageResult]) -> Iterator[Refusal]:
    """A file that PASSED when it was exported and does not when it runs once more."""
    for result in results:
        said = result.artifact.path if result.artifact else result.step_id
        if result.status != "PASSED" and result.required:
            failure = (*result.failures, result.reason)[0]
            yield Refusal(subject=said, seen=f"run once more, it {result.status}: {failure}", advice=_AGAIN)


def _provenance(folder: Path, manifest: Manifest) -> Iterator[Refusal]:
    if not (folder / PROVENANCE).exists():
        seen = f"{PROVENANCE} is missing: nothing says where the files come from"
        yield Refusal(subject=PROVENANCE, seen=seen, advice=_AGAIN, waiver="missing-provenance")
        return
    for one in check_provenance(folder, manifest, Keys()):
        yield Refusal(subject=one.name, seen=one.seen, advice=one.advice)
