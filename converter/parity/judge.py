"""Verdicts: measured figures held against bounds. Pure Python, so that a warm run loads no numpy."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from converter.errors import ConfigError, nearest
from converter.records import OutputParity, ParityReport, RankingParity, Tolerance

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
FILE_METRICS = {"size_ratio": "at most"}
METRICS: Mapping[str, str] = {**OUTPUT_METRICS, **RANKING_METRICS, **FILE_METRICS}


def judge(
    report: ParityReport, tolerances: Sequence[Tolerance], *, size_ratio: float | None = None
) -> tuple[ParityReport, tuple[str, ...]]:
    """The report with `passed` set everywhere, and every failure in words.

    Raises:
        ConfigError: a tolerance names no metric that is known.
    """
    _check_names(tolerances)
    outputs = [(output, _output_failures(output, tolerances)) for output in report.outputs]
    ranking = _ranking_failures(report.ranking, tolerances)
    others = [*_report_failures(report, tolerances), *_file_failures(size_ratio, tolerances)]
    failures = (*(one for _, found in outputs for one in found), *ranking, *others)
    judged = dataclasses.replace(
        report,
        outputs=tuple(dataclasses.replace(output, passed=not found) for output, found in outputs),
        ranking=dataclasses.replace(report.ranking, passed=not ranking) if report.ranking else None,
        passed=not failures,
    )
    return judged, failures


def _check_names(tolerances: Sequence[Tolerance]) -> None:
    unknown = [bound.metric for bound in tolerances if bound.metric not in METRICS]
    if unknown:
        raise ConfigError(f"tolerances: unknown metric '{name}'; {nearest(name, METRICS)}" for name in unknown)


def _report_failures(report: ParityReport, tolerances: Sequence[Tolerance]) -> list[str]:
    if not tolerances:
        return ["no tolerance is set, so nothing was judged"]
    if report.structure is not None:
        return list(report.structure.problems)
    return [] if report.outputs else ["nothing was compared"]


def _output_failures(output: OutputParity, tolerances: Sequence[Tolerance]) -> list[str]:
    found = []
    if output.nonfinite:
        found.append(f"{output.name}: {output.nonfinite} values are NaN or infinite")
    if not output.spread >= MIN_SPREAD:
        found.append(f"{output.name}: spread {output.spread:.4f} is below {MIN_SPREAD}: these samples prove nothing")
    where = f" (worst sample {output.worst_index}; SQNR {output.sqnr_db:.1f} dB)"
    for bound in tolerances:
        if bound.metric in OUTPUT_METRICS:
            found += _missed(f"{output.name}: ", bound, getattr(output, bound.metric), where)
    return found


def _ranking_failures(ranking: RankingParity | None, tolerances: Sequence[Tolerance]) -> list[str]:
    found = []
    for bound in tolerances:
        if ranking is not None and bound.metric in RANKING_METRICS:
            where = f" ({ranking.queries} queries, k {ranking.k})"
            found += _missed("ranking: ", bound, getattr(ranking, bound.metric), where)
    return found


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
    return [f"{prefix}{bound.metric} {seen:.7g} is {side} {bound.limit:g}{where}"]
