"""Which plain files belong to a model, what their hashes must be, and `SHA256SUMS` over them.

What the manifest names, and the documents beside it; a folder such as an .mlpackage counts as its files. Names that
begin with a dot (locks, leftovers of a killed run) and `logs` are no part of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from converter.files import hash_path
from converter.manifest import Manifest
from converter.release import BUNDLE, ENVELOPE


@dataclass(frozen=True, kw_only=True)
class Named:
    """A file or folder that the manifest names, with the hash that it must have."""

    path: str
    sha256: str
    size_bytes: int


def named(manifest: Manifest) -> tuple[Named, ...]:
    """Everything that the manifest names: artifacts, the tokenizer, the reference files."""
    found = [(one.path, one.sha256, one.size_bytes) for one in manifest.artifacts]
    tokenizer = manifest.model.tokenizer
    if tokenizer is not None:
        found.append((tokenizer.path, tokenizer.sha256, tokenizer.size_bytes))
    for one in manifest.references:
        for ref in (one.samples, one.embeddings, one.module):
            found.append((ref.path, ref.sha256, ref.size_bytes))
    return tuple(Named(path=path, sha256=sha256, size_bytes=size) for path, sha256, size in sorted(set(found)))


def inside(path: str) -> bool:
    """Whether a path of a document, taken as text, stays inside the folder and can be written in a line of its own."""
    plain = path.isprintable() and "\\" not in path and bool(path)
    return plain and not path.startswith("/") and all(part not in ("", ".", "..") for part in path.split("/"))


def linked(folder: Path, path: str) -> bool:
    """Whether a file, or a folder on the way to it, is a symbolic link: what it leads to is not in the folder."""
    return any((folder / part).is_symlink() for part in (path, *map(str, PurePosixPath(path).parents[:-1])))


def files_of(folder: Path, path: str) -> Iterator[str]:
    """The plain files of what a manifest names: itself, or those in it. Links are given as they are, not followed."""
    place = folder / path
    if place.is_symlink() or not place.is_dir():
        yield path
        return
    for entry in sorted(place.iterdir()):
        yield from files_of(folder, f"{path}/{entry.name}")


def folder_sha256(hashes: Mapping[str, str]) -> str:
    """What `converter.files.hash_path` gives for a folder whose files, by their path in it, have these hashes."""
    digest = hashlib.sha256()
    for path in sorted(hashes, key=PurePosixPath):
        digest.update(f"{path}\0{hashes[path]}\0".encode())
    return digest.hexdigest()


def below(hashes: Mapping[str, str], path: str) -> dict[str, str]:
    """Those of the hashes that are of files in the folder `path`, by their path in it."""
    return {name[len(path) + 1 :]: value for name, value in hashes.items() if name.startswith(f"{path}/")}


def artifact_hashes(folder: Path, manifest: Manifest, known: Mapping[str, str]) -> dict[str, str]:
    """The hash of every plain file that the manifest names, as the manifest says.

    Nothing of a plain file is read. A folder's files are, unless `known` hashes together give the folder's own hash.
    Nothing outside of the model's folder is looked at.
    """
    found: dict[str, str] = {}
    for one in named(manifest):
        remembered = below(known, one.path)
        if not inside(one.path) or not (folder / one.path).is_dir():
            found[one.path] = one.sha256
        elif remembered and folder_sha256(remembered) == one.sha256:
            found |= {f"{one.path}/{name}": value for name, value in remembered.items()}
        else:
            found |= {path: hash_path(folder / path)[0] for path in files_of(folder, one.path)}
    return found


def sums(hashes: Mapping[str, str]) -> bytes:
    """`SHA256SUMS` over files, by path: the form that `sha256sum -c` reads, sorted by path."""
    return "".join(f"{hashes[path]}  {path}\n" for path in sorted(hashes)).encode()


def is_signed(folder: Path) -> bool:
    """Whether a signature lies beside the statement, valid or not."""
    return any((folder / name).exists() for name in (ENVELOPE, BUNDLE))
