"""An archive: one version of one model in a .zip, .tar or .tar.gz, the same bytes for the same files.

Files lie in a folder named after the model, in order of their paths, all of one time and one mode. A .zip stores them
as they are: weights hardly shrink, and no library's compression is in its bytes.
"""

from __future__ import annotations

import fcntl
import gzip
import os
import shutil
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, cast

from converter.errors import PublishError
from converter.publishing.listing import require_source
from converter.publishing.versions import derived, in_utc
from converter.release import MANIFEST, Published, Release, ReleaseFile, Transfer

SCHEMES: tuple[str, ...] = ()
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
EXAMPLE = "mobileclip_s1.zip, mobileclip_s1.tar.gz: one archive with one version"
REQUIRES: tuple[str, ...] = ()
EXTRA = ""

ONLY = "v1"
_MODE = 0o644
_FIRST_ZIP_TIME = (1980, 1, 1, 0, 0, 0)


@contextmanager
def open_destination(address: str, model: str) -> Iterator[Archive]:
    """The archive at a path; it need not be there yet."""
    yield Archive(Path(address).expanduser().absolute(), model)


class Archive:
    """One file. An archive that is there never changes."""

    def __init__(self, path: Path, model: str) -> None:
        self.title = f"{path} (archive)"
        self._path, self._model = path, model

    def published(self) -> Sequence[Published]:
        """The version in the archive, if there is one."""
        if not self._path.exists():
            return []
        sizes = self._sizes()
        written = in_utc(datetime.fromtimestamp(self._path.stat().st_mtime, UTC))
        return [derived(ONLY, self.read(ONLY, MANIFEST), list(sizes.values()), {}, written)]

    def transfers(self, version: str, release: Release) -> Sequence[Transfer]:
        """All files: an archive is written at once, by `finish`."""
        self._refuse_taken()
        return [Transfer(file=file, action="upload") for file in release.files]

    def upload(self, version: str, file: ReleaseFile) -> None:
        """Only look at the file."""
        require_source(file)

    def finish(self, version: str, release: Release, published: Published) -> None:
        """Write beside the place, then give it its name, unless that was taken meanwhile."""
        beside = self._path.with_name(f".{self._path.name}.part")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with open(os.open(beside, os.O_RDWR | os.O_CREAT, _MODE), "r+b") as stream:  # noqa: PTH123
                self._lock(stream)
                stream.truncate(0)
                self._write(stream, release)
                stream.flush()
                os.fsync(stream.fileno())
                _name(beside, self._path)
        except FileExistsError:
            self._refuse_taken()
        except OSError as error:
            beside.unlink(missing_ok=True)
            message = f"{self.title}: {error.strerror or error}: {error.filename or beside}; nothing was published"
            raise PublishError(message) from error

    def read(self, version: str, path: str) -> bytes:
        """A file of the archive."""
        name = f"{self._model}/{path}"
        with self._opened():
            if self._is_zip():
                with zipfile.ZipFile(self._path) as archive:
                    return archive.read(name)
            with tarfile.open(self._path) as tar:
                return cast("IO[bytes]", tar.extractfile(name)).read()

    def _sizes(self) -> dict[str, int]:
        with self._opened():
            if self._is_zip():
                with zipfile.ZipFile(self._path) as archive:
                    return {one.filename: one.file_size for one in archive.infolist()}
            with tarfile.open(self._path) as tar:
                return {one.name: one.size for one in tar}

    def _is_zip(self) -> bool:
        return self._path.name.lower().endswith(".zip")

    @contextmanager
    def _opened(self) -> Iterator[None]:
        try:
            yield
        except (OSError, KeyError, EOFError, zipfile.BadZipFile, tarfile.TarError, AttributeError) as error:
            message = f"{self.title}: not an archive of {self._model} that mcconvert wrote ({error}); give another name"
            raise PublishError(message) from error

    def _refuse_taken(self) -> None:
        if self._path.exists():
            message = f"{self.title} holds another version, and what is published never changes: give another name"
            raise PublishError(message)

    def _lock(self, stream: IO[bytes]) -> None:
        try:
            fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = f"{self.title}: another publish is writing it: wait for that, then run again"
            raise PublishError(message) from error

    def _write(self, stream: IO[bytes], release: Release) -> None:
        name = self._path.name.lower()
        if self._is_zip():
            with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
                for file in release.files:
                    _add_to_zip(archive, f"{release.model}/{file.path}", file)
        elif name.endswith(".tar"):
            _write_tar(stream, release)
        else:
            with gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=0) as packed:
                _write_tar(cast("IO[bytes]", packed), release)


def _add_to_zip(archive: zipfile.ZipFile, name: str, file: ReleaseFile) -> None:
    entry = zipfile.ZipInfo(name, _FIRST_ZIP_TIME)
    entry.create_system, entry.external_attr, entry.file_size = 3, (0o100000 | _MODE) << 16, file.size_bytes
    with file.source.open("rb") as source, archive.open(entry, "w") as place:
        shutil.copyfileobj(source, place)


def _write_tar(stream: IO[bytes], release: Release) -> None:
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for file in release.files:
            entry = tarfile.TarInfo(f"{release.model}/{file.path}")
            entry.size, entry.mode = file.size_bytes, _MODE
            with file.source.open("rb") as source:
                tar.addfile(entry, source)


def _name(beside: Path, path: Path) -> None:
    """Take the name only if it is free; where the file system has no hard links, a rename after a look."""
    beside.chmod(_MODE)
    try:
        os.link(beside, path)
        beside.unlink()
    except FileExistsError:
        beside.unlink()
        raise
    except OSError:
        if path.exists():
            raise FileExistsError(path) from None
        beside.rename(path)
