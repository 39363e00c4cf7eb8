"""TFLite files shown op by op: bit for bit what XNNPACK computes, integers by the file's own scales."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converter.errors import ConversionError
from converter.records import Artifact, Tower
from converter.runtimes import Observed, onnx, pytorch, tflite
from converter.runtimes.tflite_observing import dequantized
from converter.stages import to_tflite_quantized
from converter.tflite_file import read_model, write_model
from converter.tflite_graph import Graph
from tests.converted import channels_last, onnx_of, patchwork, recipe, tflite_of, write_calibration

pytest.importorskip("ai_edge_quantizer", reason="needs the extra mcconvert[tflite]")

Inputs = dict[Tower, dict[str, np.ndarray[Any, Any]]]
Kinds = dict[str, Artifact]
KINDS = ("fp32", "fp16", "dynamic_w8", "static_w8a8")
CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")


@pytest.fixture(scope="module")
def files(tiny_parents: dict[Tower, Artifact], tmp_path_factory: pytest.TempPathFactory) -> Kinds:
    """The toy image tower in float32 and by three recipes."""
    folder = tmp_path_factory.mktemp("tflite")
    parent = tflite_of(tiny_parents["image"], folder)
    samples = write_calibration("image", patchwork(8, seed=1), folder / "calibration.npz")
    made = {"fp32": parent}
    for name in KINDS[1:]:
        wanted = replace(recipe(name), calibration_path=str(samples), samples=8)
        made[name] = to_tflite_quantized.convert(parent, to_tflite_quantized.Options(), wanted, folder)
    return made


@pytest.fixture(scope="module")
def sample() -> dict[str, np.ndarray[Any, Any]]:
    """One picture, as these files take it."""
    return channels_last(patchwork(1, seed=2))


def _observed(artifact: Artifact, arrays: Mapping[str, np.ndarray[Any, Any]]) -> list[Observed]:
    with tflite.open_observer(artifact, threads=1) as observer:
        return list(observer.observe(arrays))


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_value_is_the_files_own_output(
    kind: str, files: Kinds, sample: dict[str, np.ndarray[Any, Any]]
) -> None:
    """Bit for bit, XNNPACK included; every name is new and reads only the input and what was shown before."""
    with tflite.open_runner(files[kind], threads=1) as runner:
        expected = runner.infer(sample)["embedding"]
    seen = _observed(files[kind], sample)

    assert seen[-1].name == "embedding"
    assert np.array_equal(seen[-1].value, expected)
    assert {str(one.value.dtype) for one in seen} == {"float32"}
    known = [files[kind].inputs[0].name]
    for one in seen:
        assert one.inputs and set(one.inputs) <= set(known), one.name
        assert one.name not in known
        known.append(one.name)


@pytest.mark.parametrize("kind", KINDS)
def test_every_convolution_is_shown_with_its_weights(
    kind: str, files: Kinds, sample: dict[str, np.ndarray[Any, Any]]
) -> None:
    """As many as the graph has, each with the names of stored tensors: those behind a DEQUANTIZE where there is one."""
    graph = Graph(read_model(files[kind].path))
    seen = _observed(files[kind], sample)

    stored = {
        graph.name(index).decode()
        for index, tensor in enumerate(graph.subgraph.tensors)
        if graph.model.buffers[tensor.buffer].data is not None
    }
    convolutions = [one for one in seen if one.kind in CONVOLUTIONS]
    assert len(convolutions) == sum(len(graph.ops(name)) for name in CONVOLUTIONS) > 20
    assert all(one.constants and set(one.constants) <= stored for one in convolutions)


def test_integers_are_shown_as_the_file_itself_reads_them(
    files: Kinds, sample: dict[str, np.ndarray[Any, Any]]
) -> None:
    """Each int8 value equals what LiteRT's own DEQUANTIZE makes of it, and is a whole number of the file's steps."""
    graph = Graph(read_model(files["static_w8a8"].path))
    seen = {one.name: one for one in _observed(files["static_w8a8"], sample)}

    turned = [one for one in seen.values() if one.kind == "DEQUANTIZE"]
    assert len(turned) > 20
    assert all(np.array_equal(one.value, seen[one.inputs[0]].value) for one in turned)
    names = [graph.name(index).decode() for index in range(len(graph.subgraph.tensors))]
    for one in turned:
        parameters = graph.subgraph.tensors[names.index(one.inputs[0])].quantization
        steps = one.value / np.float32(parameters.scale[0]) + parameters.zeroPoint[0]
        assert np.abs(steps - np.rint(steps)).max() < 1e-3
        assert steps.min() > -128.001 and steps.max() <= 127.001


def test_scales_lie_along_their_axis() -> None:
    """One scale for all, one for each slice of an axis, and none, which leaves integers alone."""
    steps = np.array([[1, 2], [3, 4]], np.int8)
    along = {"scales": np.float32([1, 10]), "zero_points": np.int32([0, 1])}

    by_row = dequantized(steps, along | {"quantized_dimension": 0})
    by_column = dequantized(steps, along | {"quantized_dimension": 1})
    by_one = dequantized(steps, {"scales": np.float32([2]), "zero_points": np.int32([1]), "quantized_dimension": 0})
    plain = dequantized(steps, {"scales": np.float32([]), "zero_points": np.int32([]), "quantized_dimension": 0})

    assert by_row.tolist() == [[1, 2], [20, 30]]
    assert by_column.tolist() == [[1, 10], [3, 30]]
    assert by_one.tolist() == [[0, 2], [4, 6]]
    assert plain.dtype == np.int8


def test_nan_is_first_seen_where_it_is_made(
    files: Kinds, sample: dict[str, np.ndarray[Any, Any]], tmp_path: Path
) -> None:
    """One weight that is NaN: everything before its op is finite, that op's value is not."""
    graph = Graph(read_model(files["fp32"].path))
    weight = int(graph.ops("CONV_2D")[5].inputs[1])
    stored = graph.constant(weight)
    assert stored is not None
    graph.store(weight, np.where(np.arange(stored.size).reshape(stored.shape) == 0, np.float32(np.nan), stored))
    write_model(graph.model, tmp_path / "broken.tflite")

    healthy = _observed(files["fp32"], sample)
    broken = _observed(replace(files["fp32"], path=str(tmp_path / "broken.tflite")), sample)

    assert all(np.isfinite(one.value).all() for one in healthy)
    first = next(one for one in broken if not np.isfinite(one.value).all())
    assert graph.name(weight).decode() in first.constants


def test_broken_files_and_wrong_inputs_are_refused(files: Kinds, tmp_path: Path) -> None:
    """Half a file and a missing input each end in a message with the path."""
    half = tmp_path / "cut.tflite"
    half.write_bytes(Path(files["fp32"].path).read_bytes()[:100_000])

    with pytest.raises(ConversionError, match=r"cut\.tflite: not a whole TFLite file"):
        tflite.open_observer(replace(files["fp32"], path=str(half)), threads=1).__enter__()
    with (
        tflite.open_observer(files["fp32"], threads=1) as observer,
        pytest.raises(ConversionError, match=r"\.tflite: input 'image' is missing"),
    ):
        list(observer.observe({}))


def test_observers_of_three_engines_share_a_process(
    files: Kinds, tiny_parents: dict[Tower, Artifact], sample: dict[str, np.ndarray[Any, Any]], tmp_path: Path
) -> None:
    """Torch, ONNX Runtime and LiteRT, each value in turn, show what each shows alone; the copy on the disk goes."""
    upright = {"image": np.ascontiguousarray(sample["image"].transpose(0, 3, 1, 2))}
    other = onnx_of(tiny_parents["image"], tmp_path)

    with (
        pytorch.open_observer(tiny_parents["image"], threads=1) as reference,
        onnx.open_observer(other, threads=1) as first,
        tflite.open_observer(files["fp32"], threads=1) as second,
    ):
        together = list(zip(reference.observe(upright), first.observe(upright), second.observe(sample), strict=False))
    alone = _observed(files["fp32"], sample)

    assert len(together) > 50
    assert all(np.array_equal(seen[2].value, one.value) for seen, one in zip(together, alone, strict=False))
