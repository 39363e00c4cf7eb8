"""Ratios are those of the rounds, both makers stand side by side, and the table goes between the page's marks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converter.bench.int8 import Figures, measure
from converter.bench.int8_page import COMMAND, write_page
from converter.records import Artifact, Tower
from converter.stages import to_tflite_quantized
from tests.converted import onnx_of, patchwork, recipe, tflite_of


@pytest.fixture(scope="module")
def figures(tiny_parents: dict[Tower, Artifact], tmp_path_factory: pytest.TempPathFactory) -> list[Figures]:
    """Both sides have the same float32 files; the plain one's int8 file is the text tower's, by mistake."""
    pytest.importorskip("ai_edge_quantizer", reason="needs the extra mcconvert[tflite]")
    folder = tmp_path_factory.mktemp("int8")
    onnx, tflite = onnx_of(tiny_parents["image"], folder / "onnx"), tflite_of(tiny_parents["image"], folder / "tflite")
    plain = replace(recipe("dynamic_w8"), round_weights="nearest")
    int8 = to_tflite_quantized.convert(tflite, to_tflite_quantized.Options(), plain, folder)
    files = {
        (maker, name): Path(path)
        for maker in ("plain", "ours")
        for name, path in {"onnx fp32": onnx.path, "tflite fp32": tflite.path, "tflite dynamic_w8": int8.path}.items()
    }
    return measure(files, patchwork(12, seed=3)["image"], threads=1, rounds=8)


def test_equal_files_have_equal_figures(figures: list[Figures]) -> None:
    """Size and accuracy of the two sides' int8 files, which are one file here; a file beside itself is 1."""
    found = {(one.maker, one.name): one for one in figures}
    plain, ours = found["plain", "tflite dynamic_w8"], found["ours", "tflite dynamic_w8"]

    assert (plain.size_ratio, plain.centred_cosine) == (ours.size_ratio, ours.centred_cosine)
    assert found["ours", "onnx fp32"].against_onnx_fp32 == (1.0, 1.0, 1.0)
    assert found["ours", "tflite fp32"].against_own_fp32 == (1.0, 1.0, 1.0)
    assert found["ours", "tflite fp32"].centred_cosine > 0.9999


def test_int8_is_smaller_and_less_exact(figures: list[Figures]) -> None:
    """The twin of the above: what differs is seen."""
    (int8,) = [one for one in figures if (one.maker, one.name) == ("ours", "tflite dynamic_w8")]

    assert int8.size_ratio < 0.9
    assert int8.centred_cosine < 0.9999


def test_the_table_has_both_sides(figures: list[Figures], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that one side lacks is a dash."""
    page = tmp_path / "page.md"
    page.write_text(f"before\n<!-- results: begin, written by `{COMMAND}` -->\nold\n<!-- results: end -->\nafter\n")
    ours_alone = [one for one in figures if one.maker == "ours" or one.name != "tflite dynamic_w8"]

    write_page("this machine", {"image": ours_alone}, page)

    text = page.read_text()
    row = next(line for line in text.splitlines() if line.startswith("| tflite dynamic_w8 | size"))
    assert row.split("|")[3].strip() == "-"
    assert float(row.split("|")[4]) < 1
    assert "old" not in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "this machine" in capsys.readouterr().out


def test_samples_differ_from_round_to_round() -> None:
    """More rounds than samples begin again."""
    from converter.bench.int8 import _in_turn

    seen: list[float] = []

    def run(rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        seen.append(float(rows[0, 0]))
        return rows

    seconds = _in_turn({"a": run}, np.arange(3.0)[:, None], rounds=5)

    assert seen[::2] == [0.0, 1.0, 2.0, 0.0, 1.0]
    assert len(seconds["a"]) == 5
