"""Versions: which one a release becomes, and `index.json`, which is made anew from the versions that are there."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from converter.errors import PublishError
from converter.manifest import Manifest
from converter.publishing.addresses import version_number
from converter.publishing.destinations import Destination
from converter.records import ParityReport, from_json, to_json
from converter.release import LATEST, MANIFEST, Index, Published, Release

INDEX_SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The version of a release; `published` when it is at the destination already."""

    version: str
    published: Published | None = None


def choose_version(destination: Destination, release: Release, manifest: Manifest) -> Choice:
    """The version that holds this very content already, else the next one.

    Raises:
        PublishError: the destination cannot be read.
    """
    there = destination.published()
    for one in reversed(there):
        if one.manifest_sha256 == release.manifest_sha256:
            return Choice(version=one.version, published=one)
    if there and _same_content(destination, there[-1].version, manifest):
        return Choice(version=there[-1].version, published=there[-1])
    return Choice(version=f"v{max((version_number(one.version) for one in there), default=0) + 1}")


def resolve_version(destination: Destination, name: str) -> str:
    """The version that `name` means: `latest`, or one that is there.

    Raises:
        PublishError: there is no such version; the message lists those that there are.
    """
    versions = [one.version for one in destination.published()]
    if name == LATEST and versions:
        return versions[-1]
    if name not in versions:
        message = f"{destination.title}: there is no version {name}; there is {', '.join(versions) or 'none'}"
        raise PublishError(message)
    return name


def read_published(destination: Destination, version: str) -> Manifest:
    """The manifest of a whole version.

    Raises:
        PublishError: it cannot be read, or is not a manifest.
    """
    try:
        return from_json(destination.read(version, MANIFEST), Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        message = f"{destination.title}: the manifest of {version} is not one of mcconvert: {error}"
        raise PublishError(message) from error


def in_utc(when: datetime) -> str:
    """A time in UTC as our documents write it: 2026-01-31T12:00:00Z."""
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def published_now(version: str, release: Release) -> Published:
    """What is said of a release that becomes that version now."""
    return Published(
        version=version, manifest_sha256=release.manifest_sha256,
        published=in_utc(datetime.now(UTC)), files=len(release.files),
        size_bytes=sum(file.size_bytes for file in release.files),
    )  # fmt: skip


def index_of(model: str, versions: Iterable[Published]) -> bytes:
    """The bytes of `index.json`; versions in their order."""
    ordered = tuple(sorted(versions, key=lambda one: version_number(one.version)))
    latest = ordered[-1].version if ordered else ""
    return to_json(Index(schema_version=INDEX_SCHEMA_VERSION, model=model, latest=latest, versions=ordered))


def times_in(index: bytes | None) -> dict[str, str]:
    """When each version was published, by version and manifest; empty where the index is absent or damaged."""
    try:
        found = from_json(index or b"", Index)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return {f"{one.version} {one.manifest_sha256}": one.published for one in found.versions}


def derived(version: str, manifest: bytes, sizes: Sequence[int], times: dict[str, str], otherwise: str) -> Published:
    """What is said of a version that is there, from its own bytes; the index, where it is whole, adds the time."""
    sha256 = hashlib.sha256(manifest).hexdigest()
    return Published(
        version=version, manifest_sha256=sha256, published=times.get(f"{version} {sha256}", otherwise),
        files=len(sizes), size_bytes=sum(sizes),
    )  # fmt: skip


def _same_content(destination: Destination, version: str, manifest: Manifest) -> bool:
    try:
        before = read_published(destination, version)
    except PublishError:
        return False
    return _timeless(before) == _timeless(manifest)


def _timeless(manifest: Manifest) -> bytes:
    """A manifest without the times that its files took: measured again, they differ, and nothing else does."""
    entries = [
        dataclasses.replace(
            entry, parity=_without_time(entry.parity), parity_with_parent=_without_time(entry.parity_with_parent)
        )
        for entry in manifest.artifacts
    ]
    return to_json(dataclasses.replace(manifest, artifacts=tuple(entries)))


def _without_time(report: ParityReport | None) -> ParityReport | None:
    return dataclasses.replace(report, latency_ms=None) if report else None
