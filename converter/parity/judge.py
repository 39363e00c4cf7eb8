"""Verdicts: measured figures held against bounds. Pure Python, so that a warm run loads no numpy."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from converter.errors import ConfigError, nearest
from converter.parity.resolution import cautions_of
from converter.records import (
    NonfiniteOrigin,
    OutputParity,
    ParityReport,
    RankingParity,
    StressParity,
    StructureCheck,
    Tolerance,
)

MIN_SPREAD = 0.1
"""Mean distance of the reference embeddings from their mean below which any file would look right. Freshly
initialised towers have 0.001, awake ones 0.2 to 0.5."""

OUTPUT_METRICS = {
    "max_abs": "at most",
    "cosine_min": "at least",
    "centred_cosine_min": "at least",
    "centred_cosine_mean": "at least",
    "sqnr_db": "at least",
}
RANKING_METRICS = {
    "top1": "at least",
    "top_k": "at least",
    "top_k_strict": "at least",
    "kendall_tau": "at least",
    "score_diff_max": "at most",
}
STRESS_METRICS = {"stress_cosine_min": "at least", "stress_max_abs": "at most"}
FILE_METRICS = {"size_ratio": "at most"}
METRICS: Mapping[str, str] = {**OUTPUT_METRICS, **RANKING_METRICS, **STRESS_METRICS, **FILE_METRICS}

NONFINITE = "are NaN or infinite"


def judge(
    report: ParityReport, tolerances: Sequence[Tolerance], *, size_ratio: float | None = None
) -> tuple[ParityReport, tuple[str, ...]]:
    """The report with `passed` set everywhere and with its cautions, and every failure in words.

    Raises:
        ConfigError: a tolerance names no metric that is known.
    """
    _check_names(tolerances)
    outputs = [(output, _output_failures(output, tolerances)) for output in report.outputs]
    ranking, stress = _ranking_failures(report, tolerances), _stress_failures(report, tolerances)
    others = [*_report_failures(report, tolerances), *_file_failures(size_ratio, tolerances)]
    found = (*(one for _, several in outputs for one in several), *ranking, *stress, *others)
    failures = _with_origin(found, report.nonfinite_origin)
    judged = dataclasses.replace(
        report,
        outputs=tuple(dataclasses.replace(output, passed=not several) for output, several in outputs),
        ranking=_judged_ranking(report, ranking),
        stress=dataclasses.replace(report.stress, passed=not stress) if report.stress else None,
        cautions=(*report.cautions, *(cautions_of(report.ranking, tolerances) if report.ranking else ())),
        passed=not failures,
    )
    return judged, failures


def _judged_ranking(report: ParityReport, failures: Sequence[str]) -> RankingParity | None:
    """A ranking of rows that were not finite passes nothing, whatever its figures."""
    finite = not any(output.nonfinite for output in report.outputs)
    return dataclasses.replace(report.ranking, passed=finite and not failures) if report.ranking else None


def _check_names(tolerances: Sequence[Tolerance]) -> None:
    unknown = [bound.metric for bound in tolerances if bound.metric not in METRICS]
    if unknown:
        raise ConfigError(f"tolerances: unknown metric '{name}'; {nearest(name, METRICS)}" for name in unknown)


def _report_failures(report: ParityReport, tolerances: Sequence[Tolerance]) -> list[str]:
    if not tolerances:
        return ["no tolerance is set, so nothing was judged"]
    nothing = [] if report.outputs else ["nothing was compared"]
    return nothing + (_structure_failures(report.structure) if report.structure else [])


def _structure_failures(structure: StructureCheck) -> list[str]:
    found = list(structure.problems)
    if structure.ops < 1 or structure.tensors < 1:
        found.append(f"structure: {structure.ops} operations and {structure.tensors} tensors; there is nothing in it")
    if math.isnan(structure.max_abs):
        found.append("the largest difference of the file's tensors is not a number")
    return found


def _output_failures(output: OutputParity, tolerances: Sequence[Tolerance]) -> list[str]:
    found = []
    found += _nonfinite(output.name, output)
    if not output.spread >= MIN_SPREAD:
        found.append(f"{output.name}: spread {output.spread:.4f} is below {MIN_SPREAD}: these samples prove nothing")
    where = f" (worst sample {output.worst_index}; SQNR {output.sqnr_db:.1f} dB)"
    for bound in tolerances:
        if bound.metric in OUTPUT_METRICS:
            found += _missed(f"{output.name}: ", bound, getattr(output, bound.metric), where)
    return found


def _ranking_failures(report: ParityReport, tolerances: Sequence[Tolerance]) -> list[str]:
    ranking, found = report.ranking, []
    for bound in tolerances:
        if bound.metric not in RANKING_METRICS:
            continue
        if ranking is not None:
            where = f" ({ranking.queries} queries, k {ranking.k})"
            found += _missed("ranking: ", bound, getattr(ranking, bound.metric), where)
        else:
            found.append(f"ranking: {bound.metric} is bounded and was not measured")
    return found


def _stress_failures(report: ParityReport, tolerances: Sequence[Tolerance]) -> list[str]:
    stress = report.stress
    found = _nonfinite("stress", stress) if stress else []
    for bound in tolerances:
        if bound.metric not in STRESS_METRICS:
            continue
        if stress is not None and stress.samples:
            seen = getattr(stress, bound.metric.removeprefix("stress_"))
            found += _missed("stress: ", bound, seen, f" (worst sample '{stress.worst}')")
        else:
            found.append(f"stress: {bound.metric} is bounded and was not measured")
    return found


def _nonfinite(name: str, seen: OutputParity | StressParity) -> list[str]:
    """Values that are no numbers are a failure of their own, whatever the bounds."""
    if not seen.nonfinite:
        return []
    samples = f" of {_counted(seen.nonfinite_samples, 'sample')}" if seen.nonfinite_samples else ""
    return [f"{name}: {_counted(seen.nonfinite, 'value')}{samples} {NONFINITE}"]


def _counted(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"


def _with_origin(failures: Sequence[str], origin: NonfiniteOrigin | None) -> tuple[str, ...]:
    """The first failure of that kind says where it comes from."""
    first = next((index for index, one in enumerate(failures) if one.endswith(NONFINITE)), None)
    if origin is None or first is None:
        return tuple(failures)
    words = (
        f"first made by {origin.kind} '{origin.name}' on sample '{origin.sample}'"
        if origin.name
        else f"what first made them on sample '{origin.sample}' could not be located: {origin.why_not}"
    )
    return (*failures[:first], f"{failures[first]}; {words}", *failures[first + 1 :])


def _file_failures(size_ratio: float | None, tolerances: Sequence[Tolerance]) -> list[str]:
    found = []
    for bound in tolerances:
        if bound.metric in FILE_METRICS:
            found += _missed("file: ", bound, math.nan if size_ratio is None else size_ratio, "")
    return found


def _missed(prefix: str, bound: Tolerance, seen: float, where: str) -> list[str]:
    """The failure in words; NaN meets no bound."""
    at_least = METRICS[bound.metric] == "at least"
    if seen >= bound.limit if at_least else seen <= bound.limit:
        return []
    side = "below" if at_least else "above"
    return [f"{prefix}{bound.metric} {_figure(seen, bound.limit)} is {side} {bound.limit:.12g}{where}"]


def _figure(seen: float, limit: float) -> str:
    """`seen` in the fewest digits, seven at least, that do not round it onto its limit."""
    return next((text for digits in range(7, 17) if float(text := f"{seen:.{digits}g}") != limit), repr(seen))
