"""What lies in a model's folder, held against names and hashes: plain files of this folder, those and no others."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from converter.files import hash_path
from converter.manifest import Manifest
from converter.publishing.checksums import inside, linked, named
from converter.records import Finding
from converter.release import BESIDE, BESIDE_FOLDERS, DOCUMENTS, PROVENANCE

AGAIN = (
    "run the same export again: it makes anew what is wrong; a folder that was given to you, take again at its source"
)
REMOVE = "remove it and run the same export again; a folder that was given to you, take again at its source"
LARGEST_DOCUMENT = 256 * 2**20


def read_document(folder: Path, name: str) -> bytes:
    """The bytes of a document.

    Raises:
        ValueError: it is missing, a link, no plain file, or larger than any document of ours.
    """
    why = _not_plain(folder, name)
    if why:
        raise ValueError(why)
    if (folder / name).stat().st_size > LARGEST_DOCUMENT:
        message = f"it is larger than {LARGEST_DOCUMENT:,} bytes"
        raise ValueError(message)
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from error


def astray(folder: Path, paths: Iterable[str], document: str) -> Iterator[Finding]:
    """Paths of a document that do not stay in the folder: nothing is read there."""
    for path in paths:
        if not inside(path):
            yield Finding(name=document, seen=f"names {path!r}, which is no path inside the folder", advice=AGAIN)
        elif linked(folder, path):
            yield Finding(
                name=path, seen="a symbolic link leads to it: what it leads to is no file of this folder",
                advice="remove the link and export again, or put the file itself there",
            )  # fmt: skip


def differing(folder: Path, stated: Mapping[str, str]) -> Iterator[Finding]:
    """Subjects that are not on disk as stated."""
    for path, sha256 in stated.items():
        why = _not_plain(folder, path) or _hash_differs(folder / path, sha256)
        if why:
            yield Finding(name=path, seen=why, advice=AGAIN if path in DOCUMENTS else REMOVE)


def strays(folder: Path, manifest: Manifest) -> Iterator[Finding]:
    """Files that nobody names. Hidden names and what other commands put beside a manifest are no part of a release."""
    known = {*DOCUMENTS, *(one.path for one in named(manifest))}
    for path in _walk(folder, ""):
        if path not in known and known.isdisjoint(map(str, PurePosixPath(path).parents)):
            advice = "remove it or keep it elsewhere; exporting its row again names a file that was left behind"
            yield Finding(name=path, seen="no document names it", advice=advice)


def _not_plain(folder: Path, path: str) -> str:
    """Why a path is not a plain file of the folder; empty when it is."""
    if linked(folder, path):
        return "a symbolic link is not a file of this folder"
    try:
        mode = (folder / path).lstat().st_mode
    except OSError as error:
        return "it is missing" if isinstance(error, FileNotFoundError) else error.strerror or str(error)
    return "" if stat.S_ISREG(mode) else "it is not a plain file"


def _hash_differs(path: Path, sha256: str) -> str:
    try:
        found = hash_path(path)[0]
    except OSError as error:
        return f"it cannot be read: {error.strerror or error}"
    return "" if found == sha256 else f"it was changed: sha256 {found[:12]}..., {PROVENANCE} says {sha256[:12]}..."


def _walk(folder: Path, path: str) -> Iterator[str]:
    for entry in sorted((folder / path).iterdir()):
        inner = f"{path}/{entry.name}" if path else entry.name
        if entry.name.startswith(".") or inner in (*BESIDE, *BESIDE_FOLDERS):
            continue
        if entry.is_dir() and not entry.is_symlink():
            yield from _walk(folder, inner)
        else:
            yield inner
