"""Measure what a folder's files know: zero-shot, retrieval and order of results on held-out scenes, beside PyTorch.

1. The set is drawn anew, always the same (`models.task_set`); the models it suits are those judged on scenes.
2. Every file, and the reference's rewritten tower in PyTorch float32, runs on it in a process of its own.
3. Pairs are made of both towers of a row, and of each quantized image row with its target's float32 texts: an app that
   ships text embeddings computes them once, at full precision.
"""

from __future__ import annotations

import dataclasses
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from converter.accuracy import REFERENCE, TaskAccuracy, TaskSide
from converter.config import configs_dir, load_models, read_yaml
from converter.errors import ConfigError, ParityError, UsageError
from converter.manifest import FileRef, Manifest, ManifestEntry
from converter.models import scenes as drawn
from converter.models.task_set import task_scenes, write_task_images, write_task_texts
from converter.parity.task import Answers, answers, keep, missed, score
from converter.parsing import parse
from converter.pipeline.dispatch import dispatch
from converter.pipeline.job import Job, Outcome, ReferenceFiles
from converter.pipeline.process import MemoryMeter
from converter.pipeline.prove import CANDIDATE, TOP_K, load_embeddings, run_artifact, save_embeddings
from converter.pipeline.steps import reference_id
from converter.pipeline.verify import changed
from converter.records import TOWERS, Artifact, Limits, ModelSpec, Precision, Step, Tolerance, Tower

Rows = npt.NDArray[Any]
DOMAIN = "scenes"
FULL_PRECISION = "fp32"


@dataclass(frozen=True, kw_only=True)
class TaskSettings:
    """How files are run. `per_kind` images of each of the 72 held-out kinds are drawn."""

    jobs: int = 1
    threads: int = 2
    per_kind: int = 10
    finished: Callable[[str], None] = lambda _name: None


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """`configs/task.yaml`."""

    tolerances: tuple[Tolerance, ...]


@dataclass(frozen=True, kw_only=True)
class Run:
    """One file to run: its row ("tflite/int8"), where it lies, and its precision."""

    row: str
    artifact: Artifact
    precision: Precision = "fp32"


def measure_task(folder: Path, manifest: Manifest, settings: TaskSettings) -> TaskAccuracy:
    """Scores of every pair of the folder's files, the reference's first.

    Raises:
        UsageError: the model does not know drawn scenes, or the folder lacks a tower.
        ParityError: a file is not the one that the manifest names.
    """
    spec = _scene_model(manifest)
    runs = _runs(folder, manifest)
    with tempfile.TemporaryDirectory(prefix="mcconvert-task-") as scratch:
        shown = task_scenes(settings.per_kind)
        samples = {tower: Path(scratch) / f"{tower}.npz" for tower in TOWERS}
        write_task_images(shown, manifest.model.preprocessing, samples["image"])
        write_task_texts(shown, spec, samples["text"])
        embedded = _embedded(runs, samples, Path(scratch), settings)
    kinds = np.array([drawn.kinds(held_out=True).index(scene.kind) for scene in shown])
    return TaskAccuracy(
        model=manifest.model.id, images=len(shown), captions=len(shown), kinds=int(kinds.max()) + 1, k=TOP_K,
        tolerances=read_bounds(), sides=tuple(_sides(_pairs(runs), embedded, kinds)),
    )  # fmt: skip


def read_bounds() -> tuple[Tolerance, ...]:
    """What a file may lose of the task, as `configs/task.yaml` says.

    Raises:
        ConfigError: mistakes in it, all of them.
    """
    mistakes: list[str] = []
    bounds = parse(Bounds, read_yaml(configs_dir() / "task.yaml"), "task", mistakes)
    if mistakes:
        raise ConfigError(mistakes)
    return bounds.tolerances


def work(job: Job) -> Outcome:
    """In a process of its own: run the job's file on the samples, or make it first; its rows are all that is wanted."""
    from converter.pipeline.worker import convert

    if job.reference is None:
        message = f"{job.step.id}: a task needs samples"
        raise UsageError(message)
    artifact = job.artifact or convert(job)
    ran = run_artifact(artifact, Path(job.reference.samples), job.threads)
    save_embeddings(Path(job.folder) / CANDIDATE, ran.embeddings)
    return Outcome(artifact=artifact, files={"candidate": CANDIDATE})


def _scene_model(manifest: Manifest) -> ModelSpec:
    spec = load_models().get(manifest.model.id)
    if spec is None or spec.samples != DOMAIN:
        message = (
            f"{manifest.model.id} was not trained on drawn scenes, and those are the task that comes with captions and "
            "classes; take mobileclip_nano for --task, and --matrix for what other models' files agree on"
        )
        raise UsageError(message)
    return spec


def _runs(folder: Path, manifest: Manifest) -> dict[Tower, list[Run]]:
    """For each tower the reference and every file of the manifest, each with its bytes checked."""
    found: dict[Tower, list[Run]] = {}
    for reference in manifest.references:
        found[reference.tower] = [Run(row=REFERENCE, artifact=_checked(folder, reference.module))]
    for entry in manifest.artifacts:
        if entry.tower in found:
            found[entry.tower].append(_run(folder, entry))
    lacking = [tower for tower in TOWERS if len(found.get(tower, ())) < 2]
    if lacking:
        message = f"{folder}: it holds no {' and no '.join(lacking)} files; a task needs both towers, export them"
        raise UsageError(message)
    return found


def _run(folder: Path, entry: ManifestEntry) -> Run:
    row = entry.step_id.partition("/")[2]
    return Run(row=row, artifact=_checked(folder, entry.artifact()), precision=entry.precision)


def _checked(folder: Path, artifact: Artifact) -> Artifact:
    why = changed(folder, FileRef(path=artifact.path, sha256=artifact.sha256, size_bytes=artifact.size_bytes))
    if why:
        raise ParityError(why)
    return dataclasses.replace(artifact, path=str((folder / artifact.path).resolve()))


def _pairs(runs: Mapping[Tower, Sequence[Run]]) -> Iterator[tuple[str, str]]:
    """Rule 3."""
    texts = {one.row for one in runs["text"]}
    for image in runs["image"]:
        plain = f"{image.row.partition('/')[0]}/{FULL_PRECISION}"
        if image.row in texts:
            yield image.row, image.row
        if image.precision not in ("fp32", "fp16"):
            yield image.row, plain if plain in texts else REFERENCE


def _sides(
    pairs: Iterator[tuple[str, str]], embedded: Mapping[tuple[Tower, str], Rows], kinds: npt.NDArray[np.intp]
) -> Iterator[TaskSide]:
    reference: Answers | None = None
    bounds = read_bounds()
    for image, text in pairs:
        given = answers(embedded["image", image], embedded["text", text], kinds)
        reference = reference or given
        kept = None if image == REFERENCE else keep(reference, given, TOP_K)
        failures = missed(kept, bounds) if kept else ()
        yield TaskSide(image=image, text=text, scores=score(given), kept=kept, failures=failures)


def _embedded(
    runs: Mapping[Tower, Sequence[Run]], samples: Mapping[Tower, Path], scratch: Path, settings: TaskSettings
) -> dict[tuple[Tower, str], Rows]:
    stop = threading.Event()

    def one(tower: Tower, run: Run) -> tuple[tuple[Tower, str], Rows]:
        rows = _rows(tower, run, samples[tower], Path(tempfile.mkdtemp(dir=scratch)), settings, stop)
        settings.finished(f"{tower}/{run.row}")
        return (tower, run.row), rows

    with ThreadPoolExecutor(max_workers=settings.jobs) as pool:
        try:
            return dict(pool.map(lambda asked: one(*asked), ((tower, run) for tower in TOWERS for run in runs[tower])))
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _rows(
    tower: Tower, run: Run, samples: Path, folder: Path, settings: TaskSettings, stop: threading.Event
) -> Rows:  # fmt: skip
    """Rule 2."""
    step = Step(
        id=f"{tower}/{run.row}", stage="", tower=tower, target=run.artifact.target, row=run.row,
        precision=run.precision, parent=reference_id(tower), file_name=Path(run.artifact.path).name, limits=Limits(),
    )  # fmt: skip
    job = Job(
        kind="task", step=step, folder=str(folder), threads=settings.threads, artifact=run.artifact,
        reference=ReferenceFiles(samples=str(samples), embeddings="", sample_set=DOMAIN, tower=run.artifact),
    )  # fmt: skip
    outcome = dispatch(job, folder / "log", stop, MemoryMeter())[0]
    return next(iter(load_embeddings(folder / outcome.files["candidate"]).values()))
