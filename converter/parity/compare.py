"""Run an opened artifact over all samples, and compare what comes out with what another side gave."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from converter.errors import ParityError
from converter.parity.metrics import compare_outputs
from converter.parity.ranking import compare_rankings
from converter.parity.stress import compare_stress
from converter.records import ParityReport, TensorSpec
from converter.runtimes import Arrays, Runner

DYNAMIC_BATCH = 16


def compare(
    reference: Arrays,
    candidate: Arrays,
    *,
    reference_name: str,
    candidate_name: str,
    sample_set: str,
    executed_by: str,
    k: int,
    tie_margin: float,
    names: Sequence[str] = (),
    stress: int = 0,
) -> ParityReport:
    """The figures of named (n, d) outputs, not judged yet. Rankings are those of the first output.

    The last `stress` rows are those of stress samples, and have figures of their own only. `names` are those of all
    rows; they tell which samples are views of one photograph, and which stress sample is the worst.

    Raises:
        ParityError: the names differ, or there is nothing to compare.
    """
    if not reference or sorted(reference) != sorted(candidate):
        message = (
            f"outputs to compare: {sorted(reference)} of {reference_name}, {sorted(candidate)} of {candidate_name}"
        )
        raise ParityError(message)
    first = next(iter(reference))
    ref, cand = (
        {name: rows[: len(rows) - stress] for name, rows in outputs.items()} for outputs in (reference, candidate)
    )
    labels = names or [f"sample {index}" for index in range(len(reference[first]))]
    return ParityReport(
        reference=reference_name,
        candidate=candidate_name,
        sample_set=sample_set,
        executed_by=executed_by,
        outputs=tuple(compare_outputs(name, ref[name], cand[name]) for name in ref),
        ranking=compare_rankings(ref[first], cand[first], k, tie_margin, labels[: len(ref[first])]),
        stress=compare_stress(reference, candidate, labels, stress),
    )


def embed(
    runner: Runner, inputs: Arrays, *, specs: Sequence[TensorSpec], dynamic_batch: int = DYNAMIC_BATCH
) -> dict[str, npt.NDArray[Any]]:
    """Every output for all n samples, as (n, ...) arrays.

    Inputs come as (n, ...), images NCHW; layout, type and batch are adapted to what `specs` declare. The last batch is
    filled up by repeating its last sample, and cut afterwards.

    Raises:
        ParityError: there is no sample, an input that the artifact declares is missing or does not fit its type, inputs
            differ in number, or outputs are not one row a sample.
    """
    missing = [spec.name for spec in specs if spec.name not in inputs]
    counts = {} if missing else {spec.name: len(inputs[spec.name]) for spec in specs}
    if missing or not counts or 0 in counts.values():
        message = f"no samples for input {', '.join(missing) or 'any'}: the sample set has {sorted(inputs)}"
        raise ParityError(message)
    if len(set(counts.values())) > 1:
        message = f"the inputs have different numbers of samples: {counts}"
        raise ParityError(message)
    count = next(iter(counts.values()))
    size = _batch(specs, dynamic_batch)
    chunks = [{spec.name: inputs[spec.name][start : start + size] for spec in specs} for start in range(0, count, size)]
    parts = [_run(runner, _adapted(chunk, specs, _batch(specs, 1))) for chunk in chunks]
    return {name: np.concatenate([part[name] for part in parts])[:count] for name in parts[0]}


def one_sample(inputs: Arrays, index: int, specs: Sequence[TensorSpec]) -> dict[str, npt.NDArray[Any]]:
    """One of n samples as a call's arrays, in the layout, type and batch that `specs` declare."""
    chunk = {spec.name: inputs[spec.name][index : index + 1] for spec in specs}
    return _adapted(chunk, specs, _batch(specs, 1))


def _batch(specs: Sequence[TensorSpec], dynamic: int) -> int:
    return next((size for spec in specs if isinstance(size := spec.shape[0], int)), dynamic)


def _run(runner: Runner, chunk: Arrays) -> dict[str, npt.NDArray[Any]]:
    """One call's outputs, copied: a runner may hand out the buffer that its next call fills."""
    size = len(next(iter(chunk.values())))
    outputs = {name: np.array(rows) for name, rows in runner.infer(chunk).items()}
    wrong = {name: rows.shape for name, rows in outputs.items() if rows.ndim < 1 or len(rows) != size}
    if wrong or not outputs:
        message = f"{size} samples went in, outputs of shape {wrong or 'none'} came out; one row a sample is needed"
        raise ParityError(message)
    return outputs


def _adapted(chunk: Arrays, specs: Sequence[TensorSpec], at_least: int) -> dict[str, npt.NDArray[Any]]:
    return {spec.name: _laid_out(_filled(chunk[spec.name], at_least), spec) for spec in specs}


def _filled(rows: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    return rows if len(rows) >= size else np.concatenate([rows, np.repeat(rows[-1:], size - len(rows), axis=0)])


def _laid_out(rows: npt.NDArray[Any], spec: TensorSpec) -> npt.NDArray[Any]:
    moved = rows.transpose(0, 2, 3, 1) if spec.layout == "NHWC" else rows
    cast = np.ascontiguousarray(moved, dtype=np.dtype(spec.dtype))
    if cast.dtype.kind in "iu" and not np.array_equal(cast, moved):
        message = f"input '{spec.name}' takes {spec.dtype}; the samples are {rows.dtype} and lose their values in it"
        raise ParityError(message)
    return cast
