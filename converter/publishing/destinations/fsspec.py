"""Any store that fsspec reaches: S3 and its relatives, Google's and Azure's, SFTP, memory.

`<address>/<model>/v1/...`, with `index.json` beside the versions. The manifest is the last object of a version and is
written only where there is none, by the store itself where it can. Until then `.claim.json` in the version tells other
publishers that it is being filled, and with what. Each file is compared with what the store says or gives back.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from converter.errors import MissingDependencyError, PublishError
from converter.publishing.addresses import cause_of, parse_address, version_number, without_secrets
from converter.publishing.listing import require_source, taken
from converter.publishing.versions import derived, in_utc, index_of, times_in
from converter.records import from_json, to_json
from converter.release import INDEX, MANIFEST, Published, Release, ReleaseFile, Transfer

SCHEMES = ("s3", "s3a", "gs", "gcs", "az", "abfs", "sftp", "ssh", "memory", "local")
EXAMPLE = "s3://bucket/models, gs://bucket/models, sftp://host/srv/models: any address that fsspec knows"
REQUIRES = ("fsspec",)
EXTRA = "fsspec"

CLAIM = ".claim.json"
STALE_SECONDS = 6 * 3600
"""A claim that nobody renewed for that long is of a publish that died. Each file of a living one renews it."""
PART_BYTES = 50 * 2**20
"""Of a multipart upload; an ETag of S3 is made of the hashes of these."""
BUCKETS = ("s3", "s3a", "gs", "gcs", "az", "abfs")
"""Stores of objects: without folders, in buckets that are never made here."""
PACKAGES = {
    "s3": "mcconvert[s3]",
    "s3a": "mcconvert[s3]",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
}
_CONNECTION = {"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 2}}


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Who fills a version. `release` is a hash over all its files, `renewed` the time in UTC, in seconds."""

    release: str
    owner: str
    renewed: float


def takes(scheme: str) -> bool:
    """Whether fsspec, as it is installed here, knows the scheme."""
    try:
        from fsspec.registry import known_implementations, registry
    except ImportError:
        return False
    return scheme in known_implementations or scheme in registry


@contextmanager
def open_destination(address: str, model: str) -> Iterator[Store]:
    """The store at that address.

    Raises:
        PublishError: its bucket is not there, or it cannot be reached.
        MissingDependencyError: the package for its protocol is not installed.
    """
    place = parse_address(address, EXAMPLE.partition(",")[0])
    title = f"{without_secrets(address)} ({place.scheme})"
    with _told(title):
        system, root = _open(address, place.scheme)
        store = Store(title, system, f"{root.rstrip('/')}/{model}", model, buckets=place.scheme in BUCKETS)
        if place.scheme in BUCKETS and not system.exists(place.host):
            message = f"{title}: there is no bucket '{place.host}', or these credentials may not see it: make it first"
            raise PublishError(message)
    yield store


class Store:
    """The versions of one model in a store."""

    def __init__(self, title: str, system: Any, root: str, model: str, *, buckets: bool) -> None:
        self.title = title
        self._system, self._root, self._model, self._buckets = system, root, model, buckets
        self._owner = uuid.uuid4().hex
        self._releases: dict[str, str] = {}

    def published(self) -> Sequence[Published]:
        """Every folder `vN` with a manifest, by its number."""
        with _told(self.title):
            files = self._files()
            times = times_in(self._system.cat_file(f"{self._root}/{INDEX}") if INDEX in files else None)
            versions = {path.partition("/")[0] for path in files if path.partition("/")[2] == MANIFEST}
            ordered = sorted(filter(version_number, versions), key=version_number)
            return [self._derived(version, files, times) for version in ordered]

    def transfers(self, version: str, release: Release) -> Sequence[Transfer]:
        """A file is kept when the unfinished version has its very bytes."""
        self._releases[version] = _digest(release)
        with _told(self.title):
            files = self._files()
            return [
                Transfer(file=file, action="keep" if self._has(version, file, files) else "upload")
                for file in release.files
            ]

    def upload(self, version: str, file: ReleaseFile) -> None:
        """Send the file, and compare what arrived; the manifest waits for `finish`."""
        require_source(file)
        if file.path == MANIFEST:
            return
        with _told(self.title):
            self._claim(version)
            path = f"{self._root}/{version}/{file.path}"
            self._put(file, path)
            if not self._is_same(path, self._system.info(path), file):
                message = f"{self.title}: {file.path} did not arrive as the bytes that left; run again"
                raise PublishError(message)

    def finish(self, version: str, release: Release, published: Published) -> None:
        """Look at every file once more, then write the manifest where there is none, then the index."""
        with _told(self.title):
            if not self._is_finished(version, published):
                self._releases[version] = _digest(release)
                self._claim(version)
                self._refuse_lacking(version, release)
                self._create(version, release, published)
            self._point(published)
            self._remove(f"{self._root}/{version}/{CLAIM}")

    def mend(self) -> bool:
        """Write the index anew where it is not as the versions say."""
        with _told(self.title):
            there = self._read_or_none(f"{self._root}/{INDEX}")
            versions = self.published()
            if not versions or there == index_of(self._model, versions):
                return False
            self._pipe(f"{self._root}/{INDEX}", index_of(self._model, versions))
            return True

    def read(self, version: str, path: str) -> bytes:
        """A file of a whole version."""
        with _told(self.title):
            return bytes(self._system.cat_file(f"{self._root}/{version}/{path}"))

    def _files(self) -> dict[str, Mapping[str, Any]]:
        """All that is there of the model, by its path below the model's folder."""
        self._system.invalidate_cache()
        prefix = self._system._strip_protocol(self._root) + "/"
        found = self._system.find(self._root, detail=True)
        return {path.removeprefix(prefix): info for path, info in found.items() if path.startswith(prefix)}

    def _derived(self, version: str, files: Mapping[str, Any], times: dict[str, str]) -> Published:
        inside = {path: info for path, info in files.items() if path.startswith(f"{version}/")}
        sizes = [info["size"] for path, info in inside.items() if path != f"{version}/{CLAIM}"]
        manifest = self._system.cat_file(f"{self._root}/{version}/{MANIFEST}")
        return derived(version, manifest, sizes, times, _written(inside[f"{version}/{MANIFEST}"]))

    def _has(self, version: str, file: ReleaseFile, files: Mapping[str, Any]) -> bool:
        info = files.get(f"{version}/{file.path}")
        return info is not None and self._is_same(f"{self._root}/{version}/{file.path}", info, file)

    def _is_same(self, path: str, info: Mapping[str, Any], file: ReleaseFile) -> bool:
        """By the store's own checksum where that is one of the bytes, else by reading them back."""
        if info["size"] != file.size_bytes:
            return False
        etag = str(info.get("ETag", "")).strip('"')
        if etag and etag == _etag(file):
            return True
        digest = hashlib.sha256()
        with self._system.open(path, "rb") as stream:
            while chunk := stream.read(4 * 2**20):
                digest.update(chunk)
        return digest.hexdigest() == file.sha256

    def _put(self, file: ReleaseFile, path: str) -> None:
        self._make_folder(path)
        chunks = {"chunksize": PART_BYTES} if self._buckets and "s3" in _protocols(self._system) else {}
        self._system.put_file(str(file.source), path, **chunks)

    def _pipe(self, path: str, data: bytes, *, create: bool = False) -> None:
        self._make_folder(path)
        self._system.pipe_file(path, data, **({"mode": "create"} if create else {}))

    def _make_folder(self, path: str) -> None:
        if not self._buckets:
            self._system.makedirs(path.rpartition("/")[0], exist_ok=True)

    def _claim(self, version: str) -> None:
        """Say that this version is being filled, and with what; refuse when someone else does so.

        Raises:
            PublishError: another release is on its way there.
        """
        path = f"{self._root}/{version}/{CLAIM}"
        now = datetime.now(UTC).timestamp()
        mine = Claim(release=self._releases.get(version, ""), owner=self._owner, renewed=now)
        there = self._claimed(path)
        if there is None:
            self._try_create(path, to_json(mine))
            there = self._claimed(path) or mine
        if there.release != mine.release and now - there.renewed < STALE_SECONDS:
            since = datetime.fromtimestamp(there.renewed, UTC).strftime("%Y-%m-%d %H:%M UTC")
            message = (
                f"{self.title}: {version} is being filled with other files by another publish, last seen at {since}: "
                f"wait for it and run again; if it was interrupted, remove {path} first"
            )
            raise PublishError(message)
        if there.owner != self._owner or now - there.renewed > 60:
            self._pipe(path, to_json(mine))

    def _claimed(self, path: str) -> Claim | None:
        data = self._read_or_none(path)
        try:
            return from_json(data, Claim) if data is not None else None
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None

    def _refuse_lacking(self, version: str, release: Release) -> None:
        files = self._files()
        paths = {f"{version}/{file.path}" for file in release.files}
        lacking = [file.path for file in release.files if file.path != MANIFEST and not self._has(version, file, files)]
        if lacking:
            message = f"{self.title}: {version} lacks {', '.join(lacking[:3])}; run again, it goes on where it was"
            raise PublishError(message)
        for path in files:  # what an earlier, unfinished upload left of other files
            if path.startswith(f"{version}/") and path not in paths | {f"{version}/{CLAIM}", f"{version}/{MANIFEST}"}:
                self._remove(f"{self._root}/{path}")

    def _create(self, version: str, release: Release, published: Published) -> None:
        """The manifest, whole and only where there is none; who was faster with another one wins."""
        require_source(release.manifest)
        path = f"{self._root}/{version}/{MANIFEST}"
        why = self._try_create(path, release.manifest.source.read_bytes())
        if not self._is_finished(version, published):
            raise why or PublishError(f"{self.title}: the manifest of {version} did not arrive; run again")

    def _try_create(self, path: str, data: bytes) -> Exception | None:
        """Stores answer with errors of their own where something is there; what counts is what is there afterwards."""
        if self._read_or_none(path) is not None:
            return None
        try:
            if self._buckets:
                self._pipe(path, data, create=True)
            else:  # a file would be seen half: beside the place, then one rename
                self._pipe(f"{path}.part", data)
                self._system.mv(f"{path}.part", path)
        except (OSError, NotImplementedError) as error:
            if self._read_or_none(path) is None:
                return error
        return None

    def _is_finished(self, version: str, published: Published) -> bool:
        manifest = self._read_or_none(f"{self._root}/{version}/{MANIFEST}")
        if manifest is None:
            return False
        if hashlib.sha256(manifest).hexdigest() == published.manifest_sha256:
            return True
        raise taken(self.title, version)

    def _point(self, fresh: Published) -> None:
        versions = [one for one in self.published() if one.version != fresh.version]
        self._pipe(f"{self._root}/{INDEX}", index_of(self._model, [*versions, fresh]))

    def _read_or_none(self, path: str) -> bytes | None:
        self._system.invalidate_cache()
        try:
            return bytes(self._system.cat_file(path))
        except FileNotFoundError:
            return None

    def _remove(self, path: str) -> None:
        self._system.rm_file(path)


def _open(address: str, scheme: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
    if scheme in ("s3", "s3a"):
        options["config_kwargs"] = _CONNECTION
    try:
        system, root = url_to_fs(address, **options)
    except ImportError as error:
        message = f"{without_secrets(address)}: {error}: pip install '{PACKAGES.get(scheme, scheme)}'"
        raise MissingDependencyError(message) from error
    if "s3" in _protocols(system):
        system.retries = 2  # s3fs repeats on top of its own client's repeating
    return system, str(root)


def _protocols(system: Any) -> tuple[str, ...]:
    return (system.protocol,) if isinstance(system.protocol, str) else tuple(system.protocol)


def _etag(file: ReleaseFile) -> str:
    """What S3 calls a plain object of these bytes, or one in parts of our size."""
    with file.source.open("rb") as stream:
        if file.size_bytes < 2 * PART_BYTES:  # s3fs sends it at once
            return str(_md5(stream.read()).hexdigest())
        parts = [_md5(chunk).digest() for chunk in iter(lambda: stream.read(PART_BYTES), b"")]
    return f"{_md5(b''.join(parts)).hexdigest()}-{len(parts)}"


def _md5(data: bytes) -> Any:
    return hashlib.md5(data, usedforsecurity=False)


def _digest(release: Release) -> str:
    """One hash over all files of a release."""
    facts = [[file.path, file.sha256] for file in release.files]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _written(info: Mapping[str, Any]) -> str:
    when = next((info[name] for name in ("LastModified", "last_modified", "mtime", "created") if name in info), None)
    if isinstance(when, int | float):
        when = datetime.fromtimestamp(when, UTC)
    return in_utc(when) if isinstance(when, datetime) else ""


@contextmanager
def _told(title: str) -> Iterator[None]:
    """Clients raise errors of many classes: what is no refusal of ours becomes one, with a way on."""
    try:
        yield
    except (PublishError, MissingDependencyError):
        raise
    except Exception as error:
        message = (
            f"{title}: {_cause(error)}; nothing half was published: {_advice(error)}, then run again, which goes on "
            "where this stopped"
        )
        raise PublishError(message) from error


def _cause(error: Exception) -> str:
    words = cause_of(error)
    return words if isinstance(error, OSError) else f"{type(error).__name__}: {words}"


def _advice(error: Exception) -> str:
    if isinstance(error, PermissionError) or "Credentials" in type(error).__name__:
        return "look at the credentials and at what they may write"
    if isinstance(error, FileNotFoundError):
        return "look whether the bucket or folder is still there"
    return "look whether the store is reachable and has room"
