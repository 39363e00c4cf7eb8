"""Quantize an image model that is given as a file, by the recipes of the towers, and judge what was made beside it.

1. The file's copy (`pipeline.given_file`) is the float32 parent; an ONNX file is converted for TFLite first.
2. Every stage runs in a process of its own, and so does each file on the images that it is judged on.
3. No image is both calibrated on and judged on.
4. Latencies are taken here, all files in turn, one image at a time.
"""

from __future__ import annotations

import dataclasses
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from converter.errors import ConversionError, UsageError
from converter.judged import Accuracy, FileFormat, QuantizedFile, QuantizedFiles, QuantizeOrder
from converter.models.labelled import is_labelled, labelled_images
from converter.models.samples import load_inputs, load_names, shared_samples, write_samples
from converter.models.stress import count_stress
from converter.parity.answers import accuracy, agreement
from converter.parity.compare import one_sample
from converter.pipeline.dispatch import dispatch
from converter.pipeline.given_file import SUFFIXES, Given, open_given, restore
from converter.pipeline.job import Job, Outcome, ReferenceFiles
from converter.pipeline.plugins import load_runtime, unsupported
from converter.pipeline.process import MemoryMeter
from converter.pipeline.prove import load_embeddings
from converter.records import Artifact, ModelSpec, Recipe, Step

Rows = npt.NDArray[Any]
STAGES: dict[FileFormat, str] = {"tflite": "to_tflite_quantized", "onnx": "to_onnx_quantized"}
GIVEN = "given"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
    """What one order works with: images to judge on with their labels, where things lie, what is told."""

    order: QuantizeOrder
    given: Given
    scratch: Path
    samples: Path
    calibration: Path
    labels: npt.NDArray[np.intp] | None
    said: Callable[[str], None]


def quantize_file(order: QuantizeOrder, said: Callable[[str], None] = lambda _line: None) -> QuantizedFiles:
    """Write the quantized files into `order.out` and say how far each is from the given one.

    A format that cannot follow the recipe has no file, and says why.

    Raises:
        UsageError: the file is no image model, or the images cannot be used.
        ConversionError: a stage failed.
        ParityError: the given file answers the same to all images.
    """
    with tempfile.TemporaryDirectory(prefix="mcconvert-quantize-") as folder:
        scratch = Path(folder)
        given = open_given(Path(order.file), scratch / GIVEN, order.preprocessing.size or None)
        order = dataclasses.replace(
            order, preprocessing=dataclasses.replace(order.preprocessing, size=given.size),
            formats=order.formats or _formats_of(given),
        )  # fmt: skip
        work = _prepared(order, given, scratch, said)
        said(f"running {given.path.name}")
        answered = _run(work, given.copy, None, GIVEN)
        made = {fmt: _made(work, fmt) for fmt in order.formats}
        return _judged(work, answered, made)


def _formats_of(given: Given) -> tuple[FileFormat, ...]:
    """An ONNX file can become both, a TFLite file stays one."""
    return ("tflite", "onnx") if given.format == "onnx" else ("tflite",)


def _prepared(order: QuantizeOrder, given: Given, scratch: Path, said: Callable[[str], None]) -> Work:
    """Rule 3."""
    spec = _spec(order)
    samples, calibration = scratch / "samples.npz", scratch / "calibration.npz"
    labels = _write_images(order, spec, samples)
    if order.recipe.sample_set:
        source = Path(order.calibration) if order.calibration else None
        write_samples(spec, "image", "calibration", calibration, source=source)
    shared = shared_samples(samples, calibration) if order.recipe.sample_set else 0
    if shared:
        message = (
            f"{shared} of the images that files are judged on are calibrated on too; give --images and --calibration "
            "folders that share none"
        )
        raise UsageError(message)
    return Work(
        order=order, given=given, scratch=scratch, samples=samples, calibration=calibration, labels=labels, said=said
    )


def _write_images(order: QuantizeOrder, spec: ModelSpec, path: Path) -> npt.NDArray[np.intp] | None:
    """What files are judged on; labels where the images have classes."""
    folder = Path(order.images) if order.images else None
    if folder is None or not is_labelled(folder):
        write_samples(spec, "image", "parity", path, source=folder)
        return None
    from converter.models.preprocessing import prepare

    names, labels = [], []

    def pictures() -> Iterator[Any]:
        for name, label, picture in labelled_images(folder):
            names.append(name)
            labels.append(label)
            yield picture

    pixels = prepare(pictures(), spec.preprocessing)
    mean, std = (np.asarray(values, np.float64) for values in (spec.preprocessing.mean, spec.preprocessing.std))
    np.savez(path, pixels=pixels, mean=mean, std=std, names=np.asarray(names))
    return np.asarray(labels, np.intp)


def _spec(order: QuantizeOrder) -> ModelSpec:
    """As much of a model as samples need."""
    return ModelSpec(
        id=Path(order.file).stem, family="file", title=Path(order.file).name, source=f"file:{order.file}",
        license="unknown", license_url="", towers=("image",), preprocessing=order.preprocessing, embed_dim=0,
    )  # fmt: skip


def _made(work: Work, fmt: FileFormat) -> tuple[Artifact | None, Artifact | None, Rows | None, str]:
    """The float32 parent of that format, the quantized file and its outputs; or why there is none."""
    recipe = work.order.recipe
    if work.given.format == "tflite" and fmt == "onnx":
        return None, None, None, "a TFLite file is not converted to ONNX; give the ONNX file"
    if why := unsupported(STAGES[fmt], recipe):
        return None, None, None, why
    parent = work.given.copy
    if parent.format != fmt:
        work.said(f"converting to {fmt}")
        parent = _converted(work, parent)
    work.said(f"quantizing: {recipe.name}, {fmt}")
    wanted = dataclasses.replace(recipe, calibration_path=str(work.calibration)) if recipe.sample_set else recipe
    step = _step(STAGES[fmt], fmt, wanted)
    artifact, rows = _ran(work, Job(kind="task", step=step, folder=str(_place(work)), threads=work.order.threads,
                                    parent=parent, reference=_reference(work, parent)))  # fmt: skip
    return parent, artifact, rows, ""


def _converted(work: Work, parent: Artifact) -> Artifact:
    step = _step("to_tflite", "tflite", None)
    job = Job(kind="task", step=step, folder=str(_place(work)), threads=work.order.threads, parent=parent,
              reference=_reference(work, parent))  # fmt: skip
    return _ran(work, job)[0]


def _run(work: Work, artifact: Artifact, recipe: Recipe | None, row: str) -> Rows:
    step = _step(row, artifact.format, recipe)
    job = Job(kind="task", step=step, folder=str(_place(work)), threads=work.order.threads, artifact=artifact,
              reference=_reference(work, artifact))  # fmt: skip
    return _ran(work, job)[1]


def _ran(work: Work, job: Job) -> tuple[Artifact, Rows]:
    """The file that a job made or had, and what it gave."""
    folder = Path(job.folder)
    outcome: Outcome = dispatch(job, folder / "log", threading.Event(), MemoryMeter())[0]
    if outcome.artifact is None:
        message = f"{job.step.id}: no file came of it"
        raise ConversionError(message)
    rows = next(iter(load_embeddings(folder / outcome.files["candidate"]).values()))
    return outcome.artifact, rows[: len(rows) - count_stress(load_names(work.samples))]


def _step(stage: str, fmt: str, recipe: Recipe | None) -> Step:
    suffix = next(suffix for suffix, name in SUFFIXES.items() if name == fmt)
    row = recipe.name if recipe else "fp32"
    return Step(
        id=f"image/{fmt}/{row}", stage=stage, tower="image", target=fmt, row=row,
        precision=recipe.precision if recipe else "fp32", parent=GIVEN, file_name=f"{row}{suffix}", recipe=recipe,
    )  # fmt: skip


def _place(work: Work) -> Path:
    return Path(tempfile.mkdtemp(dir=work.scratch))


def _reference(work: Work, artifact: Artifact) -> ReferenceFiles:
    return ReferenceFiles(samples=str(work.samples), embeddings="", sample_set=GIVEN, tower=artifact)


def _judged(
    work: Work, answered: Rows, made: Mapping[FileFormat, tuple[Artifact | None, Artifact | None, Rows | None, str]]
) -> QuantizedFiles:
    order, names = work.order, load_names(work.samples)[: len(answered)]
    work.said("timing")
    timed = {GIVEN: work.given.copy}
    for fmt, (parent, artifact, _, _) in made.items():
        if parent is not None and artifact is not None:
            timed |= {f"{fmt} fp32": parent, fmt: artifact}
    seconds = _in_turn(timed, work)
    files = []
    for fmt, (_, artifact, rows, why_not) in made.items():
        if artifact is None or rows is None:
            files.append(QuantizedFile(format=fmt, recipe=order.recipe.name, why_not=why_not))
            continue
        executed_by, written = _executed_by(artifact), _written(work, artifact, fmt)
        files.append(
            QuantizedFile(
                format=fmt, recipe=order.recipe.name, path=str(written), executed_by=executed_by,
                size_bytes=written.stat().st_size, size_ratio=written.stat().st_size / work.given.path.stat().st_size,
                milliseconds=1e3 * statistics.median(seconds[fmt]),
                latency_ratio=_ratio(seconds[fmt], seconds[GIVEN]),
                float_latency_ratio=_ratio(seconds[fmt], seconds[f"{fmt} fp32"]),
                agreed=agreement(answered, rows, names), accuracy=_accuracy(work, answered, rows),
                notes=artifact.notes,
            )
        )  # fmt: skip
    return QuantizedFiles(
        given=str(work.given.path), format=work.given.format, size_bytes=work.given.path.stat().st_size,
        milliseconds=1e3 * statistics.median(seconds[GIVEN]),
        calibrated_on=len(load_names(work.calibration)) if order.recipe.sample_set else 0,
        judged_on=f"{len(answered)} {f'images of {order.images}' if order.images else 'views of built-in photographs'}",
        files=tuple(files),
    )  # fmt: skip


def _accuracy(work: Work, answered: Rows, rows: Rows) -> Accuracy | None:
    return None if work.labels is None else accuracy(answered, rows, work.labels)


def _written(work: Work, artifact: Artifact, fmt: FileFormat) -> Path:
    """The file under its own name, its input named as the given file names it."""
    out = Path(work.order.out)
    out.mkdir(parents=True, exist_ok=True)
    written = out / f"{work.given.path.stem}_{work.order.recipe.name}{Path(artifact.path).suffix}"
    if written.resolve() == work.given.path.resolve():
        message = f"{written} is the given file; choose another --out"
        raise UsageError(message)
    restore(Path(artifact.path), work.given)
    shutil.move(artifact.path, written)
    return written


def _in_turn(files: Mapping[str, Artifact], work: Work) -> dict[str, list[float]]:
    """Rule 4: seconds of each round; the call before the measured one lets the last file's threads come to rest."""
    inputs = load_inputs(work.samples)
    seconds: dict[str, list[float]] = {name: [] for name in files}
    with ExitStack() as stack:
        runners = {
            name: stack.enter_context(load_runtime(one.format).open_runner(one, work.order.threads))
            for name, one in files.items()
        }
        for index in range(work.order.rounds):
            for name, runner in runners.items():
                arrays = one_sample(inputs, index % len(inputs["image"]), files[name].inputs)
                runner.infer(arrays)
                begun = time.perf_counter()
                runner.infer(arrays)
                seconds[name].append(time.perf_counter() - begun)
    return seconds


def _ratio(one: list[float], other: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(one, other, strict=True))


def _executed_by(artifact: Artifact) -> str:
    with load_runtime(artifact.format).open_runner(artifact, 1) as runner:
        return runner.executed_by
