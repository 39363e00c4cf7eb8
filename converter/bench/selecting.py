"""Which files a benchmark measures, which of them it can, and which of them are side by side.

The yardsticks of a tower, PyTorch eager and the float32 ONNX file, are in every group: ratios are taken within one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from converter.bench.memory import expected_bytes
from converter.errors import McconvertError, MissingDependencyError, ParityError, UsageError, nearest
from converter.files import hash_path, inside
from converter.manifest import Manifest, ManifestEntry
from converter.pipeline.plugins import load_runtime, missing
from converter.records import Artifact, Tower

NEEDS_A_MAC = "needs a Mac: docs/benchmark-devices.md"
EAGER = "pytorch/eager"
BY_TORCH = ("torchscript", "torchscript_lite")
"""Formats that PyTorch itself runs."""


def choose_entries(manifest: Manifest, towers: Sequence[Tower], only: Sequence[str]) -> list[ManifestEntry]:
    """The files to measure: those of `towers` that a word of `only` means, with the float32 ONNX file beside them.

    A word is a row (`onnx/int8`), a target (`onnx`), what follows it (`int8`), or a step (`image/onnx/int8`).

    Raises:
        UsageError: a word means nothing, or there is no file.
    """
    of_towers = [entry for entry in manifest.artifacts if entry.tower in towers]
    for word in only:
        if not any(_meant(entry, word) for entry in of_towers):
            known = {row_of(entry) for entry in of_towers}
            message = f"--only {word}: no such row of the {' or '.join(towers)} tower; {nearest(word, known)}"
            raise UsageError(message)
    found = [entry for entry in of_towers if not only or any(_meant(entry, word) for word in only)]
    if not found:
        message = f"{manifest.model.id} has no file of the {' or '.join(towers)} tower; 'mcconvert' exports some"
        raise UsageError(message)
    beside = [one for tower in towers if (one := onnx_yardstick(manifest, tower)) and one not in found]
    chosen = [*found, *(one for one in beside if one.tower in {entry.tower for entry in found})]
    return sorted(chosen, key=lambda entry: manifest.artifacts.index(entry))


def onnx_yardstick(manifest: Manifest, tower: Tower) -> ManifestEntry | None:
    """The float32 ONNX file of a tower, that of batch 1 first."""
    found = [one for one in manifest.artifacts if (one.format, one.precision, one.tower) == ("onnx", "fp32", tower)]
    return min(found, key=lambda entry: not isinstance(entry.inputs[0].shape[0], int), default=None)


def row_of(entry: ManifestEntry) -> str:
    """What follows the tower in a step's id: "onnx/fp32"."""
    return entry.step_id.partition("/")[2]


def require_unchanged(folder: Path, entries: Iterable[ManifestEntry]) -> None:
    """Hash every file before anything is measured.

    Raises:
        ParityError: files are missing, unreadable, or not those that were proven; the message names all of them.
    """
    problems = [f"{entry.path}: {why}" for entry in entries if (why := _changed(folder, entry))]
    if problems:
        message = (
            f"{len(problems)} of the files to measure are not those of {folder / 'manifest.json'}: "
            f"{'; '.join(problems)}; export or copy them again, or leave them out with --only"
        )
        raise ParityError(message)


def opened_as(folder: Path, entry: ManifestEntry) -> Artifact:
    """The file as a worker takes it."""
    return replace(entry.artifact(), path=str((folder / entry.path).resolve()))


def why_not_here(entry: ManifestEntry) -> str:
    """Why this machine cannot time a file; empty where it can."""
    if entry.format == "coreml" and sys.platform != "darwin":
        return NEEDS_A_MAC
    try:
        absent = missing(load_runtime(entry.format).REQUIRES)
    except (MissingDependencyError, McconvertError) as error:
        return str(error)
    return f"{', '.join(absent)} not installed: pip install {' '.join(absent)}" if absent else ""


def grouped(
    entries: Sequence[ManifestEntry], yardstick: ManifestEntry | None, eager_bytes: int, allowed: int
) -> Iterator[list[ManifestEntry]]:
    """Files that are open at the same time, so that all together stay below `allowed` bytes, yardsticks included."""
    fixed = expected_bytes(eager_bytes, torch=True) + (expected_bytes(yardstick.size_bytes) if yardstick else 0)
    group: list[ManifestEntry] = []
    held = fixed
    for entry in entries:
        if entry is yardstick:
            continue
        more = expected_bytes(entry.size_bytes, torch=entry.format in BY_TORCH)
        if group and held + more > allowed:
            yield _with(yardstick, group)
            group, held = [], fixed
        group.append(entry)
        held += more
    if group or yardstick in entries:
        yield _with(yardstick, group)


def sample_files(folder: Path, manifest: Manifest) -> Mapping[Tower, str]:
    """Where the stored samples of each tower lie.

    Raises:
        UsageError: a tower's samples lie outside of the folder.
    """
    found: dict[Tower, str] = {}
    for reference in manifest.references:
        path = inside(folder, reference.samples.path)
        if path is None:
            message = f"{reference.samples.path} lies outside {folder}; a manifest may name only what is beside it"
            raise UsageError(message)
        found[reference.tower] = str(path)
    return found


def _with(yardstick: ManifestEntry | None, group: list[ManifestEntry]) -> list[ManifestEntry]:
    return [*([yardstick] if yardstick else []), *group]


def _meant(entry: ManifestEntry, word: str) -> bool:
    row = row_of(entry)
    return word in (row, entry.target, row.partition("/")[2], entry.step_id)


def _changed(folder: Path, entry: ManifestEntry) -> str:
    path = inside(folder, entry.path)
    if path is None:
        return "lies outside of the folder"
    if not path.exists():
        return "is missing"
    try:
        sha256, _ = hash_path(path)
    except OSError as error:
        return error.strerror or str(error)
    if sha256 == entry.sha256:
        return ""
    return f"its sha256 is {sha256[:12]}..., the manifest says {entry.sha256[:12]}..."
