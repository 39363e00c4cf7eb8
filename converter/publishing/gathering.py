"""Gather a release: every file of one version in a folder of its own, under the names that it leaves with.

Only files that PASSED are in it, with what they were judged against, the documents beside them and the model card.
Large files are hard links; what is written is never written through one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from converter.errors import PublishError
from converter.files import hash_path, place, write_atomically
from converter.manifest import Manifest, Waiver
from converter.publishing.card import card
from converter.publishing.checksums import artifact_hashes, files_of, named, sums
from converter.publishing.manifest import write_manifest
from converter.publishing.provenance import read_build, write_provenance
from converter.release import CARD, MANIFEST, PROVENANCE, SBOM, SUMS, Release, ReleaseFile

_STAGING = ".release-"


@contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """A folder beside the exported files; those that dead publishes left are removed.

    Where the exported folder cannot be written to, it is among the system's temporary ones.
    """
    parent = folder if os.access(folder, os.W_OK) else None
    if parent is not None:
        _sweep(parent)
    with tempfile.TemporaryDirectory(dir=parent, prefix=_STAGING) as name:
        handle = os.open(name, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield Path(name)
        finally:
            os.close(handle)


@contextmanager
def unchanged_by_runs(folder: Path) -> Iterator[None]:
    """No export writes to the folder meanwhile.

    Raises:
        PublishError: one does at this moment.
    """
    lock = folder / ".lock"
    if not lock.exists() or not os.access(lock, os.R_OK):
        yield
        return
    with lock.open("rb") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = f"an export is writing to {folder}: wait for it, then publish again"
            raise PublishError(message) from error
        yield


def released(manifest: Manifest, waivers: tuple[Waiver, ...]) -> Manifest:
    """The manifest of a release: files that PASSED, what they are judged against, and what was waived."""
    artifacts = tuple(entry for entry in manifest.artifacts if entry.status == "PASSED")
    towers = {entry.tower for entry in artifacts}
    tokenizer = manifest.model.tokenizer if "text" in towers else None
    return dataclasses.replace(
        manifest, model=dataclasses.replace(manifest.model, tokenizer=tokenizer), artifacts=artifacts,
        references=tuple(one for one in manifest.references if one.tower in towers), waivers=waivers, missing=(),
    )  # fmt: skip


def release_name(manifest: Manifest) -> str:
    """What a model is called at a destination, as its exported folder is."""
    return f"{manifest.model.id}_pixels" if manifest.model.preprocessing.inside_graph else manifest.model.id


def gather(folder: Path, manifest: Manifest, stage: Path, sign: Callable[[Path], object] | None = None) -> Release:
    """Put a release together in `stage`; `manifest` is the one of the release (`released`).

    Raises:
        PublishError: there is no provenance to be signed.
    """
    for one in named(manifest):
        place(folder / one.path, stage / one.path)
    write_manifest(stage / MANIFEST, manifest)
    write_atomically(stage / CARD, card(manifest).encode())
    if (folder / PROVENANCE).exists():
        shutil.copyfile(folder / SBOM, stage / SBOM)
        write_provenance(stage, manifest, read_build(folder))
    else:
        write_atomically(stage / SUMS, sums(artifact_hashes(stage, manifest, {}) | _hashes(stage)))
    if sign is not None:
        if not (stage / PROVENANCE).exists():
            message = f"there is no {PROVENANCE} to sign: export again, which writes it"
            raise PublishError(message)
        sign(stage)
    return _release(stage, manifest)


def _release(stage: Path, manifest: Manifest) -> Release:
    known = artifact_hashes(stage, manifest, {})
    paths = sorted(path for path in _plain(stage) if not path.rpartition("/")[2].startswith("."))
    files = tuple(
        ReleaseFile(
            path=path, source=stage / path, sha256=known.get(path) or hash_path(stage / path)[0],
            size_bytes=(stage / path).stat().st_size,
        )
        for path in paths
    )  # fmt: skip
    sha256 = next(file.sha256 for file in files if file.path == MANIFEST)
    return Release(model=release_name(manifest), manifest_sha256=sha256, files=files)


def _plain(stage: Path) -> Iterator[str]:
    for entry in sorted(stage.iterdir()):
        yield from files_of(stage, entry.name)


def _hashes(stage: Path) -> dict[str, str]:
    return {name: hashlib.sha256((stage / name).read_bytes()).hexdigest() for name in (MANIFEST, CARD)}


def _sweep(parent: Path) -> None:
    for folder in parent.glob(f"{_STAGING}*"):
        with contextlib.suppress(OSError):
            handle = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(handle)
