"""Large files of a git repository: kept by git-lfs, a pointer of three lines in their place."""

from __future__ import annotations

from collections.abc import Iterable

from converter.errors import MissingDependencyError
from converter.files import place
from converter.publishing.repository import Repository
from converter.release import ReleaseFile

LARGEST_BYTES = 10 * 1024 * 1024
"""What the hubs take as plain files; anything larger goes through git-lfs."""
ATTRIBUTES = ".gitattributes"
_VERSION = b"version https://git-lfs.github.com/spec/v1\n"
_BEGIN, _END = "# begin of mcconvert", "# end of mcconvert"


def is_large(file: ReleaseFile) -> bool:
    """Whether git-lfs has to keep it."""
    return file.size_bytes > LARGEST_BYTES


def pointer(file: ReleaseFile) -> bytes:
    """What lies in the repository for a large file."""
    return _VERSION + f"oid sha256:{file.sha256}\nsize {file.size_bytes}\n".encode()


def is_pointer(data: bytes) -> bool:
    """Whether these bytes stand for a large file."""
    return data.startswith(_VERSION)


def send_large(repository: Repository, file: ReleaseFile) -> None:
    """Send one large file; git-lfs asks the remote first and sends nothing that is there.

    Raises:
        MissingDependencyError: there is no git-lfs.
        PublishError: it was not taken.
    """
    require_lfs(repository, file)
    stored = repository.folder / "lfs" / "objects" / file.sha256[:2] / file.sha256[2:4] / file.sha256
    place(file.source, stored)
    try:
        repository.git("lfs", "push", "--object-id", "origin", file.sha256)
    finally:
        stored.unlink()


def require_lfs(repository: Repository, file: ReleaseFile) -> None:
    """Refuse what needs git-lfs where there is none.

    Raises:
        MissingDependencyError: naming the file.
    """
    if not repository.knows("lfs", "version"):
        message = (
            f"{file.path} has {file.size_bytes / 1e6:.0f} MB; git repositories take files of over "
            f"{LARGEST_BYTES / 1e6:.0f} MB through git-lfs, and there is none: 'apt-get install git-lfs' or "
            "'brew install git-lfs' brings it in"
        )
        raise MissingDependencyError(message)


def attributes(before: str, large: Iterable[str]) -> bytes:
    """`.gitattributes`: what others wrote there, then ours: no line ending is touched, large files are git-lfs's."""
    kept, _, rest = before.partition(f"{_BEGIN}\n")
    kept += rest.partition(f"{_END}\n")[2]
    rules = [f"{_quoted(path)} filter=lfs diff=lfs merge=lfs -text" for path in sorted(large)]
    return "\n".join([*kept.splitlines(), _BEGIN, "* -text", *rules, _END, ""]).encode()


def _quoted(path: str) -> str:
    """A pattern that is this one path."""
    plain = "".join(f"\\{sign}" if sign in "*?[\\" else sign for sign in path)
    return '"/' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'
