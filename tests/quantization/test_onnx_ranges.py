"""Ranges of an ONNX file's values: exact extremes, in the file's layout, and nothing from what is not finite."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from converter.errors import ConversionError
from converter.onnx_file import load_model
from converter.quantization.onnx_ranges import measure_ranges
from converter.records import Artifact, Tower
from tests.converted import onnx_of, patchwork, recipe

pytest.importorskip("onnxslim", reason="needs the extra mcconvert[onnx]")

MIN_MAX = replace(recipe("static_w8a8"), ranges="min_max")
LAYOUTS = {"image": "NCHW"}


@pytest.fixture(scope="module")
def model(tiny_parents: dict[Tower, Artifact], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The image tower in float32."""
    return load_model(onnx_of(tiny_parents["image"], tmp_path_factory.mktemp("image")).path)


def _samples(count: int) -> list[dict[str, Any]]:
    return [{"image": image.transpose(1, 2, 0)[None]} for image in patchwork(count, seed=3)["image"]]


def test_inputs_and_inner_values_have_their_extremes(model: Any) -> None:
    """The input's are those of the samples themselves; a GELU's lowest is its minimum."""
    gelu = next(node.output[0] for node in model.graph.node if node.op_type == "Gelu")
    samples = _samples(3)

    ranges = measure_ranges(model, ["image", gelu], samples, LAYOUTS, MIN_MAX)

    seen = np.stack([sample["image"] for sample in samples])
    assert ranges["image"] == (seen.min(), seen.max())
    assert -0.17 < ranges[gelu][0] < -0.16
    assert ranges[gelu][1] > 0


def test_the_layout_is_the_files(model: Any) -> None:
    """The twin: samples in the layout that they come in are refused by the file."""
    with pytest.raises(ConversionError, match=r"cannot run the float32 graph.*float32\[1, 64, 64, 3\]"):
        measure_ranges(model, [model.graph.node[0].output[0]], _samples(1), {}, MIN_MAX)


def test_no_sample_is_no_range(model: Any) -> None:
    """Nothing measured is an error, not a range."""
    with pytest.raises(ConversionError, match="not one calibration sample"):
        measure_ranges(model, ["image"], [], LAYOUTS, MIN_MAX)


def test_what_is_not_finite_is_refused(model: Any) -> None:
    """One NaN pixel, and the value is named."""
    (sample,) = _samples(1)
    sample["image"] = np.full_like(sample["image"], np.nan)

    with pytest.raises(ConversionError, match="NaN or infinite on the calibration samples, first 'image'"):
        measure_ranges(model, ["image"], [sample], LAYOUTS, MIN_MAX)
