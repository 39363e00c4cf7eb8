"""Verdicts: every way to fail, and that nothing passes by being absent."""

from __future__ import annotations

import dataclasses
import math

import pytest

from converter.errors import ConfigError
from converter.parity.judge import METRICS, judge
from converter.records import OutputParity, ParityReport, RankingParity, StructureCheck, Tolerance

OUTPUT = OutputParity(
    name="embedding", shape=(64, 512), max_abs=1e-6, cosine_min=1.0, centred_cosine_min=0.99999,
    centred_cosine_mean=0.999999, sqnr_db=90.0, spread=0.3, worst_index=7, nonfinite=0,
)  # fmt: skip
RANKING = RankingParity(
    queries=64, k=5, top1=1.0, top_k=1.0, top_k_strict=1.0, kendall_tau=1.0, score_diff_max=1e-6, tie_margin=0.0
)
REPORT = ParityReport(reference="r", candidate="c", sample_set="s", executed_by="e", outputs=(OUTPUT,), ranking=RANKING)
BOUNDS = (
    Tolerance(metric="centred_cosine_min", limit=0.9999, why="test"),
    Tolerance(metric="max_abs", limit=1e-5, why="test"),
    Tolerance(metric="top_k", limit=1.0, why="test"),
)


def test_a_good_report_passes_everywhere() -> None:
    """Report, output and ranking are all marked."""
    judged, failures = judge(REPORT, BOUNDS)

    assert not failures
    assert judged.passed
    assert judged.outputs[0].passed
    assert judged.ranking is not None
    assert judged.ranking.passed


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_each_metric_fails_when_it_misses_and_when_it_is_nan(metric: str) -> None:
    """A bound that cannot be met, and a figure that is no number: both fail, whatever the metric."""
    impossible = 2.0**60 if METRICS[metric] == "at least" else -1.0
    bound = Tolerance(metric=metric, limit=impossible, why="test")
    nan_output = dataclasses.replace(OUTPUT, **{metric: math.nan}) if hasattr(OUTPUT, metric) else OUTPUT
    nan_ranking = dataclasses.replace(RANKING, **{metric: math.nan}) if hasattr(RANKING, metric) else RANKING
    lenient = Tolerance(metric=metric, limit=-impossible, why="test")

    _, missed = judge(REPORT, [bound], size_ratio=0.5)
    broken = dataclasses.replace(REPORT, outputs=(nan_output,), ranking=nan_ranking)
    _, nan = judge(broken, [lenient], size_ratio=math.nan)

    assert metric in missed[0]
    assert metric in nan[0]


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (dataclasses.replace(REPORT, outputs=()), "nothing was compared"),
        (dataclasses.replace(REPORT, outputs=(dataclasses.replace(OUTPUT, spread=0.05),)), "prove nothing"),
        (dataclasses.replace(REPORT, outputs=(dataclasses.replace(OUTPUT, spread=math.nan),)), "prove nothing"),
        (dataclasses.replace(REPORT, outputs=(dataclasses.replace(OUTPUT, nonfinite=1),)), "NaN or infinite"),
        (
            dataclasses.replace(
                REPORT, outputs=(), structure=StructureCheck(ops=1, tensors=1, max_abs=0.0, problems=("x",))
            ),
            "x",
        ),
    ],
)  # fmt: skip
def test_what_proves_nothing_fails(report: ParityReport, words: str) -> None:
    """No outputs, no spread, NaN, a broken structure: none passes, however lenient the bounds."""
    judged, failures = judge(report, BOUNDS)

    assert not judged.passed
    assert any(words in failure for failure in failures)


def test_no_tolerance_is_a_failure() -> None:
    """A row without bounds was not judged."""
    assert judge(REPORT, ())[1] == ("no tolerance is set, so nothing was judged",)


def test_a_failure_gives_figure_bound_and_worst_sample() -> None:
    """What one needs to look further is in the sentence."""
    bound = Tolerance(metric="centred_cosine_mean", limit=0.9999999, why="test")

    _, (failure,) = judge(REPORT, [bound])

    assert failure == "embedding: centred_cosine_mean 0.999999 is below 0.9999999 (worst sample 7; SQNR 90.0 dB)"


def test_size_is_judged_where_only_the_structure_could_be_checked() -> None:
    """A file that was not run must still be as small as it claims."""
    report = dataclasses.replace(
        REPORT, outputs=(), ranking=None, structure=StructureCheck(ops=9, tensors=9, max_abs=0.0)
    )
    bounds = (*BOUNDS, Tolerance(metric="size_ratio", limit=0.55, why="test"))

    assert judge(report, bounds, size_ratio=0.51)[1] == ()
    assert "size_ratio 0.9" in judge(report, bounds, size_ratio=0.9)[1][0]
    assert "size_ratio" in judge(report, bounds, size_ratio=None)[1][0]


def test_an_unknown_metric_offers_the_nearest() -> None:
    """A typing mistake in YAML is not a bound that nothing misses."""
    with pytest.raises(ConfigError, match="did you mean 'max_abs'"):
        judge(REPORT, [Tolerance(metric="max_abz", limit=1.0, why="test")])


def test_a_bounded_ranking_that_was_not_measured_fails() -> None:
    """Comparing nothing is failure, for rankings too."""
    report = dataclasses.replace(REPORT, ranking=None)

    assert judge(report, [Tolerance(metric="top_k", limit=0.5, why="test")])[1] == (
        "ranking: top_k is bounded and was not measured",
    )


@pytest.mark.parametrize(("ops", "tensors", "max_abs"), [(0, 3, 0.0), (3, 0, 0.0), (3, 3, float("nan"))])
def test_a_structure_of_nothing_fails(ops: int, tensors: int, max_abs: float) -> None:
    """A check that found no operation, no tensor or no number proves nothing."""
    structure = StructureCheck(ops=ops, tensors=tensors, max_abs=max_abs)
    report = dataclasses.replace(REPORT, outputs=(), ranking=None, structure=structure)

    assert len(judge(report, [Tolerance(metric="top_k", limit=0.5, why="test")])[1]) == 1


def test_a_ranking_of_broken_rows_is_not_passed() -> None:
    """Its figures come from zeros."""
    broken = dataclasses.replace(REPORT.outputs[0], nonfinite=1)

    judged, _ = judge(
        dataclasses.replace(REPORT, outputs=(broken,)), [Tolerance(metric="top_k", limit=0.0, why="test")]
    )

    assert judged.ranking is not None
    assert not judged.ranking.passed


def test_a_figure_is_never_printed_as_its_own_limit() -> None:
    """A reader must see which side of the bound it lies on."""
    near = dataclasses.replace(REPORT.outputs[0], centred_cosine_min=0.99999899999)

    _, (failure,) = judge(
        dataclasses.replace(REPORT, outputs=(near,)),
        [Tolerance(metric="centred_cosine_min", limit=0.999999, why="test")],
    )

    assert "centred_cosine_min 0.99999899999 is below 0.999999 (" in failure
