"""One publication from exported folder to finished version: the only place that joins verification with publishing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from converter.errors import McconvertError, PublishError, UsageError, nearest
from converter.manifest import Manifest, Waiver
from converter.publishing.destinations import Destination, MendingDestination
from converter.publishing.gates import WAIVERS, Examined, Refusal, examine
from converter.publishing.gathering import gather, release_name, released, staging, unchanged_by_runs
from converter.publishing.manifest import read_manifest
from converter.publishing.opening import module_of, open_address
from converter.publishing.versions import choose_version, published_now, read_published, resolve_version
from converter.records import StageResult
from converter.release import MANIFEST, Release, Transfer

Carried = Callable[[int, int, Transfer], None]
"""Called with (number, count, transfer) before each file is carried."""


@dataclass(frozen=True, kw_only=True)
class PublishRequest:
    """What the user asked for. `sign` writes a signature into a folder, `verify` runs every file once more."""

    address: str
    folder: Path
    allow: tuple[str, ...] = ()
    dry_run: bool = False
    sign: Callable[[Path], object] | None = None
    verify: Callable[[Path, Manifest], Sequence[StageResult]] | None = None


@dataclass(frozen=True, kw_only=True)
class PublishedFile:
    """One file of a publication and what became of it."""

    path: str
    action: Literal["upload", "keep"]
    size_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Publication:
    """How a publication ended. `unused` are waivers that there was nothing to waive for."""

    status: Literal["published", "would publish", "published already"]
    destination: str
    model: str
    version: str
    manifest_sha256: str
    files: tuple[PublishedFile, ...]
    waivers: tuple[Waiver, ...]
    unused: tuple[str, ...]
    left_out: tuple[str, ...]
    mended: bool = False


def default_folder(out: Path) -> Path:
    """The only exported model below `out`.

    Raises:
        UsageError: there is none, or there are several.
    """
    found = sorted(path.parent for path in out.glob(f"*/{MANIFEST}"))
    if len(found) == 1:
        return found[0]
    names = ", ".join(str(path) for path in found)
    message = (
        f"--from is needed, for several models were exported: {names}"
        if found
        else f"{out} holds no exported model: 'mcconvert' makes one, or give --from FOLDER"
    )
    raise UsageError(message)


def publish(request: PublishRequest, carried: Carried) -> Publication:
    """Look at everything, gather it, carry it there, and make it visible at last.

    Raises:
        PublishError: something is not as it must be, or the destination refuses or fails; nothing half is visible.
        UsageError: there is no manifest, or a waiver is unknown.
    """
    check_waivers(request.allow)
    module_of(request.address)  # an address with a slip is refused before anything is hashed
    manifest = read_manifest(request.folder)
    folder = request.folder if request.folder.is_dir() else request.folder.parent
    with unchanged_by_runs(folder):
        verified = request.verify(folder.resolve(), manifest) if request.verify else ()
        examined = examine(folder, manifest, request.allow, verified)
        if examined.refusals:
            raise PublishError(refused(folder, examined.refusals))
        out = released(manifest, examined.waived)
        with staging(folder) as stage:
            release = gather(folder, out, stage, request.sign)
            with open_address(request.address, release.model) as destination:
                return _carry(request, destination, release, out, examined, carried)


def check_waivers(names: Sequence[str]) -> None:
    """Refuse a waiver that there is not.

    Raises:
        UsageError: naming the nearest.
    """
    for name in names:
        if name not in WAIVERS:
            message = f"--allow {name}: nothing can be waived by that name; {nearest(name, WAIVERS)}"
            raise UsageError(message)


def refused(folder: Path, refusals: Sequence[Refusal]) -> str:
    """All refusals in one message, each with the way on."""
    count = "1 reason" if len(refusals) == 1 else f"{len(refusals)} reasons"
    lines = [f"{folder} is not published, for {count}; nothing was carried anywhere:"]
    for one in refusals:
        waiver = f"; or --allow {one.waiver}, which is written into the manifest" if one.waiver else ""
        lines.append(f"{one.subject}: {one.seen}. {one.advice}{waiver}")
    return "\n  ".join(lines)


@contextmanager
def opened_manifest(side: str, model: str) -> Iterator[Manifest]:
    """The manifest of one side of a comparison: a folder, a manifest's file, or ADDRESS@VERSION.

    Raises:
        McconvertError: it cannot be read; the message says what was looked for.
    """
    address, at, version = side.rpartition("@")
    if not at or Path(side).exists():
        yield read_manifest(Path(side))
        return
    if not model:
        message = f"{side}: give --model NAME, for neither side is a folder that tells which model to look for"
        raise UsageError(message)
    with open_address(address, model) as destination:
        yield read_published(destination, resolve_version(destination, version))


def model_of(sides: Sequence[str]) -> str:
    """The model that a folder among the sides is of; empty where none tells."""
    for side in sides:
        try:
            return release_name(read_manifest(Path(side)))
        except McconvertError:
            continue
    return ""


def _carry(
    request: PublishRequest, destination: Destination, release: Release, manifest: Manifest, examined: Examined,
    carried: Carried,
) -> Publication:  # fmt: skip
    choice = choose_version(destination, release, manifest)
    mended, transfers = False, [Transfer(file=file, action="keep") for file in release.files]
    if choice.published is None:
        transfers = list(destination.transfers(choice.version, release))
    elif not request.dry_run and hasattr(destination, "mend"):
        mended = cast("MendingDestination", destination).mend()
    if choice.published is None and not request.dry_run:
        _upload(destination, choice.version, transfers, carried)
        destination.finish(choice.version, release, published_now(choice.version, release))
    status: Literal["published", "would publish", "published already"] = (
        "published already" if choice.published else "would publish" if request.dry_run else "published"
    )
    used = {one.name for one in examined.waived}
    return Publication(
        status=status, destination=destination.title, model=release.model, version=choice.version,
        manifest_sha256=choice.published.manifest_sha256 if choice.published else release.manifest_sha256,
        files=tuple(
            PublishedFile(
                path=one.file.path, action=one.action, size_bytes=one.file.size_bytes, sha256=one.file.sha256
            )
            for one in transfers
        ),
        waivers=examined.waived, unused=tuple(name for name in request.allow if name not in used),
        left_out=examined.left_out, mended=mended,
    )  # fmt: skip


def _upload(destination: Destination, version: str, transfers: Sequence[Transfer], carried: Carried) -> None:
    """Everything in its order, the manifest last."""
    wanted = [one for one in transfers if one.action == "upload"]
    wanted.sort(key=lambda one: one.file.path == MANIFEST)
    for number, transfer in enumerate(wanted, 1):
        carried(number, len(wanted), transfer)
        destination.upload(version, transfer.file)
