"""Run an artifact on the stored samples and measure it against the reference and against its parent.

Runs inside a step's process. Where this machine cannot execute the format, the file's structure is checked instead,
and the report says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from converter.arrays import read_arrays
from converter.errors import ConversionError, MissingDependencyError
from converter.models.samples import load_inputs
from converter.parity.compare import compare, embed
from converter.pipeline.job import Job, Outcome, ReferenceFiles
from converter.pipeline.plugins import load_runtime
from converter.records import Artifact, ParityReport, TensorSpec
from converter.runtimes import StructureRuntime

TOP_K = 5
CANDIDATE = "candidate.npz"
Embeddings = Mapping[str, npt.NDArray[Any]]


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
    why_not = load_runtime(artifact.format).cannot_execute()
    if why_not:
        report = _check_structure(job, artifact, reference, why_not)
        return Outcome(artifact=artifact, vs_reference=report)
    embeddings, executed_by = run_artifact(artifact, Path(reference.samples), job.threads)
    save_embeddings(Path(job.folder) / CANDIDATE, embeddings)
    names = {"candidate": job.step.id, "sample_set": reference.sample_set, "executed_by": executed_by}
    return Outcome(
        artifact=artifact,
        files={"candidate": CANDIDATE},
        vs_reference=_against(Path(reference.embeddings), embeddings, job, "PyTorch reference", names),
        vs_parent=_against(Path(job.parent_candidate), embeddings, job, job.step.parent or "", names)
        if job.parent_candidate
        else None,
    )


def run_artifact(artifact: Artifact, samples: Path, threads: int) -> tuple[Embeddings, str]:
    """(embeddings by output name, what executed it) of an artifact over a sample file.

    Raises:
        ConversionError: the file's own tensors differ from the declared ones.
    """
    runtime = load_runtime(artifact.format)
    with runtime.open_runner(artifact, threads) as runner:
        _check_tensors("input", artifact.inputs, runner.inputs)
        _check_tensors("output", artifact.outputs, runner.outputs)
        return embed(runner, load_inputs(samples), specs=artifact.inputs), runner.executed_by


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


def _against(other: Path, embeddings: Embeddings, job: Job, name: str, names: Mapping[str, str]) -> ParityReport:
    return compare(
        load_embeddings(other), embeddings, reference_name=name, candidate_name=names["candidate"],
        sample_set=names["sample_set"], executed_by=names["executed_by"], k=TOP_K, tie_margin=job.step.tie_margin,
    )  # fmt: skip


def _check_structure(job: Job, artifact: Artifact, reference: ReferenceFiles, why_not: str) -> ParityReport:
    runtime = load_runtime(artifact.format)
    if not hasattr(runtime, "check_structure"):
        message = f"{artifact.format} files cannot be run here ({why_not}), and its runtime has no check_structure"
        raise MissingDependencyError(message)
    check = cast("StructureRuntime", runtime).check_structure(artifact, job.parent or reference.tower)
    return ParityReport(
        reference=job.step.parent or "PyTorch reference", candidate=job.step.id, sample_set="none: not executed",
        executed_by=f"nothing: {why_not}; its program and tensors were checked", structure=check,
    )  # fmt: skip


def _check_tensors(kind: str, declared: tuple[TensorSpec, ...], actual: tuple[TensorSpec, ...]) -> None:
    """Names, shapes and types must be the declared ones; layout and range are not in the files."""
    said = sorted((spec.name, _sizes(spec), spec.dtype) for spec in declared)
    seen = sorted((spec.name, _sizes(spec), spec.dtype) for spec in actual)
    if said != seen:
        message = f"the file's {kind}s are {seen}, declared were {said}"
        raise ConversionError(message)


def _sizes(spec: TensorSpec) -> tuple[str, ...]:
    return tuple(str(size) for size in spec.shape)
