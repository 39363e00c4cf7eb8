"""Judge files on disk again, from their manifest alone: hashes first, then every file is run once more.

What the files gave can be kept: comparing them with each other is left to `converter.pipeline.matrix`.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from converter.errors import McconvertError, ParityError, UsageError
from converter.files import hash_path, inside
from converter.manifest import FileRef, Manifest, ManifestEntry, ManifestReference
from converter.parity.judge import judge
from converter.pipeline.dispatch import dispatch
from converter.pipeline.job import Job, Outcome, ReferenceFiles
from converter.pipeline.process import MemoryMeter
from converter.pipeline.steps import reference_id
from converter.records import Artifact, StageResult, Status, Step, Tower


@dataclass(frozen=True, kw_only=True)
class VerifySettings:
    """How files are verified. `hashes_only` skips running them; `keep` is a folder for what they give (`kept`)."""

    jobs: int = 1
    threads: int = 2
    hashes_only: bool = False
    keep: Path | None = None
    finished: Callable[[StageResult], None] = lambda _result: None


def verify(folder: Path, manifest: Manifest, settings: VerifySettings) -> list[StageResult]:
    """A result for every file of the manifest, in its order.

    A file whose bytes are not the ones that were judged fails by name and is not run.

    Raises:
        UsageError: the manifest lists no file.
    """
    if not manifest.artifacts:
        message = f"{folder}: the manifest lists no file, so there is nothing to verify"
        raise UsageError(message)
    references = {one.tower: one for one in manifest.references}
    spoiled = {tower: _spoiled(folder, one) for tower, one in references.items()} | _tokenizer_spoiled(folder, manifest)
    stop = threading.Event()

    def one(entry: ManifestEntry) -> StageResult:
        begun = time.monotonic()
        try:
            reference = references.get(entry.tower)
            result = _verify(folder, entry, reference, spoiled.get(entry.tower, ""), settings, stop)
        except McconvertError as error:
            result = result_of(entry, "FAILED", (str(error),), ParityError.exit_code)
        result = dataclasses.replace(result, seconds=time.monotonic() - begun)
        settings.finished(result)
        return result

    with ThreadPoolExecutor(max_workers=settings.jobs) as pool:
        try:
            return list(pool.map(one, manifest.artifacts))
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def kept(folder: Path, step_id: str) -> Path:
    """Where `VerifySettings.keep` has one file's embeddings; there is none when the file did not run."""
    return folder / f"{step_id.replace('/', '.')}.npz"


def changed(folder: Path, ref: FileRef) -> str:
    """Why a file is not the one that the manifest names; empty when it is."""
    path = folder / ref.path
    if inside(folder, ref.path) is None:
        return f"{ref.path} lies outside the manifest's folder"
    if not path.exists():
        return f"{ref.path} is missing"
    sha256, size_bytes = hash_path(path)
    if sha256 == ref.sha256:
        return ""
    if size_bytes != ref.size_bytes:
        return f"{ref.path} has {size_bytes:,} bytes, the manifest says {ref.size_bytes:,}"
    return f"{ref.path} was changed: sha256 {sha256[:12]}..., the manifest says {ref.sha256[:12]}..."


def _verify(
    folder: Path,
    entry: ManifestEntry,
    reference: ManifestReference | None,
    spoiled: str,
    settings: VerifySettings,
    stop: threading.Event,
) -> StageResult:
    why = changed(folder, FileRef(path=entry.path, sha256=entry.sha256, size_bytes=entry.size_bytes))
    if why or reference is None:
        return _broken(entry, why or f"the manifest has no {entry.tower} reference")
    if spoiled:
        return _broken(entry, f"{spoiled}; nothing can be judged against it")
    if settings.hashes_only:
        return result_of(entry, entry.status, entry.failures, 6 if entry.failures else 0)
    outcome = _run(folder, entry, reference, settings, stop)
    if outcome.vs_reference is None:
        return result_of(entry, "FAILED", ("nothing was compared",), 6)
    report, failures = judge(outcome.vs_reference, entry.tolerances, size_ratio=entry.size_ratio)
    result = result_of(entry, "FAILED" if failures else "PASSED", failures, 6 if failures else 0)
    return dataclasses.replace(result, vs_reference=report)


def _run(
    folder: Path,
    entry: ManifestEntry,
    reference: ManifestReference,
    settings: VerifySettings,
    stop: threading.Event,
) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="mcconvert-verify-") as scratch:
        work = Path(scratch)
        tower = _located(folder, reference.module)
        job = Job(
            kind="prove", step=_step(entry), folder=str(work), threads=settings.threads, parent=tower,
            artifact=_located(folder, entry.artifact()),
            reference=ReferenceFiles(
                samples=str(folder / reference.samples.path), embeddings=str(folder / reference.embeddings.path),
                sample_set=reference.sample_set, tower=tower,
            ),
        )  # fmt: skip
        outcome = dispatch(job, work / "log", stop, MemoryMeter())[0]
        made = outcome.files.get("candidate")
        if settings.keep is not None and made is not None:
            shutil.copyfile(work / made, kept(settings.keep, entry.step_id))
        return outcome


def _spoiled(folder: Path, reference: ManifestReference) -> str:
    """Which of a reference's files is not the one that the manifest names; empty when all are."""
    refs = (reference.samples, reference.embeddings, _file_of(reference.module))
    return next((why for ref in refs if (why := changed(folder, ref))), "")


def _tokenizer_spoiled(folder: Path, manifest: Manifest) -> dict[Tower, str]:
    """The text tower is of no use with another tokenizer; a manifest without its files is spoiled as a whole."""
    tokenizer = manifest.model.tokenizer
    if tokenizer is None:
        return {}
    ref = FileRef(path=tokenizer.path, sha256=tokenizer.sha256, size_bytes=tokenizer.size_bytes)
    why = changed(folder, ref)
    towers = {entry.tower for entry in manifest.artifacts}
    return dict.fromkeys(towers & {"text"} or towers, why) if why else {}


def _located(folder: Path, artifact: Artifact) -> Artifact:
    return dataclasses.replace(artifact, path=str((folder / artifact.path).resolve()))


def _file_of(artifact: Artifact) -> FileRef:
    return FileRef(path=artifact.path, sha256=artifact.sha256, size_bytes=artifact.size_bytes)


def _step(entry: ManifestEntry) -> Step:
    return Step(
        id=entry.step_id, stage="", tower=entry.tower, target=entry.target, row=entry.step_id.rpartition("/")[2],
        precision=entry.precision, parent=reference_id(entry.tower), file_name=Path(entry.path).name,
        tolerances=entry.tolerances, tie_margin=entry.tie_margin,
    )  # fmt: skip


def _broken(entry: ManifestEntry, why: str) -> StageResult:
    """A file that is not the one that was judged decides the exit code even where its row is not required."""
    return dataclasses.replace(result_of(entry, "FAILED", (why,), ParityError.exit_code), required=True)


def result_of(entry: ManifestEntry, status: Status, failures: tuple[str, ...], exit_code: int) -> StageResult:
    """A verdict on a file, in the form of a step's end."""
    return StageResult(
        step_id=entry.step_id, status=status, action="verify",
        reason="files on disk", required=entry.required, not_required_because=entry.not_required_because,
        artifact=entry.artifact(), recipe=entry.recipe, failures=failures, size_ratio=entry.size_ratio,
        exit_code=exit_code, tool_versions=entry.tool_versions,
    )  # fmt: skip
