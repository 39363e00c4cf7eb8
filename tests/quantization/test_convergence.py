"""How many samples: few where they say the same, all where they never do, and said in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from converter.quantization.calibration import Sample
from converter.quantization.convergence import CHUNK, LOOK_BACK, calibrate
from converter.records import CAUTION
from tests.converted import recipe

SETTLES_AFTER = CHUNK * (LOOK_BACK + 1)
STATIC = replace(recipe("static_w8a8"), samples=0)


def samples(count: int, drift: float) -> list[Sample]:
    """Bells, each wider than the one before by `drift`."""
    generator = np.random.default_rng(0)
    base = generator.normal(0, 1, (1, 512)).astype(np.float32)
    return [{"image": base * np.float32(1 + drift * index)} for index in range(count)]


def run(sample: Sample) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """Two activations."""
    yield "input", sample["image"]
    yield "squared", sample["image"] ** 2


@pytest.mark.parametrize("rule", ["min_max", "percentile", "mse", "entropy"])
def test_samples_that_say_the_same_are_enough_soon(rule: str) -> None:
    """As soon as there is something to look back on, without a caution."""
    found = calibrate(run, samples(100, drift=0.0), replace(STATIC, ranges=rule))

    assert (found.samples, found.settled) == (SETTLES_AFTER, True)
    assert found.moved == pytest.approx(0.0, abs=1e-9)
    assert not [note for note in found.notes if note.startswith(CAUTION)]


@pytest.mark.parametrize("rule", ["min_max", "mse"])
def test_samples_that_drift_run_out(rule: str) -> None:
    """The twin: all are used, and that is said with how far the ranges still moved."""
    found = calibrate(run, samples(40, drift=0.5), replace(STATIC, ranges=rule))

    assert (found.samples, found.settled) == (40, False)
    (caution,) = [note for note in found.notes if note.startswith(CAUTION)]
    assert "all 40 calibration samples were used before the ranges stood still" in caution
    assert f"{found.moved:.1%}" in caution


def test_a_number_of_samples_is_kept_to() -> None:
    """Settled or not; fewer than the recipe asks for is said."""
    fixed = calibrate(run, samples(32, drift=0.0), replace(STATIC, samples=32))
    short = calibrate(run, samples(12, drift=0.0), replace(STATIC, samples=32))

    assert fixed.samples == 32
    assert "the last 16 moved 95 in 100 of them by 0.0% or less" in fixed.notes[0]
    assert short.notes[1] == f"{CAUTION}the recipe asks for 32 calibration samples, there are 12: give more"


def test_too_few_to_tell_is_said() -> None:
    """Less than three chunks have nothing to look back on."""
    (_, caution) = calibrate(run, samples(9, drift=0.0), STATIC).notes

    assert "too few to tell" in caution


def test_only_what_is_asked_for_is_measured() -> None:
    """Nothing else gets a range."""
    assert set(calibrate(run, samples(8, drift=0.0), STATIC, only={"squared"}).ranges) == {"squared"}


def test_no_recipe_means_all_extremes() -> None:
    """Over every sample."""
    given = samples(9, drift=1.0)
    found = calibrate(run, given)

    assert (found.samples, found.method) == (9, "min_max")
    assert found.ranges["input"] == (given[-1]["image"].min(), given[-1]["image"].max())
