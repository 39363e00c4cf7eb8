"""One bundle from exported folder to the place where it is handed over: the only place that joins runtimes with it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from converter.bundled import EXPECTED, PICTURE, PREPROCESSING, Bundle, BundledFile, Expected, Preparation
from converter.bundling.choosing import Rows, choose, require_unchanged
from converter.bundling.expecting import expected, picture_bytes
from converter.bundling.preparing import preparation
from converter.bundling.readme import readme
from converter.bundling.writing import (
    archive_of,
    bundled_manifest,
    fill,
    folder_name,
    plain_files,
    put_in_archive,
    put_in_place,
    require_free,
    require_ours,
    staged,
)
from converter.errors import MissingDependencyError
from converter.manifest import Manifest, ManifestEntry
from converter.pipeline.plugins import load_runtime, missing
from converter.publishing.checksums import named
from converter.publishing.gathering import release_name, unchanged_by_runs
from converter.publishing.manifest import read_manifest
from converter.records import Artifact, to_json
from converter.release import CARD
from converter.runtimes import Runner

BUNDLES = Path("bundles")
THREADS = 2


@dataclass(frozen=True, kw_only=True)
class BundleRequest:
    """What the user asked for. `out` is a folder, or the name of the archive without its ending; None: below bundles/.

    `reference` takes along what `mcconvert verify` judges against.
    """

    folder: Path
    rows: Rows
    out: Path | None = None
    archive: bool = False
    reference: bool = True


def bundle(request: BundleRequest) -> Bundle:
    """Choose, test, gather and write.

    Raises:
        PublishError: a file is not proven.
        ParityError: a file is not the one that was proven.
        UsageError: there is no manifest or row, or the place is taken.
        MissingDependencyError: what a file needs to run is not installed.
    """
    whole = read_manifest(request.folder)
    folder = request.folder if request.folder.is_dir() else request.folder.parent
    name = folder_name(release_name(whole), request.rows.platform)
    out = (request.out or BUNDLES / name).absolute()
    _require_place(out, archive=request.archive)
    with unchanged_by_runs(folder):
        entries = choose(folder, whole, request.rows)
        facts = preparation(whole.model, entries)
        used = bundled_manifest(whole, entries, reference=True)
        for one in named(used):  # torch opens the reference: only bytes that the manifest names
            require_unchanged(folder, one.path, one.sha256)
        found = expected(folder, used, entries, _opened)
        manifest = bundled_manifest(whole, entries, reference=request.reference)
        with staged(out) as stage:
            page = readme(request.rows.platform, manifest, entries, found)
            fill(stage, folder, manifest, request.rows.platform, _documents(facts, found, page))
            result = _result(stage, out, manifest, entries, found, request)
            if request.archive:
                put_in_archive(stage, Path(result.path), out.name)
            else:
                put_in_place(stage, out)
    return result


def _require_place(out: Path, *, archive: bool) -> None:
    """Before anything is run: what stands there may be replaced."""
    if archive:
        require_free(archive_of(out))
    else:
        require_ours(out)


def _documents(facts: Preparation, found: Expected, page: str) -> Mapping[str, bytes]:
    return {
        PREPROCESSING: to_json(facts), EXPECTED: to_json(found), PICTURE: picture_bytes(), CARD: page.encode(),
    }  # fmt: skip


def _result(
    stage: Path, out: Path, manifest: Manifest, entries: tuple[ManifestEntry, ...], found: Expected,
    request: BundleRequest,
) -> Bundle:  # fmt: skip
    tested = {"image": found.image, "text": found.text}
    files = tuple(
        BundledFile(
            path=entry.path, step_id=entry.step_id, tower=entry.tower, size_bytes=entry.size_bytes,
            sha256=entry.sha256, cosine=one.cosine if (one := tested[entry.tower]) else 0.0,
        )
        for entry in entries
    )  # fmt: skip
    paths = plain_files(stage)
    return Bundle(
        platform=request.rows.platform, model=manifest.model.id, trained=manifest.model.trained,
        path=str(archive_of(out) if request.archive else out), artifacts=files, files=len(paths) + 1,
        size_bytes=sum((stage / path).stat().st_size for path in paths),
    )  # fmt: skip


def _opened(artifact: Artifact) -> AbstractContextManager[Runner]:
    runtime = load_runtime(artifact.format)
    absent = missing(runtime.REQUIRES)
    if absent:
        message = (
            f"{artifact.path}: testing it before it is handed over needs {', '.join(absent)}, not installed here: "
            f"pip install {' '.join(absent)}"
        )
        raise MissingDependencyError(message)
    return runtime.open_runner(artifact, THREADS)
