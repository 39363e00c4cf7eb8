"""Ranges of activations: the true extremes over all samples, and refused where they mean nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from converter.errors import ConversionError
from converter.quantization.ranges import measure_ranges
from converter.records import Artifact, Tower
from tests.converted import channels_last, patchwork, tflite_of

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
