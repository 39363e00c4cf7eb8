"""Explain one file: find what it is in a manifest, run it beside the PyTorch reference, say where the two part.

The first half runs in the command's process and only reads the manifest; `work` runs in a process of its own.
"""

from __future__ import annotations

import dataclasses
import difflib
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from converter.errors import ConversionError, McconvertError, UsageError
from converter.explained import Explanation, Order
from converter.files import hash_path, inside
from converter.manifest import Manifest, ManifestEntry, ManifestReference
from converter.pipeline.dispatch import dispatch
from converter.pipeline.following import followed
from converter.pipeline.job import Job, Outcome, ReferenceFiles
from converter.pipeline.process import MemoryMeter
from converter.pipeline.steps import reference_id
from converter.records import Artifact, Step, Tower

if TYPE_CHECKING:
    import numpy.typing as npt

    from converter.parity.drilldown import Measured
    from converter.runtimes import ObservingRuntime

PROGRESS = "explain: "
MANIFEST = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The file with the manifest's entry that it is taken for, and in words why that one."""

    path: Path
    folder: Path
    entry: ManifestEntry
    reference: ManifestReference
    chosen_by: str

    @property
    def changed(self) -> bool:
        """Whether the bytes are not those that the entry was judged by."""
        return hash_path(self.path)[0] != self.entry.sha256


def find_folder(path: Path) -> Path:
    """The folder at or above the file that holds a manifest.

    Raises:
        UsageError: there is no such file, or no manifest above it, or it is an export's folder itself.
    """
    if not path.exists():
        message = f"{path}: no such file"
        raise UsageError(message)
    if (path / MANIFEST).is_file():
        message = f"{path} is a whole export; explain looks into one file of it, such as {path}/onnx/image_fp32.onnx"
        raise UsageError(message)
    for folder in path.resolve().parents:
        if (folder / MANIFEST).is_file():
            return folder
    message = f"no {MANIFEST} above {path}: give --model the folder that the file belongs to, such as artifacts/MODEL"
    raise UsageError(message)


def choose(path: Path, folder: Path, manifest: Manifest, tower: Tower | None) -> Chosen:
    """The entry of that very path; else, of those with the same ending and tower, the one with the most similar name.

    Raises:
        UsageError: no entry fits, the tower cannot be told, or `tower` is not the file's.
    """
    if not path.exists():
        message = f"{path}: no such file"
        raise UsageError(message)
    where = path.resolve()
    own = [entry for entry in manifest.artifacts if inside(folder, entry.path) == where]
    entry, chosen_by = (own[0], "its path") if own else (_most_similar(where, manifest, tower), "its name")
    if tower is not None and entry.tower != tower:
        message = f"{path} is the {entry.tower} tower's file ({entry.step_id}), --tower says {tower}"
        raise UsageError(message)
    reference = next((one for one in manifest.references if one.tower == entry.tower), None)
    needed = [reference.module.path, reference.samples.path, reference.embeddings.path] if reference else []
    missing = [name for name in needed if (found := inside(folder, name)) is None or not found.is_file()]
    if reference is None or missing:
        what = f"{', '.join(missing)} is missing in {folder}" if missing else f"{folder} has no {entry.tower} reference"
        message = f"{what}, so that there is nothing to compare with; run the export again"
        raise UsageError(message)
    return Chosen(path=where, folder=folder, entry=entry, reference=reference, chosen_by=chosen_by)


def explain(chosen: Chosen, order: Order, said: Callable[[str], None], threads: int = 2) -> Explanation:
    """Run the file beside the reference in a process of its own; `said` gets its progress, a line each.

    Raises:
        McconvertError: the file cannot be opened or observed, or is no file of this model.
    """
    with tempfile.TemporaryDirectory(prefix="mcconvert-explain-") as scratch:
        work, stop = Path(scratch), threading.Event()
        with followed(work / "log", PROGRESS, said):
            try:
                outcome, _ = dispatch(_job(chosen, order, work, threads), work / "log", stop, MemoryMeter())
            except BaseException:
                stop.set()
                raise
    if outcome.explanation is None:
        message = "the process ended well and brought no explanation"
        raise McconvertError(message)
    return dataclasses.replace(outcome.explanation, chosen_by=chosen.chosen_by)


def work(job: Job) -> Outcome:
    """The job of the process itself.

    Raises:
        ConversionError: the file cannot be opened, or its runtime cannot show what it computes.
        ParityError: the file has nothing in common with the reference.
    """
    import numpy as np

    from converter.models.samples import load_inputs, load_names, stress_count
    from converter.parity.drilldown import Side, measure
    from converter.pipeline.plugins import load_runtime
    from converter.runtimes.pytorch import open_observer as open_reference

    artifact, reference, order = job.artifact, job.reference, job.order
    if artifact is None or reference is None or order is None:
        message = "a job to explain needs an artifact, a reference and an order"
        raise McconvertError(message)
    runtime = load_runtime(artifact.format)
    if not hasattr(runtime, "open_observer"):
        message = f"the runtime of {artifact.format} files cannot show what they compute on the way (no open_observer)"
        raise ConversionError(message)
    samples = Path(reference.samples)
    inputs, names, count = load_inputs(samples), load_names(samples), stress_count(samples)
    picked = _spread(len(names) - count, order.samples)
    with (
        open_reference(reference.tower, job.threads) as steered,
        cast("ObservingRuntime", runtime).open_observer(artifact, job.threads) as observer,
    ):
        measured = measure(
            Side(observer=steered, specs=reference.tower.inputs), Side(observer=observer, specs=artifact.inputs),
            {name: value[np.array(picked)] for name, value in inputs.items()},
            _centre(Path(reference.embeddings), artifact, len(names) - count), _say,
        )  # fmt: skip
        by = (observer.executed_by, steered.executed_by)
    return Outcome(artifact=artifact, explanation=_explained(job, order, measured, by, [names[i] for i in picked]))


def _most_similar(path: Path, manifest: Manifest, tower: Tower | None) -> ManifestEntry:
    endings = {Path(entry.path).name.partition(".")[2] for entry in manifest.artifacts}
    ending = max((one for one in endings if path.name.endswith(f".{one}")), key=len, default="")
    if not ending:
        known = ", .".join(sorted(endings))
        if path.is_dir():
            message = f"{path} is a folder; explain looks into one file (.{known})"
            raise UsageError(message)
        message = (
            f"{path}: the manifest lists no {path.suffix or 'such'} file, only .{known}; rename the copy like these"
        )
        raise UsageError(message)
    fitting = [entry for entry in manifest.artifacts if Path(entry.path).name.partition(".")[2] == ending]
    towers = {entry.tower for entry in fitting}
    told = [tower] if tower else [one for one in towers if one in path.name.lower()]
    if len(told) != 1 and len(towers) > 1:
        message = f"{path}: neither its place nor its name tells the tower; give --tower image or --tower text"
        raise UsageError(message)
    fitting = [entry for entry in fitting if not told or entry.tower == told[0]]
    if not fitting:
        message = f"{path}: the manifest lists no .{ending} file of the {told[0]} tower"
        raise UsageError(message)
    return max(fitting, key=lambda entry: difflib.SequenceMatcher(None, Path(entry.path).name, path.name).ratio())


def _job(chosen: Chosen, order: Order, work: Path, threads: int) -> Job:
    entry, reference, folder = chosen.entry, chosen.reference, chosen.folder
    tower = dataclasses.replace(reference.module, path=str(folder / reference.module.path))
    return Job(
        kind="explain", folder=str(work), threads=threads, order=order, parent=tower,
        step=Step(
            id=entry.step_id, stage="", tower=entry.tower, target=entry.target, row=entry.step_id.rpartition("/")[2],
            precision=entry.precision, parent=reference_id(entry.tower), file_name=chosen.path.name,
        ),
        artifact=dataclasses.replace(entry.artifact(), path=str(chosen.path)),
        reference=ReferenceFiles(
            samples=str(folder / reference.samples.path), embeddings=str(folder / reference.embeddings.path),
            sample_set=reference.sample_set, tower=tower,
        ),
    )  # fmt: skip


def _say(line: str) -> None:
    print(f"{PROGRESS}{line}", flush=True)


def _spread(count: int, wanted: int) -> list[int]:
    """Indexes spread over the set, the first and the last among them."""
    number = min(count, wanted)
    return [round(index * (count - 1) / max(1, number - 1)) for index in range(number)]


def _centre(embeddings: Path, artifact: Artifact, count: int) -> npt.NDArray[Any]:
    """The reference's mean embedding."""
    import numpy as np

    from converter.pipeline.prove import load_embeddings

    return np.asarray(load_embeddings(embeddings)[artifact.outputs[0].name][:count].mean(axis=0))


def _explained(job: Job, order: Order, measured: Measured, by: tuple[str, str], names: Sequence[str]) -> Explanation:
    from converter.parity.depth import end_of, first_lost, layers_of, unmatched
    from converter.parity.suspicion import judge_layers

    layers, end_db = layers_of(measured, job.step.precision, names), end_of(measured)
    first_below, suspect, also = judge_layers(layers, order.bound_db, end_db)
    return Explanation(
        file=job.step.file_name, entry=job.step.id, chosen_by="", tower=job.step.tower, precision=job.step.precision,
        executed_by=by[0], reference=by[1], samples=tuple(names), bound_db=order.bound_db, bound_why=order.bound_why,
        layers=tuple(layers), reference_values=len(measured.reference), candidate_values=len(measured.candidate),
        unmatched=unmatched(measured), first_below=first_below, suspect=suspect, also=also,
        nonfinite=first_lost(measured, names), end_db=end_db,
    )  # fmt: skip
