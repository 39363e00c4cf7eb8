"""`manifest.json`: written last and atomically, read with every field checked.

A run that makes only some rows keeps the entries of the others, as long as they were made from the same weights and
their files are still the ones that were judged.
"""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from converter import __version__
from converter.errors import UsageError
from converter.files import hash_path, inside, write_atomically
from converter.manifest import (
    Manifest,
    ManifestEntry,
    ManifestModel,
    ManifestReference,
    MissingFile,
    TokenizerFile,
)
from converter.publishing import checksums
from converter.records import ModelSpec, StageResult, Step, Tower, Weights, from_json, to_json

SCHEMA_VERSION = 1
SCHEMA = "manifest.schema.json"


def read_manifest(path: Path) -> Manifest:
    """The manifest in a file, or in the folder that holds one.

    Raises:
        UsageError: there is none, or it is not a manifest; the message names the field.
    """
    file = path / "manifest.json" if path.is_dir() else path
    try:
        return from_json(file.read_bytes(), Manifest)
    except OSError as error:
        message = f"{file}: {error.strerror or error}; 'make export-all' or 'mcconvert' writes one"
        raise UsageError(message) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        message = f"{file}: not a manifest of mcconvert: {error}"
        raise UsageError(message) from error


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write beside the place, then rename."""
    write_atomically(path, to_json(manifest))


def model_part(
    spec: ModelSpec, weights: Weights, logit_scale: float | None, tokenizer: TokenizerFile | None = None
) -> ManifestModel:
    """All that a user of the files needs to know of the model."""
    return ManifestModel(
        id=spec.id, family=spec.family, source=spec.source, license=spec.license, license_url=spec.license_url,
        embed_dim=spec.embed_dim, context_length=spec.context_length, logit_scale=logit_scale,
        trained=weights.trained, normalized=True, preprocessing=spec.preprocessing, tokenizer=tokenizer,
        weights=dataclasses.replace(weights, path=Path(weights.path).name if weights.path else None, notice=""),
    )  # fmt: skip


def entry_of(step: Step, result: StageResult) -> ManifestEntry:
    """The entry of one file; `result` must have an artifact."""
    artifact = result.artifact
    if artifact is None:
        message = f"{step.id} has no artifact to list"
        raise ValueError(message)
    recipe = dataclasses.replace(step.recipe, calibration_path=None) if step.recipe else None
    return ManifestEntry(
        step_id=step.id, target=step.target, tower=step.tower, precision=step.precision, format=artifact.format,
        path=f"{step.target}/{step.file_name}", sha256=artifact.sha256, size_bytes=artifact.size_bytes,
        inputs=artifact.inputs, outputs=artifact.outputs, recipe=recipe, parent_sha256=artifact.parent_sha256,
        status=result.status, required=step.required, not_required_because=step.not_required_because,
        failures=result.failures, notes=artifact.notes, tolerances=step.tolerances, tie_margin=step.tie_margin,
        size_ratio=result.size_ratio, parity=result.vs_reference, parity_with_parent=result.vs_parent,
        tool_versions=result.tool_versions,
    )  # fmt: skip


def merge(
    folder: Path,
    model: ManifestModel,
    references: Sequence[ManifestReference],
    entries: Sequence[ManifestEntry],
    environment: Mapping[str, str],
    missing: Sequence[MissingFile] = (),
) -> Manifest:
    """The manifest after a run, with what is still true of the one before."""
    before = _comparable(folder, model)
    kept_references, kept_entries = _still_true(folder, before, references, entries) if before else ([], [])
    if before is not None and model.tokenizer is None and _tokenizer_unchanged(folder, before.model.tokenizer):
        model = dataclasses.replace(model, tokenizer=before.model.tokenizer)
    return Manifest(
        schema_version=SCHEMA_VERSION,
        created_by=f"mcconvert {__version__}",
        model=model,
        references=tuple(sorted([*references, *kept_references], key=lambda one: one.tower)),
        artifacts=tuple(sorted([*entries, *kept_entries], key=lambda one: one.step_id)),
        environment=environment,
        missing=_still_missing(before, entries, missing),
    )


def environment(versions: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """The machine and every tool version that a step saw."""
    found = {"python": platform.python_version(), "system": platform.system(), "machine": platform.machine()}
    for one in versions:
        found |= one
    return dict(sorted(found.items()))


def listed_files(out: Path) -> dict[Path, str]:
    """Every file that a manifest below the output folder names and that lies beside that manifest, with its sha256."""
    manifests = {folder: one for folder, one in read_manifests(out).items() if isinstance(one, Manifest)}
    return {
        folder / one.path: one.sha256
        for folder, manifest in manifests.items()
        for one in checksums.named(manifest)
        if checksums.inside(one.path) and inside(folder, one.path) is not None
    }


def read_manifests(out: Path) -> dict[Path, Manifest | str]:
    """What each model's folder below the output folder has for a manifest, or why that cannot be read."""
    found: dict[Path, Manifest | str] = {}
    for path in sorted(out.glob("*/manifest.json")):
        try:
            found[path.parent] = read_manifest(path)
        except UsageError as error:
            found[path.parent] = str(error)
    return found


def schema() -> bytes:
    """The manifest's JSON schema, made from the records."""
    return msgspec.json.format(msgspec.json.encode(msgspec.json.schema(Manifest)), indent=2) + b"\n"


def _comparable(folder: Path, model: ManifestModel) -> Manifest | None:
    """The manifest of an earlier run with the same weights."""
    try:
        before = read_manifest(folder)
    except UsageError:
        return None
    same = before.model.weights.sha256 == model.weights.sha256 and before.schema_version == SCHEMA_VERSION
    return before if same else None


def _still_missing(
    before: Manifest | None, entries: Sequence[ManifestEntry], missing: Sequence[MissingFile]
) -> tuple[MissingFile, ...]:
    """What this run could not make, and what an earlier one could not and this one did not either."""
    ended = {entry.step_id for entry in entries} | {one.step_id for one in missing}
    kept = [one for one in (before.missing if before else ()) if one.step_id not in ended]
    return tuple(sorted([*missing, *kept], key=lambda one: one.step_id))


def _tokenizer_unchanged(folder: Path, tokenizer: TokenizerFile | None) -> bool:
    path = inside(folder, tokenizer.path) if tokenizer else None
    return tokenizer is not None and path is not None and path.is_file() and hash_path(path)[0] == tokenizer.sha256


def _still_true(
    folder: Path,
    before: Manifest,
    references: Sequence[ManifestReference],
    entries: Sequence[ManifestEntry],
) -> tuple[list[ManifestReference], list[ManifestEntry]]:
    made = {entry.step_id for entry in entries}
    embedded = {one.tower: one.embeddings.sha256 for one in references}
    kept_references = [one for one in before.references if one.tower not in embedded]
    kept_entries = [
        entry
        for entry in before.artifacts
        if entry.step_id not in made and _unchanged(folder, entry) and _same_reference(before, entry, embedded)
    ]
    return kept_references, kept_entries


def _same_reference(before: Manifest, entry: ManifestEntry, embedded: Mapping[Tower, str]) -> bool:
    """An entry judged against another reference is not kept beside the new one."""
    old = {one.tower: one.embeddings.sha256 for one in before.references}
    return embedded.get(entry.tower, old.get(entry.tower)) == old.get(entry.tower)


def _unchanged(folder: Path, entry: ManifestEntry) -> bool:
    path = inside(folder, entry.path)
    return path is not None and path.exists() and hash_path(path)[0] == entry.sha256
