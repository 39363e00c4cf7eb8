"""Every op of a file is timed once, weights that are unpacked go with their layer, and what cannot run is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converter.bench.tflite_ops import lines, main, profile
from converter.records import Artifact, Tower
from converter.stages import to_tflite_quantized
from converter.tflite_file import read_model, write_model
from converter.tflite_graph import Graph, count_ops
from tests.converted import calibrated, recipe, tflite_of, write_calibration

pytest.importorskip("ai_edge_litert", reason="needs the extra mcconvert[tflite]")


@pytest.fixture(scope="module")
def plain(tiny_parents: dict[Tower, Artifact], tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return tflite_of(tiny_parents["text"], tmp_path_factory.mktemp("plain"))


def test_every_op_is_counted(plain: Artifact) -> None:
    """Those of the file, no more and no less, each with a time."""
    found = profile(Path(plain.path), threads=1)
    counts = count_ops(read_model(plain.path))

    assert found.untimed == ()
    assert {kind: sum(one.count for one in found.ops if one.kind == kind) for kind in counts} == counts
    assert all(one.milliseconds > 0 for one in found.ops)
    assert found.milliseconds > 0
    assert [one.total for one in found.ops] == sorted((one.total for one in found.ops), reverse=True)


def test_unpacked_weights_belong_to_their_layer(plain: Artifact, tmp_path: Path) -> None:
    """A float16 file has a DEQUANTIZE for each weight; unpacking happens once, when the file is loaded.

    The rows of its embedding are unpacked as they are read: that one op stays.
    """
    half = to_tflite_quantized.convert(plain, to_tflite_quantized.Options(), recipe("fp16"), tmp_path)
    found = profile(Path(half.path), threads=1)

    assert count_ops(read_model(half.path))["DEQUANTIZE"] > 5
    assert sum(one.count for one in found.ops if one.kind == "DEQUANTIZE") == 1
    assert found.untimed == ()


def test_what_xnnpack_makes_one_table_of_is_timed_as_one(
    plain: Artifact, tiny_inputs: dict[Tower, dict[str, np.ndarray[Any, Any]]], tmp_path: Path
) -> None:
    """A GELU between int8 layers, with the conversions on either side, is one entry; none of the three occurs alone."""
    samples = write_calibration("text", tiny_inputs["text"], tmp_path / "text.npz")
    wanted = calibrated(recipe("static_w8a8"), samples)
    small = to_tflite_quantized.convert(plain, to_tflite_quantized.Options(), wanted, tmp_path)
    counts = count_ops(read_model(small.path))
    found = profile(Path(small.path), threads=1)
    seen = {kind: sum(one.count for one in found.ops if one.kind == kind) for kind in {one.kind for one in found.ops}}

    tables = seen["DEQUANTIZE+GELU+QUANTIZE"]
    assert tables == counts["GELU"] > 0
    assert seen["QUANTIZE"] == counts["QUANTIZE"] - tables
    assert "GELU" not in seen


def test_an_op_that_cannot_run_is_named(plain: Artifact, tmp_path: Path) -> None:
    """The twin: weights of a shape that the layer cannot multiply with."""
    model = read_model(plain.path)
    graph = Graph(model)
    first = graph.ops("FULLY_CONNECTED")[0]
    graph.subgraph.tensors[int(first.inputs[1])].shape = [1, 1]
    write_model(model, tmp_path / "broken.tflite")

    with pytest.raises(RuntimeError):
        profile(tmp_path / "broken.tflite", threads=1)


def test_the_lines_say_kinds_then_shapes(plain: Artifact) -> None:
    """The whole file's time first; shares of the sum."""
    head, *rest = lines(profile(Path(plain.path), threads=1), top=3)

    assert "ms whole" in head
    assert "delegate partitions" in head
    assert any("% " in line and "FULLY_CONNECTED float32" in line for line in rest)


def test_it_prints_json(plain: Artifact, capsys: pytest.CaptureFixture[str]) -> None:
    """For programs: one entry a file."""
    assert main([plain.path, "--threads", "1", "--json"]) == 0

    (found,) = json.loads(capsys.readouterr().out)
    assert found["path"] == plain.path
    assert {"kind", "types", "shapes", "count", "milliseconds", "delegated"} <= set(found["ops"][0])
