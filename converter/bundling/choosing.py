"""Which files a platform is handed: what was proven, in its own format, in float; or the row that a user names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from converter.bundled import Platform
from converter.errors import ParityError, PublishError, UsageError, nearest
from converter.files import hash_path
from converter.manifest import Manifest, ManifestEntry
from converter.publishing.checksums import inside, linked
from converter.publishing.gates import unproven
from converter.records import TOWERS, Tower

DEFAULTS: Mapping[Platform, tuple[str, ...]] = {
    "ios": ("coreml/fp16", "coreml/fp32"),
    "android": ("tflite/fp32", "tflite/fp16"),
    "web": ("onnx/fp16", "onnx/fp32"),
    "python": ("onnx/fp32", "onnx/fp32_dynamic", "onnx/fp16"),
    "server": ("onnx/fp32_dynamic", "onnx/fp16_dynamic", "onnx/fp32"),
}
"""The rows that are taken where they PASSED, the first of them that did."""
FORMATS: Mapping[Platform, str] = {
    "ios": "coreml", "android": "tflite", "web": "onnx", "python": "onnx", "server": "onnx",
}  # fmt: skip
"""What the platform's sample opens."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What the user asked for. `named` gives a tower's row, such as onnx/fp16, where it is not the default."""

    platform: Platform
    towers: tuple[Tower, ...] = TOWERS
    named: Mapping[Tower, str]


def choose(folder: Path, manifest: Manifest, rows: Rows) -> tuple[ManifestEntry, ...]:
    """The bundle's artifacts, a tower each.

    Raises:
        UsageError: there is no such row, or the platform's sample cannot open it.
        PublishError: a file did not PASS, or its figures do not prove it.
        ParityError: a file's bytes are not the proven ones.
    """
    having = {entry.tower for entry in manifest.artifacts}
    wanted = [tower for tower in rows.towers if tower in having or tower in rows.named]
    if not wanted:
        message = f"{folder}: it has no file of {' or '.join(rows.towers)}; 'mcconvert' exports them"
        raise UsageError(message)
    chosen = tuple(_entry(folder, manifest, rows, tower) for tower in wanted)
    for entry in chosen:
        _require_proven(folder, manifest, entry)
        require_unchanged(folder, entry.path, entry.sha256)
    return chosen


def row_of(entry: ManifestEntry) -> str:
    """What follows the tower in a step's id: onnx/fp16."""
    return entry.step_id.partition("/")[2]


def require_unchanged(folder: Path, path: str, sha256: str) -> None:
    """Refuse a file whose bytes are not those that the manifest names, or that lies elsewhere.

    Raises:
        ParityError: naming both hashes.
    """
    if not inside(path) or linked(folder, path) or not (folder / path).exists():
        message = f"{folder / path}: it is missing, a link, or outside of its folder; export again, which makes it"
        raise ParityError(message)
    seen = hash_path(folder / path)[0]
    if seen != sha256:
        message = (
            f"{folder / path}: its sha256 is {seen[:12]}..., the manifest says {sha256[:12]}...: these bytes were not "
            "proven; export again, which makes them anew"
        )
        raise ParityError(message)


def _entry(folder: Path, manifest: Manifest, rows: Rows, tower: Tower) -> ManifestEntry:
    known = {row_of(entry): entry for entry in manifest.artifacts if entry.tower == tower}
    named = rows.named.get(tower)
    if named is None:
        return _default(folder, known, rows.platform, tower)
    if named not in known:
        message = f"--{tower} {named}: {folder} has no such {tower} file; {nearest(named, known)}"
        raise UsageError(message)
    entry, needed = known[named], FORMATS[rows.platform]
    if entry.format != needed:
        message = f"--{tower} {named}: the {rows.platform} sample opens {needed} files; {_listed(known, needed)}"
        raise UsageError(message)
    return entry


def _default(folder: Path, known: Mapping[str, ManifestEntry], platform: Platform, tower: Tower) -> ManifestEntry:
    for row in DEFAULTS[platform]:
        if row in known and known[row].status == "PASSED":
            return known[row]
    seen = ", ".join(f"{row} {known[row].status}" for row in DEFAULTS[platform] if row in known) or "none of them"
    needed = FORMATS[platform]
    message = (
        f"{folder}: for {platform} one of {', '.join(DEFAULTS[platform])} is taken, and of the {tower} tower there is "
        f"{seen}. Make one with 'mcconvert --target {needed}', or name a row with --{tower}: {_listed(known, needed)}"
    )
    raise PublishError(message)


def _listed(known: Mapping[str, ManifestEntry], needed: str) -> str:
    rows: Sequence[str] = [row for row, entry in known.items() if entry.format == needed]
    return f"{needed} rows here: {', '.join(rows)}" if rows else f"there is no {needed} file here"


def _require_proven(folder: Path, manifest: Manifest, entry: ManifestEntry) -> None:
    if entry.status != "PASSED":
        why = (*entry.failures, "no reason is given")[0]
        message = (
            f"{folder / entry.path}: it {entry.status} ({why}), and only files that PASSED are handed over; "
            f"'mcconvert explain {folder / entry.path}' shows where it parts from PyTorch"
        )
        raise PublishError(message)
    for refusal in unproven(entry):
        message = f"{folder / entry.path}: {refusal.seen}. {refusal.advice}"
        raise PublishError(message)
    if entry.tower not in {one.tower for one in manifest.references}:
        message = f"{folder / entry.path}: the manifest has no {entry.tower} reference to test the sample against"
        raise PublishError(message)
