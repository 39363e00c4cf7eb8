"""Files inside .zip and .tar archives, read in place: nothing is unpacked, and no name is ever taken for a path."""

from __future__ import annotations

import io
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from converter.errors import UsageError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
MEMBER_BYTES = 256 * 2**20
"""No photograph is larger; what unpacks to more is no photograph."""
TAR_BYTES, TAR_RATIO = 2**30, 20
"""Listing a compressed tar unpacks it. Photographs do not shrink: what unpacks to more, and to so many times its size,
is made to keep a reader busy."""


@dataclass(frozen=True, kw_only=True)
class Archive:
    """A .zip or .tar file with the names of its plain files."""

    path: Path
    names: tuple[str, ...]

    def read(self, wanted: Collection[str]) -> Iterator[tuple[str, io.BytesIO]]:
        """The members asked for, in the archive's order. A name that occurs twice is read once.

        Raises:
            UsageError: the archive is damaged or locked, or a member is too large.
        """
        left = set(wanted)
        with _readable(self.path):
            for name, size, data in _members(self.path, left):
                left.discard(name)
                yield name, _bounded(self.path, name, size, data)


def is_archive(path: Path) -> bool:
    """By its name."""
    return path.name.lower().endswith(SUFFIXES)


def open_archive(path: Path) -> Archive:
    """The archive at `path`, listed.

    Raises:
        UsageError: it cannot be read as an archive.
    """
    with _readable(path):
        if _is_zip(path):
            with zipfile.ZipFile(path) as archive:
                names = [member.filename for member in archive.infolist() if not member.is_dir()]
        else:
            with tarfile.open(path) as tar:
                names = [member.name for member in _listed(path, tar) if member.isreg()]
                _require_end(tar)
    return Archive(path=path, names=tuple(dict.fromkeys(names)))


def _is_zip(path: Path) -> bool:
    return path.name.lower().endswith(".zip")


def _listed(path: Path, tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Its members, each looked at before what it holds is unpacked to get at the next."""
    most = max(TAR_BYTES, TAR_RATIO * path.stat().st_size)
    for member in tar:
        if member.offset_data + member.size > most:
            message = (
                f"{path}: '{member.name}' is {member.size} bytes, and the archive of {path.stat().st_size} unpacks to "
                f"more than {most}: no archive of photographs does"
            )
            raise UsageError(message)
        yield member


def _require_end(tar: tarfile.TarFile) -> None:
    """A block of zeros ends an archive; tarfile takes one that was cut off between two members for whole (3.12)."""
    tar.fileobj.seek(tar.offset)
    if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        message = "it ends without an end mark"
        raise tarfile.ReadError(message)


def _members(path: Path, left: Collection[str]) -> Iterator[tuple[str, int, io.BufferedIOBase]]:
    """Name, size and open stream of each member that is still asked for."""
    if _is_zip(path):
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if member.filename in left:
                    with archive.open(member) as stream:
                        yield member.filename, member.file_size, stream  # type: ignore[misc]
        return
    with tarfile.open(path) as tar:
        for entry in tar:
            if entry.isreg() and entry.name in left and (content := tar.extractfile(entry)) is not None:
                yield entry.name, entry.size, content  # type: ignore[misc]


def _bounded(path: Path, name: str, size: int, stream: io.BufferedIOBase) -> io.BytesIO:
    """All of a member; a size that lies is found out by reading one byte more than may be there."""
    data = stream.read(MEMBER_BYTES + 1) if size <= MEMBER_BYTES else b""
    if size > MEMBER_BYTES or len(data) > MEMBER_BYTES:
        message = f"{path}: '{name}' unpacks to more than {MEMBER_BYTES // 2**20} MiB, which no photograph does"
        raise UsageError(message)
    return io.BytesIO(data)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """What the readers raise depends on where an archive is broken; a locked one is a RuntimeError of zipfile."""
    try:
        yield
    except UsageError:
        raise
    except (
        OSError,
        EOFError,
        RuntimeError,
        NotImplementedError,
        ValueError,
        zipfile.BadZipFile,
        tarfile.TarError,
        zlib.error,
    ) as error:
        why = str(error) or type(error).__name__
        message = f"{path} cannot be read as an archive ({why}); make it again without a password, or unpack it"
        raise UsageError(message) from error
