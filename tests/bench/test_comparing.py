"""Faster, slower, or noise: intervals hold what they promise, and one changed file is told from a slower machine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from converter.bench.comparing import compare_runs
from converter.bench.ratios import ratio, timing
from converter.benchmarked import Benchmark, Comparison
from converter.manifest import ManifestEntry
from tests.advice.made_up import around, benchmark, entry, measured

NOISE = 0.08


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[ManifestEntry]:
    """Five files."""
    folder = tmp_path_factory.mktemp("files")
    return [entry(folder, f"image/onnx/row{number}", "onnx") for number in range(5)]


def test_intervals_hold_the_true_ratio() -> None:
    """15 rounds, noise that both sides share and noise of their own: 95 % intervals hold 1.5 in 95 % of 300 runs."""
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(300):
        shared = generator.lognormal(0.0, 0.5, 15)
        one, other = (10 * shared * generator.lognormal(0.0, NOISE, 15) for _ in range(2))
        low, high = ratio(list(1.5 * one), list(other)).interval
        held += low <= 1.5 <= high

    assert held >= 0.92 * 300


def test_pairing_by_round_takes_out_what_rounds_share() -> None:
    """The same figures in another order are not paired: the interval is several times as wide."""
    generator = np.random.default_rng(1)
    shared = generator.lognormal(0.0, 0.5, 15)
    one, other = 15 * shared * generator.lognormal(0.0, 0.01, 15), 10 * shared

    paired, mixed = ratio(list(one), list(other)).interval, ratio(list(one), list(np.roll(other, 4))).interval

    assert mixed[1] - mixed[0] > 5 * (paired[1] - paired[0])


def test_a_timing_is_of_rounds() -> None:
    """Median of the rounds' medians; p95 over all calls; calls counted."""
    found = timing([[1.0, 2.0, 30.0], [2.0, 3.0, 4.0], [3.0, 4.0, 5.0]])

    assert (found.median, found.calls) == (3.0, 9)
    assert found.p95 == pytest.approx(np.percentile([1, 2, 30, 2, 3, 4, 3, 4, 5], 95))


def test_equal_runs_do_not_differ(files: list[ManifestEntry]) -> None:
    """40 pairs of runs of five files, nothing changed: at most one in a hundred verdicts says otherwise."""
    wrong = 0
    for seed in range(40):
        old, new = _run(files, 2 * seed), _run(files, 2 * seed + 1)
        wrong += sum(change.verdict != "no difference within noise" for change in _compared(old, new).changes)

    assert wrong <= 2


@pytest.mark.parametrize(("factor", "verdict"), [(1.5, "slower"), (0.6, "faster")])
def test_one_changed_file_is_found(files: list[ManifestEntry], factor: float, verdict: str) -> None:
    """That file and no other, though the whole machine is 1.8 times as slow as before; that is said too."""
    old = _run(files, 0)
    new = _run(files, 1, factors=(1.8, 1.8, 1.8 * factor, 1.8, 1.8))

    found = _compared(old, new)

    verdicts = [change.verdict for change in found.changes]
    assert verdicts == [verdict if index == 2 else "no difference within noise" for index in range(5)]
    (together,) = found.together
    assert together.ratio.interval[0] < 1.8 < together.ratio.interval[1]
    low, high = found.changes[2].ratio.interval
    assert low < factor < high


def test_files_that_scatter_raise_what_it_takes(files: list[ManifestEntry]) -> None:
    """A load that hits each file otherwise: 40 % more of one say nothing; the twin without that load is found."""
    old = _run(files, 0)
    scattered = _run(files, 1, factors=(0.7, 1.5, 1.4, 1.0, 0.65))
    steady = _run(files, 1, factors=(1.0, 1.0, 1.4, 1.0, 1.0))

    assert {change.verdict for change in _compared(old, scattered).changes} == {"no difference within noise"}
    assert _compared(old, scattered).together[0].scatter > 1.3
    assert _compared(old, steady).changes[2].verdict == "slower"


def test_towers_are_compared_apart(files: list[ManifestEntry]) -> None:
    """The machine was twice as slow while the text tower was measured: no file of either tower became slower."""
    old, new = _run(files, 0), _run(files, 1)
    texts = [
        replace(run, rows=tuple(replace(row, tower="text", step_id=row.step_id.replace("image", "text")) for row in
                                _run(files, seed, factors=factors).rows))
        for run, seed, factors in ((old, 2, (1.0,) * 5), (new, 3, (2.0,) * 5))
    ]  # fmt: skip
    both = [replace(run, rows=run.rows + text.rows) for run, text in zip((old, new), texts, strict=True)]

    found = _compared(*both)

    assert {change.verdict for change in found.changes} == {"no difference within noise"}
    assert [one.tower for one in found.together] == ["image", "text"]
    assert found.together[1].ratio.value == pytest.approx(2.0, rel=0.1)


def test_few_files_are_compared_as_they_are(files: list[ManifestEntry]) -> None:
    """With two files, nothing can be said of the machine: a run that is slower is slower."""
    old, new = _run(files[:2], 0), _run(files[:2], 1, factors=(1.5, 1.5))

    found = _compared(old, new)

    assert found.together == ()
    assert [change.verdict for change in found.changes] == ["slower", "slower"]


def test_what_runs_do_not_share_is_named(files: list[ManifestEntry]) -> None:
    """Files of one run only, other bytes, other versions."""
    old = _run(files[:4], 0, libraries=("onnxruntime 1.25.0",))
    new = _run(files[1:], 1, libraries=("onnxruntime 1.26.0",))

    found = _compared(old, new)

    assert found.only_old == ("image/onnx/row0",)
    assert found.only_new == ("image/onnx/row4",)
    assert found.differences == ("onnxruntime 1.25.0 -> 1.26.0",)


def _run(
    files: list[ManifestEntry],
    seed: int,
    factors: tuple[float, ...] = (1.0,) * 5,
    libraries: tuple[str, ...] = ("x 1",),
) -> Benchmark:
    rows = [
        measured(one, around(10.0 * (number + 1) * factors[number], seed=100 * seed + number, noise=NOISE))
        for number, one in enumerate(files)
    ]
    return benchmark(rows, libraries=libraries)


def _compared(old: Benchmark, new: Benchmark) -> Comparison:
    return compare_runs(old, new, "then", "now")
