"""Files and folders as several rooms need them: hashed, stamped, linked into place, written all or nothing."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

TAG = ".mcconvert"
"""Name of the file that marks a folder as ours; nothing without it is ever deleted. What is being written beside its
place ends with it."""


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """What tells cheaply whether a file changed since it was hashed."""

    path: str
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What the system changes whenever a file is touched: unlike `mtime_ns`, `changed_ns` cannot be set back."""

    path: str
    inode: int
    size_bytes: int
    mtime_ns: int
    changed_ns: int


def hash_path(path: Path) -> tuple[str, int]:
    """(sha256, size in bytes) of a file; of a folder, of its sorted relative paths and their contents."""
    if path.is_file():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest(), path.stat().st_size
    digest, size = hashlib.sha256(), 0
    for file in _files(path):
        inner, inner_size = hash_path(file)
        digest.update(f"{file.relative_to(path).as_posix()}\0{inner}\0".encode())
        size += inner_size
    return digest.hexdigest(), size


def stamps(path: Path) -> tuple[Stamp, ...]:
    """Stamps of a file, or of every file in a folder."""
    if not path.exists():
        return ()
    base = path.parent
    return tuple(
        Stamp(path=file.relative_to(base).as_posix(), size_bytes=stat.st_size, mtime_ns=stat.st_mtime_ns)
        for file in ([path] if path.is_file() else _files(path))
        for stat in [file.stat()]
    )


def identities(path: Path) -> tuple[Identity, ...]:
    """Identities of a file, or of every file in a folder."""
    if not path.exists():
        return ()
    return tuple(
        Identity(
            path=file.relative_to(path.parent).as_posix(), inode=stat.st_ino, size_bytes=stat.st_size,
            mtime_ns=stat.st_mtime_ns, changed_ns=stat.st_ctime_ns,
        )
        for file in ([path] if path.is_file() else _files(path))
        for stat in [file.stat()]
    )  # fmt: skip


def inside(folder: Path, name: str) -> Path | None:
    """Where `name` lies in `folder`, links followed; None where that is outside, the folder itself, or no path.

    Names in manifests and records are only believed through this: `/etc/passwd`, `../x` and a link that leads out are
    None.
    """
    try:
        base, path = folder.resolve(), (folder / name).resolve()
        path.exists()  # raises for a name that no file can have
    except (OSError, ValueError, RuntimeError):  # a NUL, a circle of links, a name of any length
        return None
    return path if path != base and path.is_relative_to(base) else None


def write_atomically(path: Path, data: bytes) -> None:
    """Write beside the place, then rename: a reader sees the old bytes or the new ones, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=TAG)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError):  # what failed was writing this file, whatever its sibling is called
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def place(source: Path, destination: Path) -> None:
    """Make `destination` the same file or folder as `source`: by hard links where the file system has them.

    A file is replaced in one rename, a folder by exchanging the two where the system can; elsewhere it takes two
    renames, with the old one kept until the new one is there.
    """
    if _same(source, destination):
        return
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix=f".{destination.name}.", suffix=TAG) as folder:
        fresh = Path(folder) / "new"
        if source.is_dir():
            shutil.copytree(source, fresh, copy_function=_link)
        else:
            _link(source, fresh)
        if destination.is_dir() and not destination.is_symlink():
            if _exchange(fresh, destination):
                return
            destination.rename(Path(folder) / "old")
        fresh.replace(destination)


def remove(path: Path) -> None:
    """Remove a file, a link (not what it points to), or a folder with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def half_written(folder: Path) -> list[Path]:
    """What `write_atomically` and `place` had not finished when their process died, anywhere below the folder."""
    return sorted(path for path in folder.rglob(f".*{TAG}") if path.name != TAG)


def make_tagged(folder: Path) -> None:
    """Make a folder that is ours: it carries our tag."""
    folder.mkdir(parents=True, exist_ok=True)
    tag = folder / TAG
    if not tag.exists():
        tag.write_text("made by mcconvert; 'mcconvert clean' may remove what is here\n", encoding="utf-8")


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def _link(source: str | Path, destination: str | Path) -> None:
    try:
        os.link(source, destination)
    except OSError:  # another file system, or one without hard links
        shutil.copy2(source, destination)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two paths in one step, as Linux can on most file systems; says whether it was done."""
    if sys.platform != "linux":
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE: <fcntl.h>, <linux/fs.h>
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    return rename is not None and rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0


def _same(source: Path, destination: Path) -> bool:
    """Whether the very bytes are there already: by hard link, or by their hash. Times say nothing of bytes."""
    if destination.is_symlink() or not destination.exists() or source.is_dir() != destination.is_dir():
        return False
    if source.is_file():
        return source.samefile(destination) or _equal(source, destination)
    names = [file.relative_to(source) for file in _files(source)]
    if names != [file.relative_to(destination) for file in _files(destination)]:
        return False
    return all(_same(source / name, destination / name) for name in names)


def _equal(source: Path, destination: Path) -> bool:
    same_size = source.stat().st_size == destination.stat().st_size
    return same_size and hash_path(source)[0] == hash_path(destination)[0]
