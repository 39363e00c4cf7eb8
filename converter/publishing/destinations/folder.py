"""A folder: `<folder>/<model>/v1/...`, `index.json`, and `latest`, a link to the newest version.

A version is filled in `.v1.partial` and gets its name in one rename, so that it is whole or absent. Files are copies,
read-only: what becomes of the exported ones later does not reach them.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import urllib.parse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from converter.errors import PublishError
from converter.files import hash_path, write_atomically
from converter.publishing.addresses import version_number
from converter.publishing.listing import taken
from converter.publishing.versions import derived, in_utc, index_of, times_in
from converter.release import INDEX, LATEST, MANIFEST, Published, Release, ReleaseFile, Transfer

SCHEMES = ("", "file")
EXAMPLE = "/srv/models, file:///srv/models: a folder, versions below /srv/models/MODEL"
REQUIRES: tuple[str, ...] = ()
EXTRA = ""

_CHUNK = 4 * 2**20
_READ_ONLY = 0o444


@contextmanager
def open_destination(address: str, model: str) -> Iterator[Folder]:
    """The folder at a path or a file:// address; it need not be there yet.

    Raises:
        PublishError: it is a file, or on another machine.
    """
    root = _path_of(address)
    if root.exists() and not root.is_dir():
        message = f"{root}: a file is there, expected a folder; an archive's name ends in .zip, .tar or .tar.gz"
        raise PublishError(message)
    folder = Folder(root / model, model)
    try:
        yield folder
    finally:
        folder.close()


class Folder:
    """The versions of one model in a folder. From its first upload on it is locked until it is closed."""

    def __init__(self, root: Path, model: str) -> None:
        self.title = f"{root.parent} (folder)"
        self._root, self._model = root, model
        self._lock: IO[str] | None = None

    def published(self) -> Sequence[Published]:
        """Every folder `vN`, by its number."""
        with self._told():
            times = times_in(self._index() if (self._root / INDEX).is_file() else None)
            return [self._derived(version, times) for version in self._versions()]

    def transfers(self, version: str, release: Release) -> Sequence[Transfer]:
        """A file is kept when an unfinished upload left its very bytes."""
        partial = self._partial(version)
        return [Transfer(file=one, action="keep" if _is_there(partial, one) else "upload") for one in release.files]

    def upload(self, version: str, file: ReleaseFile) -> None:
        """Copy beside the place, compare what was copied, rename."""
        with self._told():
            self._locked()
            self._refuse_taken(version)
            place = self._partial(version) / file.path
            place.parent.mkdir(parents=True, exist_ok=True)
            beside = place.with_name(f".{place.name}.part")
            _copy(file, beside)
            beside.replace(place)

    def finish(self, version: str, release: Release, published: Published) -> None:
        """Compare all bytes once more, then one rename makes the version visible."""
        with self._told():
            self._locked()
            self._refuse_taken(version)
            lacking = [one.file.path for one in self.transfers(version, release) if one.action == "upload"]
            if lacking:
                message = f"{self.title}: {version} lacks {', '.join(lacking[:3])}; run again, it goes on where it was"
                raise PublishError(message)
            partial = self._partial(version)
            _remove_strays(partial, {file.path for file in release.files})
            _sync_folders(partial)
            partial.rename(self._root / version)
            _sync_folders(self._root)
            self._point(published)

    def mend(self) -> bool:
        """Write the index and `latest` anew where they are not as the versions say."""
        with self._told():
            if not self._versions() or self._is_pointed():
                return False
            self._locked()
            self._point()
            return True

    def read(self, version: str, path: str) -> bytes:
        """A file of a whole version."""
        file = self._root / version / path
        if not version_number(version) or not file.resolve().is_relative_to((self._root / version).resolve()):
            message = f"{self.title}: {version}/{path} is no file of a version"
            raise PublishError(message)
        with self._told():
            return file.read_bytes()

    def close(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _versions(self) -> list[str]:
        if not self._root.is_dir():
            return []
        found = [one.name for one in self._root.iterdir() if version_number(one.name) and (one / MANIFEST).is_file()]
        return sorted(found, key=version_number)

    def _derived(self, version: str, times: dict[str, str]) -> Published:
        place = self._root / version
        sizes = [file.stat().st_size for file in place.rglob("*") if file.is_file()]
        written = in_utc(datetime.fromtimestamp((place / MANIFEST).stat().st_mtime, UTC))
        return derived(version, (place / MANIFEST).read_bytes(), sizes, times, written)

    def _partial(self, version: str) -> Path:
        return self._root / f".{version}.partial"

    def _index(self) -> bytes:
        return (self._root / INDEX).read_bytes()

    def _is_pointed(self) -> bool:
        versions = self.published()
        index = self._index() if (self._root / INDEX).is_file() else b""
        link = self._root / LATEST
        linked = not link.is_symlink() or str(link.readlink()) == versions[-1].version
        return index == index_of(self._model, versions) and linked

    def _point(self, fresh: Published | None = None) -> None:
        """Index and link to the versions that are there; the link only where the file system has such."""
        versions = [one for one in self.published() if fresh is None or one.version != fresh.version]
        write_atomically(self._root / INDEX, index_of(self._model, [*versions, *([fresh] if fresh else [])]))
        beside = self._root / f".{LATEST}.link"
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
            beside.symlink_to(self._versions()[-1])
            beside.replace(self._root / LATEST)

    def _refuse_taken(self, version: str) -> None:
        if (self._root / version).exists():
            raise taken(self.title, version)

    def _locked(self) -> None:
        """Hold the folder; the lock goes with the process, however that ends."""
        if self._lock is not None:
            return
        self._root.mkdir(parents=True, exist_ok=True)
        lock = (self._root / ".lock").open("a+")
        try:
            fcntl.flock(lock.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.close()
            message = f"{self.title}: another publish is writing to {self._root}: wait for it, then run again"
            raise PublishError(message) from error
        self._lock = lock

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            where = error.filename or self._root
            message = (
                f"{self.title}: {error.strerror or error}: {where}; nothing half was published: mend it and run again, "
                "which goes on where this stopped"
            )
            raise PublishError(message) from error


def _path_of(address: str) -> Path:
    if "://" not in address:
        return Path(address).expanduser().absolute()
    parts = urllib.parse.urlsplit(address)
    if parts.netloc not in ("", "localhost") or not parts.path:
        message = f"{address}: expected file:///PATH, with three slashes, on this machine"
        raise PublishError(message)
    return Path(urllib.parse.unquote(parts.path))


def _is_there(partial: Path, file: ReleaseFile) -> bool:
    place = partial / file.path
    if not place.is_file() or place.stat().st_size != file.size_bytes:
        return False
    return hash_path(place)[0] == file.sha256


def _copy(file: ReleaseFile, place: Path) -> None:
    """The bytes on the disk, and exactly those that were gathered."""
    digest = hashlib.sha256()
    place.unlink(missing_ok=True)
    with file.source.open("rb") as source, place.open("wb") as stream:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            stream.write(chunk)
        stream.flush()
        os.fsync(stream.fileno())
    place.chmod(_READ_ONLY)
    if digest.hexdigest() != file.sha256:
        place.unlink()
        message = f"{file.path} changed while it was published: run again, which looks at everything anew"
        raise PublishError(message)


def _remove_strays(partial: Path, paths: set[str]) -> None:
    """What an earlier, unfinished upload left of other files."""
    for file in sorted(partial.rglob("*"), reverse=True):
        if file.is_dir() and not any(file.iterdir()):
            shutil.rmtree(file)
        elif not file.is_dir() and file.relative_to(partial).as_posix() not in paths:
            file.unlink()


def _sync_folders(root: Path) -> None:
    for folder in [root, *(one for one in root.rglob("*") if one.is_dir() and not one.is_symlink())]:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
