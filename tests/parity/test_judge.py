"""Verdicts: every way to fail, and that nothing passes by being absent."""

from __future__ import annotations

import dataclasses
import math

import pytest

from converter.errors import ConfigError
from converter.parity.judge import METRICS, judge
from converter.records import (
    NonfiniteOrigin,
    OutputParity,
    ParityReport,
    RankingParity,
    StressParity,
    StructureCheck,
    Tolerance,
)

OUTPUT = OutputParity(
    name="embedding", shape=(64, 512), max_abs=1e-6, cosine_min=1.0, centred_cosine_min=0.99999,
    centred_cosine_mean=0.999999, sqnr_db=90.0, spread=0.3, worst_index=7, nonfinite=0,
)  # fmt: skip
RANKING = RankingParity(
    queries=64, k=5, top1=1.0, top_k=1.0, top_k_strict=1.0, kendall_tau=1.0, score_diff_max=1e-6, tie_margin=0.0
)
STRESS = StressParity(samples=7, max_abs=1e-6, cosine_min=0.9999999, worst="stress/noise", nonfinite=0)
STRUCTURE = StructureCheck(ops=9, tensors=9, max_abs=0.0)
REPORT = ParityReport(
    reference="r", candidate="c", sample_set="s", executed_by="e", outputs=(OUTPUT,), ranking=RANKING, stress=STRESS
)
BOUNDS = (
    Tolerance(metric="centred_cosine_min", limit=0.9999, why="test"),
    Tolerance(metric="max_abs", limit=1e-5, why="test"),
    Tolerance(metric="top_k", limit=1.0, why="test"),
)


def test_a_good_report_passes_everywhere() -> None:
    """Report, output, ranking and stress are all marked."""
    judged, failures = judge(dataclasses.replace(REPORT, structure=STRUCTURE), BOUNDS)

    assert not failures
    assert judged.passed
    assert judged.outputs[0].passed
    assert judged.ranking is not None
    assert judged.ranking.passed
    assert judged.stress is not None
    assert judged.stress.passed


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_each_metric_fails_when_it_misses_and_when_it_is_nan(metric: str) -> None:
    """A bound that cannot be met, and a figure that is no number: both fail, whatever the metric."""
    impossible = 2.0**60 if METRICS[metric] == "at least" else -1.0
    bound = Tolerance(metric=metric, limit=impossible, why="test")
    nan_output, nan_ranking = _with_nan(OUTPUT, metric), _with_nan(RANKING, metric)
    nan_stress = _with_nan(STRESS, metric.removeprefix("stress_")) if metric.startswith("stress_") else STRESS
    lenient = Tolerance(metric=metric, limit=-impossible, why="test")

    _, missed = judge(REPORT, [bound], size_ratio=0.5)
    broken = dataclasses.replace(REPORT, outputs=(nan_output,), ranking=nan_ranking, stress=nan_stress)
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
        (dataclasses.replace(REPORT, structure=dataclasses.replace(STRUCTURE, problems=("a bit flipped",))), "flipped"),
        (dataclasses.replace(REPORT, outputs=(), structure=STRUCTURE), "nothing was compared"),
        (dataclasses.replace(REPORT, stress=dataclasses.replace(STRESS, nonfinite=1)), "stress: 1 value"),
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


def test_size_is_judged_beside_the_structure() -> None:
    """A file that is read as well as run must still be as small as it claims."""
    report = dataclasses.replace(REPORT, structure=STRUCTURE)
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
    report = dataclasses.replace(REPORT, structure=StructureCheck(ops=ops, tensors=tensors, max_abs=max_abs))

    judged, failures = judge(report, BOUNDS)

    assert len(failures) == 1
    assert not judged.passed
    assert judged.outputs[0].passed


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


@pytest.mark.parametrize("stress", [None, dataclasses.replace(STRESS, samples=0, left_out=("stress/black",))])
def test_bounded_stress_that_was_not_measured_fails(stress: StressParity | None) -> None:
    """No such rows, or none that the reference itself can embed: nothing was shown."""
    bound = Tolerance(metric="stress_cosine_min", limit=0.5, why="test")

    judged, failures = judge(dataclasses.replace(REPORT, stress=stress), [bound])

    assert failures == ("stress: stress_cosine_min is bounded and was not measured",)
    assert not judged.passed


def test_stress_that_misses_names_the_sample() -> None:
    """And fails the report, whose ordinary figures are good."""
    bounds = (*BOUNDS, Tolerance(metric="stress_max_abs", limit=1e-7, why="test"))

    judged, failures = judge(REPORT, bounds)

    assert failures == ("stress: stress_max_abs 1e-06 is above 1e-07 (worst sample 'stress/noise')",)
    assert judged.outputs[0].passed
    assert judged.stress is not None
    assert not judged.stress.passed


def test_unbounded_stress_fails_for_nan_only() -> None:
    """An int8 row shows how far it is off on white; a NaN there is a NaN on a phone."""
    far = dataclasses.replace(STRESS, cosine_min=-0.5, max_abs=1.9)

    assert judge(dataclasses.replace(REPORT, stress=far), BOUNDS)[1] == ()
    assert judge(dataclasses.replace(REPORT, stress=dataclasses.replace(far, nonfinite=1)), BOUNDS)[1]


def test_a_nan_names_the_operation_that_made_it() -> None:
    """Once, at the first failure that speaks of them; where none was found, the reason stands there."""
    broken = dataclasses.replace(OUTPUT, nonfinite=512, nonfinite_samples=3)
    stress = dataclasses.replace(STRESS, nonfinite=128, nonfinite_samples=1)
    origin = NonfiniteOrigin(sample="cat#dark", name="/norm/Pow_output_0", kind="Pow")
    report = dataclasses.replace(REPORT, outputs=(broken,), stress=stress, nonfinite_origin=origin)
    unknown = dataclasses.replace(origin, name="", why_not="tflite files cannot be observed")

    _, found = judge(report, BOUNDS)
    _, not_found = judge(dataclasses.replace(report, nonfinite_origin=unknown), BOUNDS)

    assert found == (
        "embedding: 512 values of 3 samples are NaN or infinite; first made by Pow '/norm/Pow_output_0' on sample "
        "'cat#dark'",
        "stress: 128 values of 1 sample are NaN or infinite",
    )
    assert not_found[0].endswith("on sample 'cat#dark' could not be located: tflite files cannot be observed")


def test_a_verdict_has_the_cautions_of_its_ranking() -> None:
    """A figure that meets its bound on too few queries passes, and the report says what that does not prove."""
    few = dataclasses.replace(RANKING, groups=8, top_k_interval=(0.63, 1.0))

    judged, failures = judge(
        dataclasses.replace(REPORT, ranking=few), [Tolerance(metric="top_k", limit=0.95, why="test")]
    )

    assert failures == ()
    assert judged.passed
    assert "8 photographs are too few" in judged.cautions[0]


def _with_nan[T: (OutputParity, RankingParity, StressParity)](record: T, field: str) -> T:
    return dataclasses.replace(record, **{field: math.nan}) if hasattr(record, field) else record
