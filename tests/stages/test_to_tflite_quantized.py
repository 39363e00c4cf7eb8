"""Quantized TFLite files: as small as their recipes say, still the model, and loaded by a plain interpreter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converter.errors import ConversionError
from converter.records import TOWERS, Artifact, Recipe, Tower
from converter.runtimes import tflite as runtime
from converter.stages import to_tflite_quantized
from converter.tflite_file import read_model, write_model
from converter.tflite_graph import Graph, foreign_ops
from tests.conftest import run_each
from tests.converted import calibrated, centred_cosines, channels_last, patchwork, recipe, tflite_of, write_calibration

pytest.importorskip("ai_edge_quantizer", reason="needs the extra mcconvert[tflite]")

Inputs = dict[Tower, dict[str, np.ndarray[Any, Any]]]
Artifacts = dict[Tower, Artifact]
LAYERS = ("CONV_2D", "FULLY_CONNECTED", "EMBEDDING_LOOKUP")
STORED = {"fp16": "FLOAT16", "dynamic_w8": "INT8", "weight_only_w8": "INT8", "static_w8a8": "INT8"}
CLOSENESS = {"fp16": 0.999, "dynamic_w8": 0.9, "weight_only_w8": 0.85, "static_w8a8": 0.85}
"""Bounds on the median: a few pictures land where the toy's awake weights blow up any rounding, even float16's."""


@pytest.fixture(scope="module")
def parents(tiny_parents: Artifacts, tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    """Both towers as float32 TFLite files."""
    return {tower: tflite_of(parent, tmp_path_factory.mktemp(tower)) for tower, parent in tiny_parents.items()}


@pytest.fixture(scope="module")
def inputs(tiny_inputs: Inputs) -> Inputs:
    """What the files are judged on."""
    return {"image": patchwork(16, seed=2), "text": tiny_inputs["text"]}


@pytest.fixture(scope="module")
def calibration(tiny_inputs: Inputs) -> Inputs:
    """What ranges are taken from: other pictures; the same eight texts in another order."""
    return {"image": patchwork(16, seed=1), "text": {"tokens": tiny_inputs["text"]["tokens"][::-1].copy()}}


@pytest.fixture(scope="module")
def quantized(
    parents: Artifacts, calibration: Inputs, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[Tower, str], Artifact]:
    """Both towers by every recipe that ships."""
    folder = tmp_path_factory.mktemp("quantized")
    made = {}
    for tower, parent in parents.items():
        samples = write_calibration(tower, calibration[tower], folder / f"{tower}.npz")
        for name in STORED:
            made[tower, name] = _convert(parent, calibrated(recipe(name), samples), folder)
    return made


def _convert(parent: Artifact, wanted: Recipe | None, folder: Path, **options: Any) -> Artifact:
    return to_tflite_quantized.convert(parent, to_tflite_quantized.Options(**options), wanted, folder)


def _embed(artifact: Artifact, inputs: dict[str, np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    with runtime.open_runner(artifact, threads=1) as runner:
        return run_each(runner, channels_last(inputs))


def _size(artifact: Artifact) -> int:
    return Path(artifact.path).stat().st_size


def _stored_types(artifact: Artifact, kinds: tuple[str, ...]) -> set[str]:
    """Types of the constants behind the weights of these kinds of op, looking through DEQUANTIZE."""
    graph = Graph(read_model(artifact.path))
    names = {code: name for name, code in vars(graph.schema.TensorType).items() if isinstance(code, int)}
    found = set()
    for kind in kinds:
        for op in graph.ops(kind):
            weights = int(op.inputs[1])
            source = graph.producer(weights)
            found.add(names[graph.subgraph.tensors[weights if source is None else int(source.inputs[0])].type])
    return found


@pytest.mark.parametrize("name", STORED)
@pytest.mark.parametrize("tower", TOWERS)
def test_every_layer_and_the_embedding_shrink(
    tower: Tower, name: str, quantized: dict[tuple[Tower, str], Artifact], parents: Artifacts
) -> None:
    """No weight of a convolution, a linear layer or the embedding stays in float32."""
    assert _stored_types(quantized[tower, name], LAYERS) == {STORED[name]}
    assert _stored_types(parents[tower], LAYERS) == {"FLOAT32"}


@pytest.mark.parametrize("name", STORED)
def test_the_text_tower_is_as_small_as_promised(
    name: str, quantized: dict[tuple[Tower, str], Artifact], parents: Artifacts
) -> None:
    """Half, or a quarter and what the embedding's rows add: 12 bytes of scale and zero point for 32 numbers here, for
    512 in the full-size tower.
    """
    ratio = _size(quantized["text", name]) / _size(parents["text"])

    assert ratio < (0.51 if name == "fp16" else 0.26 + 12 / (32 * 4))


@pytest.mark.parametrize("name", STORED)
@pytest.mark.parametrize("tower", TOWERS)
def test_it_is_still_the_model(
    tower: Tower, name: str, quantized: dict[tuple[Tower, str], Artifact], parents: Artifacts, inputs: Inputs
) -> None:
    """A plain interpreter runs it; what tells inputs apart survives; names, shapes and types are the parent's."""
    artifact = quantized[tower, name]
    cosines = centred_cosines(_embed(parents[tower], inputs[tower]), _embed(artifact, inputs[tower]))

    assert (artifact.inputs, artifact.outputs) == (parents[tower].inputs, parents[tower].outputs)
    assert foreign_ops(read_model(artifact.path)) == []
    assert np.median(cosines) > CLOSENESS[name]


def test_ranges_from_other_data_are_seen(parents: Artifacts, inputs: Inputs, tmp_path: Path) -> None:
    """The twin: calibrated on dark pictures, the file fails the comparison above."""
    dark = {"image": patchwork(8, seed=1)["image"] / 20}
    wanted = calibrated(recipe("static_w8a8"), write_calibration("image", dark, tmp_path / "dark.npz"))
    artifact = _convert(parents["image"], wanted, tmp_path)

    reference = _embed(parents["image"], inputs["image"])
    cosines = centred_cosines(reference, _embed(artifact, inputs["image"]))
    assert np.median(cosines) < CLOSENESS["static_w8a8"]


def test_only_a_calibrated_file_has_fixed_ranges(quantized: dict[tuple[Tower, str], Artifact]) -> None:
    """QUANTIZE ops mark activations of a fixed range."""
    counts = {name: len(Graph(read_model(quantized["image", name].path)).ops("QUANTIZE")) for name in STORED}

    assert counts.pop("static_w8a8") > 0
    assert set(counts.values()) == {0}


@pytest.mark.parametrize("name", ["dynamic_w8", "static_w8a8"])
def test_depthwise_convolutions_keep_float32_activations(
    name: str, quantized: dict[tuple[Tower, str], Artifact]
) -> None:
    """One scale cannot serve their channels; their weights are float16."""
    graph = Graph(read_model(quantized["image", name].path))
    inputs = {graph.subgraph.tensors[int(op.inputs[0])].type for op in graph.ops("DEPTHWISE_CONV_2D")}

    assert inputs == {graph.schema.TensorType.FLOAT32}
    stored = _stored_types(quantized["image", name], ("DEPTHWISE_CONV_2D",))
    assert stored == {"FLOAT16"}


@pytest.fixture
def samples(calibration: Inputs, tmp_path: Path) -> Path:
    """The text tower's calibration file."""
    return write_calibration("text", calibration["text"], tmp_path / "samples.npz")


@pytest.mark.parametrize("name", ["fp16", "dynamic_w8", "static_w8a8"])
def test_layers_can_be_kept_in_float32(name: str, parents: Artifacts, samples: Path, tmp_path: Path) -> None:
    """A pattern on the output's name leaves those layers, and only those, as they were."""
    artifact = _convert(parents["text"], calibrated(recipe(name), samples), tmp_path, keep_float32=("mlp/c_fc",))

    assert _stored_types(artifact, ("FULLY_CONNECTED",)) == {STORED[name], "FLOAT32"}
    assert "left in float: mlp/c_fc" in artifact.notes


@pytest.mark.parametrize("name", ["dynamic_w8", "static_w8a8", "weight_only_w8"])
def test_a_recipe_leaves_layers_in_float(name: str, parents: Artifacts, samples: Path, tmp_path: Path) -> None:
    """By the names that all formats share; such layers have float16 weights and read what is not rounded."""
    wanted = replace(calibrated(recipe(name), samples), float_layers=("blocks.*.mlp.c_fc",))
    graph = Graph(read_model(_convert(parents["text"], wanted, tmp_path).path))

    kinds = graph.schema.TensorType
    for op in graph.ops("FULLY_CONNECTED"):
        source, weights = (graph.subgraph.tensors[int(index)] for index in list(op.inputs)[:2])
        left = b"mlp/c_fc" in graph.name(int(op.outputs[0]))
        unpacked = graph.producer(int(op.inputs[1]))
        stored = weights if unpacked is None else graph.subgraph.tensors[int(unpacked.inputs[0])]
        assert stored.type == (kinds.FLOAT16 if left else kinds.INT8)
        assert not left or source.type == kinds.FLOAT32


def test_layers_that_do_not_exist_are_refused(parents: Artifacts, samples: Path, tmp_path: Path) -> None:
    """The nearest name is offered."""
    wanted = replace(calibrated(recipe("dynamic_w8"), samples), float_layers=("blocks.0.mlp.c_fcc",))

    with pytest.raises(ConversionError, match=r"'blocks.0.mlp.c_fcc' in float.*did you mean 'blocks.0.mlp.c_fc'"):
        _convert(parents["text"], wanted, tmp_path)


def test_the_same_bytes_every_time(parents: Artifacts, samples: Path, tmp_path: Path) -> None:
    """Nothing but the parent, the recipe and its samples enters the file."""
    for name in STORED:
        wanted = calibrated(recipe(name), samples)
        first = Path(_convert(parents["text"], wanted, tmp_path).path).read_bytes()

        assert Path(_convert(parents["text"], wanted, tmp_path).path).read_bytes() == first


@pytest.mark.parametrize("name", STORED)
def test_xnnpack_takes_the_image_tower_in_one_piece(name: str, quantized: dict[tuple[Tower, str], Artifact]) -> None:
    """A layer that falls out of it runs several times as long, and splits the graph around it."""
    with runtime.open_runner(quantized["image", name], threads=1) as runner:
        assert runner.parts == 1


def test_equal_vectors_are_written_once(quantized: dict[tuple[Tower, str], Artifact], tmp_path: Path) -> None:
    """Zero points are eight bytes a channel, and zero; were they all different, the file would grow by them."""
    model = read_model(quantized["text", "static_w8a8"].path)
    found = [one.quantization for one in model.subgraphs[0].tensors if one.quantization is not None]
    channels = [one for one in found if one.zeroPoint is not None and 1 < len(one.zeroPoint) < 1000]
    for number, one in enumerate(channels):
        one.zeroPoint = np.full(len(one.zeroPoint), number)
    write_model(model, tmp_path / "different.tflite")

    added = 8 * sum(len(one.zeroPoint) for one in channels)
    grown = (tmp_path / "different.tflite").stat().st_size - _size(quantized["text", "static_w8a8"])
    assert len(channels) > 20
    assert 0.8 * added < grown <= added


def test_a_recipe_is_needed(parents: Artifacts, tmp_path: Path) -> None:
    """Without one there is nothing to do."""
    with pytest.raises(ConversionError, match="needs a recipe"):
        _convert(parents["text"], None, tmp_path)


def test_fixed_ranges_need_calibration_data(parents: Artifacts, tmp_path: Path) -> None:
    """A recipe that names a sample set but was given no file is refused."""
    with pytest.raises(ConversionError, match="'static_w8a8' needs calibration data.*names none"):
        _convert(parents["text"], recipe("static_w8a8"), tmp_path)


def test_unknown_precisions_are_refused(parents: Artifacts, tmp_path: Path) -> None:
    """LiteRT has no 3-bit weights here; the message says what there is."""
    odd = Recipe(name="odd", summary="", precision="int8", weight_bits=3)

    with pytest.raises(ConversionError, match="not 3-bit weights and float activations"):
        _convert(parents["text"], odd, tmp_path)


def test_a_quantized_parent_is_refused(quantized: dict[tuple[Tower, str], Artifact], tmp_path: Path) -> None:
    """Quantizing twice would lose twice."""
    with pytest.raises(ConversionError, match="it is fp16 already"):
        _convert(quantized["text", "fp16"], recipe("dynamic_w8"), tmp_path)
