"""Quantized ONNX files: as small as their recipes say, still the model, multiplied in integers by ONNX Runtime."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converter.errors import ConversionError
from converter.onnx_file import load_model
from converter.quantization.onnx_graph import attributes_of
from converter.records import TOWERS, Artifact, Recipe, Tower
from converter.runtimes import onnx as runtime
from converter.stages import to_onnx_quantized
from tests.conftest import run_each
from tests.converted import calibrated, centred_cosines, onnx_of, patchwork, recipe, write_calibration

pytest.importorskip("onnxslim", reason="needs the extra mcconvert[onnx]")

Inputs = dict[Tower, dict[str, np.ndarray[Any, Any]]]
Artifacts = dict[Tower, Artifact]
Quantized = dict[tuple[Tower, str], Artifact]
CLOSENESS = {"dynamic_w8": 0.97, "weight_only_w8": 0.98, "static_w8a8": 0.97}
"""Bounds on the median: a few pictures land where the toy's awake weights blow up any rounding."""
LAYERS = {"image": 17, "text": 13}
"""Linear layers and 1x1 convolutions on more than one pixel that the toy towers have."""


@pytest.fixture(scope="module")
def parents(tiny_parents: Artifacts, tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    """Both towers as float32 ONNX files."""
    return {tower: onnx_of(parent, tmp_path_factory.mktemp(tower)) for tower, parent in tiny_parents.items()}


@pytest.fixture(scope="module")
def inputs(tiny_inputs: Inputs) -> Inputs:
    """What the files are judged on."""
    return {"image": patchwork(16, seed=2), "text": tiny_inputs["text"]}


@pytest.fixture(scope="module")
def samples(tiny_inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> dict[Tower, Path]:
    """What ranges are taken from: other pictures; the same eight texts in another order."""
    folder = tmp_path_factory.mktemp("calibration")
    given: Inputs = {"image": patchwork(16, seed=1), "text": {"tokens": tiny_inputs["text"]["tokens"][::-1].copy()}}
    return {tower: write_calibration(tower, arrays, folder / f"{tower}.npz") for tower, arrays in given.items()}


@pytest.fixture(scope="module")
def quantized(parents: Artifacts, samples: dict[Tower, Path], tmp_path_factory: pytest.TempPathFactory) -> Quantized:
    """Both towers by every recipe that the format supports."""
    folder = tmp_path_factory.mktemp("quantized")
    return {
        (tower, name): _convert(parent, calibrated(recipe(name), samples[tower]), folder)
        for tower, parent in parents.items()
        for name in CLOSENESS
    }


def _convert(parent: Artifact, wanted: Recipe | None, folder: Path, **options: Any) -> Artifact:
    return to_onnx_quantized.convert(parent, to_onnx_quantized.Options(**options), wanted, folder)


def _embed(artifact: Artifact, inputs: dict[str, np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    with runtime.open_runner(artifact, threads=1) as runner:
        return run_each(runner, inputs)


def _multiplied(artifact: Artifact) -> list[np.ndarray[Any, Any]]:
    """Int8 weights that are multiplied in integers, as (inputs, outputs)."""
    import onnx

    model = load_model(artifact.path)
    stored = {one.name: one for one in model.graph.initializer if one.data_type == onnx.TensorProto.INT8}
    unpacked = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    found = []
    for node in model.graph.node:
        if node.op_type in ("MatMulInteger", "Gemm") and len(node.input) > 1:
            name = unpacked.get(node.input[1], node.input[1])
            if name in stored:
                value = onnx.numpy_helper.to_array(stored[name])
                found.append(value.T if attributes_of(node).get("transB") else value)
    return found


def _product(activations: np.ndarray[Any, Any], weights: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """ONNX Runtime's own, of uint8 (rows, inputs) and int8 (inputs, outputs)."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["activations", "weights"], ["sums"])],
        "product",
        [helper.make_tensor_value_info("activations", TensorProto.UINT8, activations.shape)],
        [helper.make_tensor_value_info("sums", TensorProto.INT32, [len(activations), weights.shape[1]])],
        [numpy_helper.from_array(np.ascontiguousarray(weights), "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (sums,) = session.run(None, {"activations": activations})
    return sums


def _gelus(artifact: Artifact) -> set[str]:
    """How the file's GELU operators are computed."""
    gelus = [node for node in load_model(artifact.path).graph.node if node.op_type == "Gelu"]
    return {attributes_of(node).get("approximate", b"none").decode().replace("none", "erf") for node in gelus}


def _stored(artifact: Artifact) -> dict[str, set[str]]:
    """Kinds of number that weights are stored in, by what reads them, looking through what unpacks them."""
    import onnx

    graph = load_model(artifact.path).graph
    types = {tensor.name: tensor for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    found: dict[str, set[str]] = {}
    for node in graph.node:
        place = {"Gather": 0, "Conv": 1, "Gemm": 1, "MatMul": 1, "MatMulInteger": 1}.get(node.op_type)
        name = None if place is None else node.input[place]
        while name in makers and makers[name].op_type in ("Cast", "Mul", "DequantizeLinear"):
            name = makers[name].input[0]
        if name in types and not name.endswith("_scale") and int(np.prod(types[name].dims)) >= 512:
            kernel = "kernel" if max(types[name].dims[2:], default=1) > 1 else node.op_type
            found.setdefault(kernel, set()).add(onnx.TensorProto.DataType.Name(types[name].data_type))
    return found


def _executed(path: str, folder: Path) -> Counter[str]:
    """Kinds of node that ONNX Runtime executes once it has optimised the file."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node)


@pytest.mark.parametrize("name", CLOSENESS)
@pytest.mark.parametrize("tower", TOWERS)
def test_it_is_still_the_model(
    tower: Tower, name: str, quantized: Quantized, parents: Artifacts, inputs: Inputs
) -> None:
    """ONNX Runtime runs it; what tells inputs apart survives; names, shapes and types are the parent's."""
    artifact = quantized[tower, name]
    cosines = centred_cosines(_embed(parents[tower], inputs[tower]), _embed(artifact, inputs[tower]))

    assert (artifact.inputs, artifact.outputs) == (parents[tower].inputs, parents[tower].outputs)
    assert np.median(cosines) > CLOSENESS[name]


def test_a_wrong_range_is_seen(quantized: Quantized, parents: Artifacts, inputs: Inputs, tmp_path: Path) -> None:
    """The twin: one activation cut off at a twentieth of its range, and the file fails the comparison above."""
    import onnx

    model = load_model(quantized["image", "static_w8a8"].path)
    name = next(node.input[1] for node in model.graph.node if node.op_type == "QuantizeLinear")
    scale = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    scale.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(scale) / 20, name))
    onnx.save(model, tmp_path / "cut.onnx")

    cut = replace(quantized["image", "static_w8a8"], path=str(tmp_path / "cut.onnx"))
    cosines = centred_cosines(_embed(parents["image"], inputs["image"]), _embed(cut, inputs["image"]))
    assert np.median(cosines) < CLOSENESS["static_w8a8"]


@pytest.mark.parametrize("name", CLOSENESS)
def test_every_layer_and_the_embedding_shrink(name: str, quantized: Quantized, parents: Artifacts) -> None:
    """Int8 in every layer and the embedding, float16 in kernels; the one float matrix of the text tower is a mask."""
    image, text = _stored(quantized["image", name]), _stored(quantized["text", name])
    mask = text.pop("MatMul", set()) | (text["Gemm"] - {"INT8"} if "Gemm" in text else set())

    assert image.pop("kernel") == {"FLOAT16"}
    assert set().union(*image.values()) == {"INT8"}
    assert text["Gather"] == {"INT8"}
    assert mask <= {"FLOAT"}
    assert set().union(*_stored(parents["image"]).values()) == {"FLOAT"}


def test_the_text_tower_is_a_quarter(quantized: Quantized, parents: Artifacts) -> None:
    """Rows of the embedding have 4 bytes of scale, for 32 numbers here and for 512 in the full-size tower."""
    for name in CLOSENESS:
        ratio = Path(quantized["text", name].path).stat().st_size / Path(parents["text"].path).stat().st_size

        assert ratio < 0.26 + 4 / (32 * 4)


@pytest.mark.parametrize(("name", "kinds"), [("static_w8a8", {"QGemm"}), ("dynamic_w8", {"DynamicQuantizeMatMul"})])
@pytest.mark.parametrize("tower", TOWERS)
def test_layers_are_multiplied_in_integers(
    tower: Tower, name: str, kinds: set[str], quantized: Quantized, tmp_path: Path
) -> None:
    """ONNX Runtime finds an integer kernel for each; the twin of weights only has none, and unpacks none in a call."""
    executed = _executed(quantized[tower, name].path, tmp_path)
    unpacked = _executed(quantized[tower, "weight_only_w8"].path, tmp_path)

    assert sum(executed[kind] for kind in kinds | {"MatMulIntegerToFloat"}) == LAYERS[tower]
    assert not executed["DequantizeLinear"]
    assert not any(kind.startswith(("Q", "MatMulInteger", "DynamicQuantize")) for kind in unpacked)
    assert unpacked["Cast"] <= 2


def test_layers_can_be_left_in_float(
    parents: Artifacts, quantized: Quantized, samples: dict[Tower, Path], tmp_path: Path
) -> None:
    """A name of the recipe leaves those layers, and only those, as they were."""
    wanted = replace(calibrated(recipe("dynamic_w8"), samples["text"]), float_layers=("*.mlp.c_fc",))
    artifact = _convert(parents["text"], wanted, tmp_path)

    floats, before = (
        sum(tensor.data_type == 1 and len(tensor.raw_data) > 2048 for tensor in load_model(one.path).graph.initializer)
        for one in (artifact, quantized["text", "dynamic_w8"])
    )
    assert floats == before + 2
    assert "kept in float32: *.mlp.c_fc" in artifact.notes


def test_layers_that_are_not_there_are_refused(parents: Artifacts, tmp_path: Path) -> None:
    """The nearest name is offered."""
    wanted = replace(recipe("dynamic_w8"), float_layers=("blocks.0.mlp.cfc",))

    with pytest.raises(ConversionError, match=r"no such layer; did you mean 'blocks\.0\.mlp\.c_fc'"):
        _convert(parents["text"], wanted, tmp_path)


def test_any_batch_stays_any_batch(
    tiny_parents: Artifacts, inputs: Inputs, samples: dict[Tower, Path], tmp_path: Path
) -> None:
    """Weights alone, and layers in integers: eight at once give what they give one by one."""
    for tower in TOWERS:
        parent = onnx_of(tiny_parents[tower], tmp_path / tower, batch="dynamic")
        artifact = _convert(parent, calibrated(recipe("weight_only_w8"), samples[tower]), tmp_path)
        with runtime.open_runner(artifact, threads=1) as runner:
            together = runner.infer(inputs[tower])["embedding"]

        assert np.abs(together - _embed(artifact, inputs[tower])).max() < 1e-5


def test_fixed_ranges_take_any_batch(
    tiny_parents: Artifacts, inputs: Inputs, samples: dict[Tower, Path], tmp_path: Path
) -> None:
    """Layers brought into rows keep the batch open."""
    parent = onnx_of(tiny_parents["image"], tmp_path / "parent", batch="dynamic")
    artifact = _convert(parent, calibrated(recipe("static_w8a8"), samples["image"]), tmp_path)

    with runtime.open_runner(artifact, threads=1) as runner:
        together = runner.infer(inputs["image"])["embedding"]
    assert np.median(centred_cosines(_embed(artifact, inputs["image"]), together)) > 0.9999


@pytest.mark.parametrize("tower", TOWERS)
def test_rounding_by_output_comes_nearer(
    tower: Tower, parents: Artifacts, inputs: Inputs, samples: dict[Tower, Path], tmp_path: Path
) -> None:
    """GPTQ's weights against those rounded to nearest, both on the same grid."""
    wanted = calibrated(recipe("weight_only_w8"), samples[tower])
    reference = _embed(parents[tower], inputs[tower])
    errors = {}
    for way in ("gptq", "nearest"):
        artifact = _convert(parents[tower], replace(wanted, round_weights=way), tmp_path)
        errors[way] = np.square(_embed(artifact, inputs[tower]) - reference).mean()

    assert errors["gptq"] < 0.95 * errors["nearest"]


def test_kernels_can_be_int8_too(parents: Artifacts, samples: dict[Tower, Path], tmp_path: Path) -> None:
    """Smaller by what float16 kernels take."""
    wanted = calibrated(recipe("dynamic_w8"), samples["image"])
    stored = _stored(_convert(parents["image"], wanted, tmp_path, kernels="int8"))

    assert stored["kernel"] == {"INT8"}


@pytest.mark.parametrize("tower", TOWERS)
@pytest.mark.parametrize("name", ["dynamic_w8", "weight_only_w8"])
def test_gelu_is_taken_by_tanh_where_layers_compute_in_integers(
    tower: Tower, name: str, quantized: Quantized, parents: Artifacts, samples: dict[Tower, Path], tmp_path: Path
) -> None:
    """Every GELU of such a file, unless the option says erf; files with int8 weights alone keep PyTorch's."""
    taken = quantized[tower, name]
    asked = _convert(parents[tower], calibrated(recipe(name), samples[tower]), tmp_path, gelu="erf")

    wanted = {"tanh"} if name == "dynamic_w8" else {"erf"}
    assert _gelus(parents[tower]) == {"erf"}
    assert _gelus(taken) == wanted
    assert _gelus(asked) == {"erf"}


@pytest.mark.parametrize("tower", TOWERS)
@pytest.mark.parametrize("name", ["dynamic_w8", "static_w8a8"])
def test_products_come_out_exact_on_every_cpu(tower: Tower, name: str, quantized: Quantized) -> None:
    """Activations that drive each output to its ends, multiplied by ONNX Runtime and by numpy: the same sums."""
    multiplied = _multiplied(quantized[tower, name])

    assert len(multiplied) >= LAYERS[tower]
    for weights in multiplied:
        driving = np.concatenate([255 * (weights.T > 0), 255 * (weights.T < 0)]).astype(np.uint8)
        np.testing.assert_array_equal(_product(driving, weights), driving.astype(np.int32) @ weights.astype(np.int32))


@pytest.mark.parametrize("name", ["dynamic_w8", "static_w8a8"])
def test_one_scale_a_tensor_can_be_asked_for(
    name: str, parents: Artifacts, samples: dict[Tower, Path], inputs: Inputs, tmp_path: Path
) -> None:
    """It is still the model; scales of channels are told to no quantizer then."""
    wanted = replace(calibrated(recipe(name), samples["text"]), granularity="tensor")

    coarse = _convert(parents["text"], wanted, tmp_path)

    cosines = centred_cosines(_embed(parents["text"], inputs["text"]), _embed(coarse, inputs["text"]))
    assert np.median(cosines) > 0.9


def test_larger_weights_would_be_cut_off() -> None:
    """The twin: neighbours of 127 each, on a CPU that adds their products in 16 bits."""
    weights = np.full((64, 64), 127, np.int8)
    driving = np.full((1, 64), 255, np.uint8)
    if (_product(driving, weights) == driving.astype(np.int32) @ weights.astype(np.int32)).all():
        pytest.skip("this CPU has integer dot products (VNNI, or it is an ARM): it cuts nothing off")

    halved = np.where(np.arange(64)[:, None] % 2, weights, 1).astype(np.int8)
    np.testing.assert_array_equal(_product(driving, halved), driving.astype(np.int32) @ halved.astype(np.int32))


def test_the_same_bytes_every_time(
    quantized: Quantized, parents: Artifacts, samples: dict[Tower, Path], tmp_path: Path
) -> None:
    """Nothing but the parent, the recipe and its samples enters the file."""
    for name in CLOSENESS:
        again = _convert(parents["text"], calibrated(recipe(name), samples["text"]), tmp_path)

        assert Path(again.path).read_bytes() == Path(quantized["text", name].path).read_bytes()


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"activation_bits": 16}, "multiply 8-bit integers only"),
        ({"weight_bits": 4}, "take 8-bit weights"),
        ({"weight_coding": "palette"}, "has no palettes"),
    ],
)
def test_what_the_format_cannot_is_refused(
    fields: dict[str, Any], why: str, parents: Artifacts, tmp_path: Path
) -> None:
    """With the reason; the recipes that ship for it have none."""
    odd = replace(recipe("dynamic_w8"), **fields)

    with pytest.raises(ConversionError, match=f"cannot be applied to ONNX.*{why}"):
        _convert(parents["text"], odd, tmp_path)
    assert [to_onnx_quantized.unsupported(recipe(name)) for name in CLOSENESS] == ["", "", ""]


def test_what_was_not_applied_is_said(parents: Artifacts, tmp_path: Path) -> None:
    """A recipe may ask for more than this stage does; the artifact names it, and nothing where all was done."""
    plain = replace(recipe("weight_only_w8"), round_weights="nearest", float_stem=False)
    asked = _convert(parents["text"], replace(plain, smooth=0.5), tmp_path)

    said = [note for note in asked.notes if "not applied" in note]
    assert said == ["asked for and not applied in ONNX: smooth"]
    assert not [note for note in _convert(parents["text"], plain, tmp_path).notes if "not applied" in note]


def test_a_recipe_is_needed(parents: Artifacts, tmp_path: Path) -> None:
    """Without one there is nothing to do."""
    with pytest.raises(ConversionError, match="needs a recipe"):
        _convert(parents["text"], None, tmp_path)


def test_fixed_ranges_need_calibration_data(parents: Artifacts, tmp_path: Path) -> None:
    """A recipe that names a sample set but was given no file is refused."""
    with pytest.raises(ConversionError, match="'static_w8a8' needs calibration data.*names none"):
        _convert(parents["text"], recipe("static_w8a8"), tmp_path)


def test_a_quantized_parent_is_refused(quantized: Quantized, tmp_path: Path) -> None:
    """Quantizing twice would lose twice."""
    with pytest.raises(ConversionError, match="it is int8 already"):
        _convert(quantized["text", "dynamic_w8"], recipe("dynamic_w8"), tmp_path)
