"""The documents that say where a model's files come from: written whole after the manifest, read back, continued.

`sbom.cdx.json`, then `provenance.json`, then `SHA256SUMS`, each by one rename, so that a killed run leaves documents
that `publishing.checking` sees to be stale, and the next run writes them again. Signatures over an earlier statement
are removed with it.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from converter.build import Build, Origin
from converter.errors import UsageError
from converter.files import write_atomically
from converter.manifest import Manifest
from converter.publishing.checksums import artifact_hashes, sums
from converter.publishing.sbom import sbom
from converter.publishing.statement import Statement, build_of, origin_of, read_statement, statement
from converter.release import BUNDLE, CARD, ENVELOPE, MANIFEST, PROVENANCE, SBOM, SUMS

UNREADABLE = (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def write_provenance(folder: Path, manifest: Manifest, build: Build) -> None:
    """Write the three documents over the folder's files as the manifest names them; it must be there already.

    A build that has its own SBOM (`sbom_sha256`, as `read_build` gives it) keeps the one that lies in the folder.

    Raises:
        OSError: the folder cannot be written.
    """
    if not build.sbom_sha256 or _file_sha256(folder / SBOM) != build.sbom_sha256:
        _write_changed(folder / SBOM, sbom())
    hashes = artifact_hashes(folder, manifest, _remembered(folder)) | _documents(folder)
    released = _released(folder, manifest)
    data = statement(dataclasses.replace(build, origins={**build.origins, **released}), hashes)
    _write_changed(folder / PROVENANCE, data, outdates=(ENVELOPE, BUNDLE))
    _write_changed(folder / SUMS, sums(hashes | {PROVENANCE: hashlib.sha256(data).hexdigest()}))


def read_build(folder: Path) -> Build:
    """The build that the folder's statement tells of, to be restated over a release's files.

    Raises:
        UsageError: there is no statement, or none that this version reads.
    """
    file = folder / PROVENANCE
    try:
        return build_of(read_statement(file.read_bytes()))
    except OSError as error:
        message = f"{file}: {error.strerror or error}; export again, and it is written"
        raise UsageError(message) from error
    except UNREADABLE as error:
        message = f"{file}: not a statement of mcconvert: {error}; export again, and it is written anew"
        raise UsageError(message) from error


def is_current(folder: Path, manifest: Manifest) -> bool:
    """Whether the documents are those of the files that the manifest names, without reading these."""
    try:
        data = (folder / PROVENANCE).read_bytes()
        found = read_statement(data)
        build, stated = build_of(found), hashes_of(found)
        hashes = artifact_hashes(folder, manifest, stated) | _documents(folder)
        written = (folder / SUMS).read_bytes()
    except UNREADABLE:
        return False
    if SBOM not in hashes or build.sbom_sha256 != hashes[SBOM] or stated != hashes:
        return False
    return written == sums(hashes | {PROVENANCE: hashlib.sha256(data).hexdigest()})


def continued(build: Build, folder: Path, manifest: Manifest) -> Build:
    """`build` with the truth about files that it did not build: what the folder's statement, if any, says of them."""
    before = _before(folder)
    origins: dict[str, Origin] = {}
    for path, sha256 in artifact_hashes(folder, manifest, _remembered(folder)).items():
        mine = origin_of(build, path) or Origin(how="kept")
        earlier = before.origins.get(path) if before else None
        if mine.how != "built" and earlier is not None and earlier.sha256 == sha256 and earlier.invocation:
            mine = earlier
        origins[path] = mine
    builds = (dataclasses.replace(before, origins={}, earlier=()), *before.earlier) if before else ()
    return dataclasses.replace(build, origins=origins, earlier=builds)


def hashes_of(found: Statement) -> dict[str, str]:
    """What a statement says of its subjects, by path; empty where it says nothing that we read."""
    return {one.name: one.digest.get("sha256", "") for one in found.subject}


def _before(folder: Path) -> Build | None:
    try:
        return read_build(folder)
    except UsageError:
        return None


def _remembered(folder: Path) -> dict[str, str]:
    try:
        return hashes_of(read_statement((folder / PROVENANCE).read_bytes()))
    except UNREADABLE:
        return {}


def _documents(folder: Path) -> dict[str, str]:
    """The hashes of the documents that a statement covers, of those that are there."""
    return {name: _file_sha256(folder / name) for name in (MANIFEST, SBOM, CARD) if (folder / name).is_file()}


def _released(folder: Path, manifest: Manifest) -> Mapping[str, Origin]:
    """What a release brings that no build made: its model card, and a manifest with what was waived."""
    names = [CARD] * (folder / CARD).is_file() + [MANIFEST] * bool(manifest.waivers)
    return dict.fromkeys(names, Origin(how="release"))


def _file_sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def _write_changed(path: Path, data: bytes, outdates: tuple[str, ...] = ()) -> None:
    """Write what is not there already; what it outdates goes first."""
    if _file_sha256(path) == hashlib.sha256(data).hexdigest():
        return
    for name in outdates:
        (path.parent / name).unlink(missing_ok=True)
    write_atomically(path, data)
