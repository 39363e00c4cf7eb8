"""Run an artifact on the stored samples and measure it against the reference and against its parent.

Runs inside a step's process. A format whose runtime can also read what is in a file has its structure checked beside
that, and a file whose outputs are not finite is run once more, observed, to name the operation that made them so.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from converter.arrays import read_arrays
from converter.errors import ConversionError
from converter.files import hash_path
from converter.models.samples import load_inputs, load_names
from converter.models.stress import count_stress
from converter.parity.compare import compare, embed, one_sample
from converter.parity.nonfinite import first_origin, traces
from converter.pipeline.job import Job, Outcome, ReferenceFiles
from converter.pipeline.plugins import load_runtime
from converter.pipeline.timing import TimedRunner
from converter.records import Artifact, NonfiniteOrigin, ParityReport, StructureCheck, TensorSpec
from converter.runtimes import ObservingRuntime, StructureRuntime

TOP_K = 5
CANDIDATE = "candidate.npz"
Embeddings = Mapping[str, npt.NDArray[Any]]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Execution:
    """What came out of an artifact over a sample file, with the samples' names, those of stress samples last.

    `values_executed` is 0 where the runner does not count.
    """

    names: Sequence[str]
    embeddings: Embeddings
    executed_by: str
    values_executed: int = 0
    latency_ms: float | None = None


def prove(job: Job, artifact: Artifact) -> Outcome:
    """Measure `artifact`; writes the candidate's embeddings beside it.

    Raises:
        ConversionError: the file does not open, or its tensors are not the declared ones.
        ParityError: there is nothing to compare.
    """
    reference = job.reference
    if reference is None:
        message = f"{job.step.id} has no reference to be measured against"
        raise ConversionError(message)
    sha256 = hash_path(Path(artifact.path))[0]
    ran = run_artifact(artifact, Path(reference.samples), job.threads)
    save_embeddings(Path(job.folder) / CANDIDATE, ran.embeddings)
    report = _against(Path(reference.embeddings), ran, job, reference, "PyTorch reference")
    parent = job.parent_candidate
    return Outcome(
        artifact=artifact,
        files={"candidate": CANDIDATE},
        vs_reference=dataclasses.replace(
            report,
            cautions=artifact.cautions,
            candidate_sha256=sha256,
            structure=_structure(job, artifact, reference),
            nonfinite_origin=_nonfinite_origin(job, artifact, reference, ran),
        ),
        vs_parent=_against(Path(parent), ran, job, reference, job.step.parent or "") if parent else None,
    )


def run_artifact(artifact: Artifact, samples: Path, threads: int) -> Execution:
    """Run an artifact over a sample file, stress samples too.

    Raises:
        ConversionError: the file's own tensors differ from the declared ones.
    """
    runtime = load_runtime(artifact.format)
    with runtime.open_runner(artifact, threads) as runner:
        _check_tensors("input", artifact.inputs, runner.inputs)
        _check_tensors("output", artifact.outputs, runner.outputs)
        timed = TimedRunner(runner)
        embeddings = embed(timed, load_inputs(samples), specs=artifact.inputs)
        return Execution(
            names=load_names(samples), embeddings=embeddings, executed_by=runner.executed_by,
            values_executed=int(getattr(runner, "values_executed", 0)), latency_ms=timed.latency_ms(),
        )  # fmt: skip


def save_embeddings(path: Path, embeddings: Embeddings) -> None:
    """Write named arrays as an uncompressed .npz."""
    np.savez(path, allow_pickle=False, **{name: np.asarray(value) for name, value in embeddings.items()})


def load_embeddings(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Read named arrays.

    Raises:
        ConversionError: the file is missing, truncated or not an .npz.
    """
    return read_arrays(
        path, lambda why: f"{path}: not a whole file of embeddings ({why}); run again with --force to make it anew"
    )


def _against(other: Path, ran: Execution, job: Job, reference: ReferenceFiles, name: str) -> ParityReport:
    report = compare(
        load_embeddings(other), ran.embeddings, reference_name=name, candidate_name=job.step.id,
        sample_set=reference.sample_set, executed_by=ran.executed_by, k=TOP_K, tie_margin=job.step.tie_margin,
        names=ran.names, stress=count_stress(ran.names),
    )  # fmt: skip
    return dataclasses.replace(report, values_executed=ran.values_executed, latency_ms=ran.latency_ms)


def _structure(job: Job, artifact: Artifact, reference: ReferenceFiles) -> StructureCheck | None:
    """None for a format whose runtime only runs files."""
    runtime = load_runtime(artifact.format)
    if not hasattr(runtime, "check_structure"):
        return None
    return cast("StructureRuntime", runtime).check_structure(artifact, job.parent or reference.tower)


def _nonfinite_origin(
    job: Job, artifact: Artifact, reference: ReferenceFiles, ran: Execution
) -> NonfiniteOrigin | None:
    """What first made a NaN or an infinity on the first sample whose outputs have one; None where all are finite.

    Never raises: the verdict stands without it.
    """
    finite = _finite_samples(ran.embeddings) | ~_finite_samples(load_embeddings(Path(reference.embeddings)))
    if finite.all():
        return None
    sample = ran.names[int(finite.argmin())]
    try:
        found = _observed_origin(artifact, load_inputs(Path(reference.samples)), finite, job.threads)
        return dataclasses.replace(found, sample=sample)
    except Exception as error:  # an observer runs a broken file in another way, and may fail in any
        return NonfiniteOrigin(sample=sample, why_not=f"{type(error).__name__}: {error}")


def _observed_origin(artifact: Artifact, inputs: Embeddings, finite: Mask, threads: int) -> NonfiniteOrigin:
    """Compare the first broken sample with the first whole one, where there is one."""
    runtime = load_runtime(artifact.format)
    if not hasattr(runtime, "open_observer"):
        return NonfiniteOrigin(sample="", why_not=f"{artifact.format} files cannot be observed")
    with cast("ObservingRuntime", runtime).open_observer(artifact, threads) as observer:
        bad, good = (
            traces(observer.observe(one_sample(inputs, int(index), artifact.inputs)))
            for index in (finite.argmin(), finite.argmax())
        )
        origin = first_origin(bad, good if finite.any() else ())
        if origin is None:
            return NonfiniteOrigin(sample="", why_not=f"{observer.executed_by} computes finite values only")
    return NonfiniteOrigin(sample="", name=origin.name, kind=origin.kind, module=origin.module)


def _finite_samples(embeddings: Embeddings) -> Mask:
    """For each sample, whether all its values are finite."""
    flat = [np.isfinite(rows).reshape(len(rows), -1).all(axis=1) for rows in embeddings.values()]
    return np.asarray(np.logical_and.reduce(flat))


def _check_tensors(kind: str, declared: tuple[TensorSpec, ...], actual: tuple[TensorSpec, ...]) -> None:
    """Names, shapes and types must be the declared ones; layout and range are not in the files."""
    said = sorted((spec.name, _sizes(spec), spec.dtype) for spec in declared)
    seen = sorted((spec.name, _sizes(spec), spec.dtype) for spec in actual)
    if said != seen:
        message = f"the file's {kind}s are {seen}, declared were {said}"
        raise ConversionError(message)


def _sizes(spec: TensorSpec) -> tuple[str, ...]:
    return tuple(str(size) for size in spec.shape)
