"""Which files are measured, and which of them at the same time."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from converter.bench.memory import expected_bytes
from converter.bench.selecting import NEEDS_A_MAC, choose_entries, grouped, onnx_yardstick, why_not_here
from converter.errors import UsageError
from converter.manifest import Manifest, ManifestEntry
from tests.advice.made_up import entry, write_folder

MB = 10**6


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """Both towers; ONNX of any batch and of batch 1."""
    made = [
        entry(tmp_path, "image/onnx/fp32_dynamic", "onnx", shape=("batch", 3, 8, 8)),
        entry(tmp_path, "image/onnx/fp32", "onnx"),
        entry(tmp_path, "image/onnx/int8", "onnx", precision="int8"),
        entry(tmp_path, "image/tflite/int8", "tflite", precision="int8"),
        entry(tmp_path, "text/tflite/int8", "tflite", precision="int8"),
        entry(tmp_path, "text/coreml/fp16", "mlpackage", precision="fp16"),
    ]
    return write_folder(tmp_path, made)


@pytest.mark.parametrize(
    ("towers", "only", "steps"),
    [
        (("image",), ("tflite/int8",), ["image/onnx/fp32", "image/tflite/int8"]),
        (("image",), ("int8",), ["image/onnx/fp32", "image/onnx/int8", "image/tflite/int8"]),
        (("image", "text"), ("tflite",), ["image/onnx/fp32", "image/tflite/int8", "text/tflite/int8"]),
        (("image", "text"), ("text/coreml/fp16",), ["text/coreml/fp16"]),
    ],
)
def test_a_word_means_rows_and_the_yardstick_comes_along(
    manifest: Manifest, towers: tuple[str, ...], only: tuple[str, ...], steps: list[str]
) -> None:
    """The float32 ONNX file of batch 1 of each tower that has files; a tower without files gets none."""
    assert [one.step_id for one in choose_entries(manifest, towers, only)] == steps  # type: ignore[arg-type]


def test_a_word_that_means_nothing_is_refused(manifest: Manifest) -> None:
    """With the nearest row."""
    with pytest.raises(UsageError, match="did you mean 'tflite/int8'"):
        choose_entries(manifest, ["image"], ["tflte/int8"])


def test_core_ml_off_a_mac_is_not_timed(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our interpreter's time is not Core ML's; on a Mac nothing is in the way."""
    package = manifest.artifacts[-1]
    monkeypatch.setattr(sys, "platform", "linux")
    assert why_not_here(package) == NEEDS_A_MAC

    monkeypatch.setattr(sys, "platform", "darwin")

    assert why_not_here(package) == ""


def test_a_format_that_nothing_runs_costs_its_row(manifest: Manifest) -> None:
    """The reason names the format."""
    assert "paddle" in why_not_here(replace(manifest.artifacts[0], format="paddle"))


def test_groups_stay_below_the_memory_and_share_the_yardstick(manifest: Manifest) -> None:
    """Six files of 100 MB and room for about three besides the yardsticks: two groups or more, each file once."""
    yardstick = _sized(manifest, 100 * MB, "yardstick")
    entries = [yardstick, *(_sized(manifest, 100 * MB, f"file{number}") for number in range(6))]
    fixed = expected_bytes(80 * MB, torch=True) + expected_bytes(100 * MB)
    allowed = fixed + 3 * expected_bytes(100 * MB)

    groups = list(grouped(entries, yardstick, 80 * MB, allowed))

    assert [len(group) for group in groups] == [4, 4]
    assert all(group[0] is yardstick for group in groups)
    assert all(fixed + sum(expected_bytes(one.size_bytes) for one in group[1:]) <= allowed for group in groups)
    assert sorted(one.step_id for group in groups for one in group[1:]) == [f"file{number}" for number in range(6)]


def test_a_file_too_large_for_its_share_is_measured_alone(manifest: Manifest) -> None:
    """Nothing is left out for want of memory; that may fail, in words."""
    yardstick = onnx_yardstick(manifest, "image")
    large = _sized(manifest, 10**12, "large")

    assert list(grouped([large], yardstick, 0, 1)) == [[yardstick, large]]


def _sized(manifest: Manifest, size_bytes: int, name: str) -> ManifestEntry:
    return replace(manifest.artifacts[0], size_bytes=size_bytes, step_id=name)
