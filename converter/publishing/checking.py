"""Check offline that a folder's documents and files are one whole: every byte as the statement says, nothing beside it.

What lies on disk is looked at by `publishing.on_disk`, signatures by `publishing.signatures`. A finding is a
mismatch, with the file and what to do about it. Where there is none, every file is the one that the statement tells of,
and the statement is as `SHA256SUMS`, the SBOM, the manifest and its signature want it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from converter.build import Build
from converter.errors import UsageError
from converter.files import hash_path
from converter.manifest import Manifest
from converter.publishing.checksums import below, files_of, folder_sha256, named, sums
from converter.publishing.manifest import read_manifest
from converter.publishing.on_disk import AGAIN, astray, differing, read_document, strays
from converter.publishing.provenance import hashes_of
from converter.publishing.signatures import check_signatures
from converter.publishing.signing import Keys
from converter.publishing.statement import Statement, build_of, read_statement
from converter.records import Finding
from converter.release import CARD, MANIFEST, PROVENANCE, SBOM, SUMS

_SHA256 = re.compile(r"[0-9a-f]{64}")


def check_folder(folder: Path, keys: Keys) -> list[Finding]:
    """Everything that is wrong with a folder, also where its manifest cannot be read.

    Raises:
        UsageError: it holds neither a manifest nor a statement; or a key in `keys` cannot be read.
        MissingDependencyError: `keys` names an identity, and sigstore is not installed.
    """
    if not any((folder / name).exists() for name in (MANIFEST, PROVENANCE)):
        message = f"{folder}: neither {MANIFEST} nor {PROVENANCE} is there: give a model's folder, artifacts/MODEL"
        raise UsageError(message)
    try:
        read_document(folder, MANIFEST)
        manifest = read_manifest(folder)
    except (UsageError, ValueError, RecursionError) as error:
        return [Finding(name=MANIFEST, seen=f"cannot be read: {_short(error)}", advice=AGAIN)]
    return check_provenance(folder, manifest, keys)


def check_provenance(folder: Path, manifest: Manifest, keys: Keys) -> list[Finding]:
    """Every mismatch between a folder's files, its manifest and its documents; empty when all is well.

    Raises:
        UsageError: a key in `keys` cannot be read.
        MissingDependencyError: `keys` names an identity, and sigstore is not installed.
    """
    try:
        return _mismatches(folder, manifest, keys)
    except OSError as error:
        name = Path(error.filename).name if error.filename else folder.name
        seen = f"cannot be read: {error.strerror or error}"
        return [Finding(name=name, seen=seen, advice="mend its rights, or take the folder again at its source")]


def _mismatches(folder: Path, manifest: Manifest, keys: Keys) -> list[Finding]:
    elsewhere = list(astray(folder, [one.path for one in named(manifest)], MANIFEST))
    if elsewhere:
        return elsewhere
    try:
        data = read_document(folder, PROVENANCE)
        statement = read_statement(data)
        build = build_of(statement)
    except (ValueError, RecursionError) as error:
        return [Finding(name=PROVENANCE, seen=f"cannot be read: {_short(error)}", advice=AGAIN)]
    stated = hashes_of(statement)
    unusable = [*_malformed(statement), *astray(folder, [*stated], PROVENANCE)]
    if unusable:
        return unusable
    return [
        *differing(folder, stated),
        *_unstated(folder, manifest, stated),
        *_against_manifest(manifest, stated),
        *_against_build(manifest, build, stated),
        *_against_sums(folder, stated),
        *strays(folder, manifest),
        *check_signatures(folder, data, keys),
    ]


def _malformed(statement: Statement) -> Iterator[Finding]:
    """Subjects that say nothing, or two things."""
    for name, count in Counter(one.name for one in statement.subject).items():
        if count > 1:
            yield Finding(name=PROVENANCE, seen=f"states {name!r} {count} times", advice=AGAIN)
    for one in statement.subject:
        if set(one.digest) != {"sha256"} or not _SHA256.fullmatch(one.digest["sha256"]):
            yield Finding(name=PROVENANCE, seen=f"gives no sha256 of {one.name!r}", advice=AGAIN)


def _unstated(folder: Path, manifest: Manifest, stated: Mapping[str, str]) -> Iterator[Finding]:
    """Files of the release that no subject tells of, and subjects that belong to nothing."""
    documents = [name for name in (MANIFEST, SBOM) if name not in stated]
    documents += [CARD] * (CARD not in stated and (folder / CARD).exists())
    paths = [path for one in named(manifest) for path in files_of(folder, one.path) if path not in stated]
    for path in (*documents, *paths):
        yield Finding(name=path, seen=f"{PROVENANCE} does not tell of it", advice=AGAIN)
    known = {MANIFEST, SBOM, CARD, *(one.path for one in named(manifest))}
    for path in stated:
        if path not in known and known.isdisjoint(map(str, PurePosixPath(path).parents)):
            yield Finding(name=PROVENANCE, seen=f"tells of {path}, which {MANIFEST} does not name", advice=AGAIN)


def _against_manifest(manifest: Manifest, stated: Mapping[str, str]) -> Iterator[Finding]:
    """Hashes that the manifest gives otherwise than the statement does."""
    for one in named(manifest):
        inner = below(stated, one.path)
        said = stated.get(one.path) or (folder_sha256(inner) if inner else "")
        if said and said != one.sha256:
            seen = f"{MANIFEST} says sha256 {one.sha256[:12]}..., {PROVENANCE} says {said[:12]}..."
            yield Finding(name=one.path, seen=seen, advice=AGAIN)


def _against_build(manifest: Manifest, build: Build, stated: Mapping[str, str]) -> Iterator[Finding]:
    """What the statement says of model, weights, SBOM and invocations that does not fit together."""
    weights = [one.digest.get("sha256") for one in build.materials if one.name == "weights"]
    if weights != [manifest.model.weights.sha256]:
        yield Finding(name=PROVENANCE, seen=f"its weights are not those of {MANIFEST}", advice=AGAIN)
    if build.parameters.get("model") != manifest.model.id:
        yield Finding(name=PROVENANCE, seen=f"it tells of another model than {MANIFEST}", advice=AGAIN)
    if build.sbom_sha256 != stated.get(SBOM, ""):
        yield Finding(name=SBOM, seen=f"{PROVENANCE} gives two hashes of it", advice=AGAIN)
    known = {build.invocation, *(one.invocation for one in build.earlier), ""}
    strange = sorted({one.invocation for one in build.origins.values()} - known)
    if strange:
        yield Finding(
            name=PROVENANCE, seen=f"it tells nothing of {', '.join(strange)}, which built files", advice=AGAIN
        )


def _against_sums(folder: Path, stated: Mapping[str, str]) -> Iterator[Finding]:
    """`SHA256SUMS` is not, byte for byte, what the statement and its own hash make it."""
    expected = sums({**stated, PROVENANCE: hash_path(folder / PROVENANCE)[0]})
    try:
        found = read_document(folder, SUMS)
    except ValueError as error:
        yield Finding(name=SUMS, seen=str(error), advice=AGAIN)
        return
    if found != expected:
        yield Finding(name=SUMS, seen=_first_difference(found, expected), advice=AGAIN)


def _first_difference(found: bytes, expected: bytes) -> str:
    """Which line of a file is not as it must be; where it is the statement's, that may be the changed one."""
    lines, wanted = found.split(b"\n"), expected.split(b"\n")
    number = next(
        (i for i, (a, b) in enumerate(zip(lines, wanted, strict=False)) if a != b), min(len(lines), len(wanted))
    )
    line = wanted[number] if number < len(wanted) else b""
    path = line.partition(b"  ")[2].decode(errors="replace")
    if path == PROVENANCE:
        return f"it or {PROVENANCE} was changed: line {number + 1} does not give the hash of {PROVENANCE}"
    return f"it was changed: line {number + 1} is not '{line.decode(errors='replace')}'"


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:300]}..."
