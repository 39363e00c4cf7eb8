"""Ranges of activations: the true extremes over all samples, and refused where they mean nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from converter.errors import ConversionError
from converter.quantization.range_store import RANGES_VARIABLE
from converter.quantization.ranges import measure_ranges, ranges_of
from converter.records import Artifact, Tower
from tests.converted import channels_last, patchwork, recipe, tflite_of, write_calibration

pytest.importorskip("ai_edge_litert", reason="needs the extra mcconvert[tflite]")


@pytest.fixture(scope="module")
def image_file(tiny_parents: dict[Tower, Artifact], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy image tower as TFLite."""
    return Path(tflite_of(tiny_parents["image"], tmp_path_factory.mktemp("image")).path)


def test_the_extremes_of_every_sample_count(image_file: Path) -> None:
    """One bright picture among dark ones sets the range for good, wherever it stands."""
    pictures = channels_last(patchwork(4, seed=0))["image"]
    pictures[1:] /= 10
    samples = [{"image": picture[None]} for picture in pictures]

    first, last = (measure_ranges(image_file, order, threads=1) for order in (samples, samples[::-1]))
    assert first["image"]["max"].item() == pictures.max()
    assert first["image"]["max"].shape == (1, 1, 1, 1)
    assert all(np.array_equal(first[name][end], last[name][end]) for name in first for end in ("min", "max"))


def test_every_computed_tensor_has_a_range(image_file: Path) -> None:
    """Input, output and what lies between, each smallest not above its largest."""
    ranges = measure_ranges(image_file, [channels_last(patchwork(1, seed=0))], threads=1)

    assert {"image", "embedding"} < set(ranges)
    assert len(ranges) > 50
    assert all(ends["min"] <= ends["max"] for ends in ranges.values())


def test_no_sample_is_refused(image_file: Path) -> None:
    """Ranges of nothing would quantize everything to nothing."""
    with pytest.raises(ConversionError, match="not one calibration sample"):
        measure_ranges(image_file, [], threads=1)


def test_a_tensor_that_is_not_finite_is_named(image_file: Path) -> None:
    """A NaN pixel spreads; the first tensor that holds it is named."""
    picture = channels_last(patchwork(1, seed=0))
    picture["image"][0, 0, 0, 0] = np.nan

    with pytest.raises(ConversionError, match="NaN or infinite on the calibration samples, first 'image'"):
        measure_ranges(image_file, [picture], threads=1)


@pytest.mark.parametrize("rule", ["percentile", "mse", "entropy"])
def test_a_recipe_narrows_the_extremes(image_file: Path, rule: str) -> None:
    """Never beyond them and 0; arrays of one element and of the tensor's rank, as the quantizer takes them."""
    samples = [channels_last(patchwork(1, seed=seed)) for seed in range(8)]
    wanted = replace(recipe("static_w8a8"), ranges=rule, percentile=95.0, samples=8)

    plain, narrow = (measure_ranges(image_file, samples, threads=1, recipe=one) for one in (None, wanted))
    ends = [(plain[name], narrow[name]) for name in plain]
    assert all(min(wide["min"], 0) <= each["min"] + 1e-6 for wide, each in ends)
    assert all(max(wide["max"], 0) >= each["max"] - 1e-6 for wide, each in ends)
    assert any(each["max"] < wide["max"] for wide, each in ends)
    assert all(each["max"].shape == wide["max"].shape for wide, each in ends)


def test_only_what_is_named_is_measured(image_file: Path) -> None:
    """A name that the file does not compute is refused."""
    samples = [channels_last(patchwork(1, seed=0))]

    assert set(measure_ranges(image_file, samples, threads=1, only=["embedding"])) == {"embedding"}
    with pytest.raises(ConversionError, match="1 tensors to measure .* first 'embeding'"):
        measure_ranges(image_file, samples, threads=1, only=["embeding"])


def test_ranges_are_measured_once_for_all_who_ask(
    image_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second time from the store, equal to the last bit; other pictures are measured themselves."""
    monkeypatch.setenv(RANGES_VARIABLE, str(tmp_path / "ranges"))
    path = write_calibration("image", patchwork(8, seed=0), tmp_path / "calibration.npz")
    wanted = replace(recipe("static_w8a8"), samples=8, ranges="mse", calibration_path=str(path))

    first = ranges_of(image_file, wanted, threads=1)
    monkeypatch.setattr("converter.quantization.ranges.calibrate", None)
    second = ranges_of(image_file, wanted, threads=1)
    assert first.notes == second.notes
    assert "mse ranges of" in first.notes[0]
    assert all(np.array_equal(first.ranges[name][end], second.ranges[name][end])
               for name in first.ranges for end in ("min", "max"))  # fmt: skip
    write_calibration("image", patchwork(8, seed=1), path)
    with pytest.raises(TypeError):
        ranges_of(image_file, wanted, threads=1)
