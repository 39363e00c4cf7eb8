"""TFLite files: the same model in LiteRT's own ops, float32 where it should be, the same bytes every time."""

from __future__ import annotations

import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converter.errors import ConversionError
from converter.files import hash_path
from converter.onnx_file import load_model, weight_bytes
from converter.records import TOWERS, Artifact, TensorSpec, Tower, to_json
from converter.runtimes import onnx as onnx_runtime
from converter.runtimes import tflite as runtime
from converter.stages import to_tflite
from converter.stages.tflite_tidying import REDUCED_PRECISION, tidy
from converter.tflite_file import read_model, write_model
from converter.tflite_graph import Graph, count_ops, foreign_ops
from tests.conftest import run_each
from tests.converted import channels_last, onnx_of, recipe

pytest.importorskip("onnx2tf", reason="needs the extra mcconvert[tflite]")

Inputs = dict[Tower, dict[str, np.ndarray[Any, Any]]]
Artifacts = dict[Tower, Artifact]
CLOSE = 1e-5


@pytest.fixture(scope="module")
def parents(tiny_parents: Artifacts, tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    """Both towers as static ONNX files."""
    return {tower: onnx_of(parent, tmp_path_factory.mktemp(tower)) for tower, parent in tiny_parents.items()}


@pytest.fixture(scope="module")
def files(parents: Artifacts, tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    """Both towers as TFLite files."""
    return {tower: _convert(parent, tmp_path_factory.mktemp(tower)) for tower, parent in parents.items()}


def _convert(parent: Artifact, folder: Path, **options: Any) -> Artifact:
    return to_tflite.convert(parent, to_tflite.Options(**options), None, folder)


def _embed(artifact: Artifact, inputs: dict[str, np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    with runtime.open_runner(artifact, threads=1) as runner:
        return run_each(runner, channels_last(inputs))


def _parents_embeddings(parent: Artifact, inputs: dict[str, np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    with onnx_runtime.open_runner(parent, threads=1) as runner:
        return run_each(runner, inputs)


@pytest.mark.parametrize("tower", TOWERS)
def test_it_is_the_same_model(tower: Tower, files: Artifacts, parents: Artifacts, tiny_inputs: Inputs) -> None:
    """A plain LiteRT interpreter computes what ONNX Runtime computes from the parent."""
    expected = _parents_embeddings(parents[tower], tiny_inputs[tower])

    assert np.abs(_embed(files[tower], tiny_inputs[tower]) - expected).max() < CLOSE


@pytest.mark.parametrize("tower", TOWERS)
def test_a_changed_weight_is_another_model(
    tower: Tower, files: Artifacts, parents: Artifacts, tiny_inputs: Inputs, tmp_path: Path
) -> None:
    """The twin: one bias off by a half, and the comparison above fails."""
    graph = Graph(read_model(files[tower].path))
    bias = int(graph.ops("FULLY_CONNECTED")[0].inputs[2])
    value = graph.constant(bias)
    assert value is not None
    graph.store(bias, value + np.float32(0.5))
    write_model(graph.model, tmp_path / "changed.tflite")

    changed = _embed(replace(files[tower], path=str(tmp_path / "changed.tflite")), tiny_inputs[tower])
    assert np.abs(changed - _parents_embeddings(parents[tower], tiny_inputs[tower])).max() > CLOSE


def test_images_are_channels_last_and_names_are_kept(files: Artifacts) -> None:
    """The declared specs are the file's own."""
    for tower, shape in (("image", (1, 64, 64, 3)), ("text", (1, 77))):
        artifact = files[tower]
        with runtime.open_runner(artifact, threads=1) as runner:
            seen = [(spec.name, spec.shape, spec.dtype) for spec in (*runner.inputs, *runner.outputs)]

        assert seen == [(spec.name, spec.shape, spec.dtype) for spec in (*artifact.inputs, *artifact.outputs)]
        assert artifact.inputs[0].shape == shape
    assert files["image"].inputs[0].layout == "NHWC"


def test_linear_layers_and_the_embedding_are_what_quantizers_know(files: Artifacts) -> None:
    """No product with a constant is left as BATCH_MATMUL, and tokens are looked up without a guard."""
    counts = count_ops(read_model(files["text"].path))
    graph = Graph(read_model(files["text"].path))
    products = [graph.constant(int(index)) for op in graph.ops("BATCH_MATMUL") for index in op.inputs]

    assert counts["EMBEDDING_LOOKUP"] == 1
    assert not counts["GATHER"] and not counts["SELECT"] and not counts["LESS"]
    assert not [value for value in products if value is not None and value.ndim == 2 and value.shape[0] > 1]


@pytest.mark.parametrize("tower", TOWERS)
def test_tidying_changes_no_output(
    tower: Tower, parents: Artifacts, files: Artifacts, tiny_inputs: Inputs, tmp_path: Path
) -> None:
    """The untidied file computes the same."""
    plain = _convert(parents[tower], tmp_path, tidy=False)

    assert np.abs(_embed(plain, tiny_inputs[tower]) - _embed(files[tower], tiny_inputs[tower])).max() < 1e-6


@pytest.mark.parametrize("bias", [True, False])
def test_a_wide_product_with_a_constant_becomes_a_layer(bias: bool, tmp_path: Path) -> None:
    """onnx2tf leaves it a BATCH_MATMUL at the full-size towers' width; its bias moves inside, the numbers stay."""
    parent = _wide_linear(tmp_path, bias)
    plain, tidied = (_convert(parent, _folder(tmp_path, name), tidy=name == "tidied") for name in ("plain", "tidied"))
    inputs = {"x": np.random.default_rng(0).standard_normal((1, 77, 512), dtype=np.float32)}

    with runtime.open_runner(plain, threads=1) as one, runtime.open_runner(tidied, threads=1) as other:
        difference = np.abs(one.infer(inputs)["y"] - other.infer(inputs)["y"]).max()
    assert count_ops(read_model(plain.path))["BATCH_MATMUL"] == 1
    assert dict(count_ops(read_model(tidied.path))) == {"FULLY_CONNECTED": 1}
    assert difference < 1e-5


def _folder(parent: Path, name: str) -> Path:
    (parent / name).mkdir()
    return parent / name


def _wide_linear(folder: Path, bias: bool) -> Artifact:
    """`y = x @ w (+ b)` for (1, 77, 512) float32, as an ONNX file."""
    from onnx import TensorProto, helper, numpy_helper, save

    generator = np.random.default_rng(0)
    weights = generator.standard_normal((512, 512), dtype=np.float32) / 23
    constants = [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(weights[0], "b")]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["xw" if bias else "y"], name="product")]
    if bias:
        nodes.append(helper.make_node("Add", ["xw", "b"], ["y"], name="sum"))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 77, 512]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "linear", ends[:1], ends[1:], constants[: 1 + bias])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), folder / "wide.onnx")
    specs = [TensorSpec(name=name, shape=(1, 77, 512), dtype="float32", layout="NLC") for name in ("x", "y")]
    return Artifact(
        path=str(folder / "wide.onnx"), format="onnx", target="onnx", tower="text", precision="fp32",
        inputs=(specs[0],), outputs=(specs[1],),
    )  # fmt: skip


def test_tidying_twice_is_tidying_once(files: Artifacts) -> None:
    """Nothing is left to do after the first time."""
    model = read_model(files["text"].path)
    before = count_ops(model)
    tidy(model)

    assert count_ops(model) == before


def test_a_float32_file_gives_no_leave_to_compute_in_float16(
    parents: Artifacts, files: Artifacts, tmp_path: Path
) -> None:
    """onnx2tf writes that permission unasked; the untidied file shows it."""
    plain = read_model(_convert(parents["text"], tmp_path, tidy=False).path)

    assert REDUCED_PRECISION in [entry.name for entry in plain.metadata]
    assert REDUCED_PRECISION not in [entry.name for entry in read_model(files["text"].path).metadata or []]


def test_foreign_ops_are_seen(files: Artifacts) -> None:
    """A Flex op counts as foreign; the files have none."""
    model = read_model(files["text"].path)
    clean = foreign_ops(model)
    model.operatorCodes[0].customCode = b"FlexErf"

    assert clean == []
    assert foreign_ops(model) == ["CUSTOM FlexErf"]


def test_nothing_is_fetched_and_the_parent_stays_as_it_was(
    parents: Artifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No connection is opened, the ONNX file keeps its bytes, and one file is left behind."""

    def refuse(*_: object) -> None:
        message = "a connection was opened"
        raise AssertionError(message)

    monkeypatch.setattr(socket.socket, "connect", refuse)
    before = hash_path(Path(parents["text"].path))
    _convert(parents["text"], tmp_path)

    assert hash_path(Path(parents["text"].path)) == before
    assert [file.name for file in tmp_path.iterdir()] == ["text.tflite"]


def test_two_processes_write_the_same_bytes(parents: Artifacts, tmp_path: Path) -> None:
    """No time, path or counter enters the file."""
    parent = tmp_path / "parent.json"
    parent.write_bytes(to_json(parents["image"]))
    written = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        subprocess.run(
            [sys.executable, "-c", _CONVERT, str(parent), str(tmp_path / name)], check=True, capture_output=True
        )
        written.append((tmp_path / name / "image.tflite").read_bytes())

    assert written[0] == written[1]


_CONVERT = """
import sys
from pathlib import Path
from converter.records import Artifact, from_json
from converter.stages import to_tflite
parent = from_json(Path(sys.argv[1]).read_bytes(), Artifact)
to_tflite.convert(parent, to_tflite.Options(), None, Path(sys.argv[2]))
"""


def test_a_dynamic_parent_is_refused(tiny_parents: Artifacts, tmp_path: Path) -> None:
    """The message names the shape and the parent to take."""
    parent = onnx_of(tiny_parents["text"], tmp_path, batch="dynamic")

    with pytest.raises(ConversionError, match=r"'tokens' has the shape \['batch', 77\].*batch: static"):
        _convert(parent, tmp_path)


def test_a_recipe_is_refused(parents: Artifacts, tmp_path: Path) -> None:
    """Precision is for another stage."""
    with pytest.raises(ConversionError, match="to_tflite writes float32"):
        to_tflite.convert(parents["text"], to_tflite.Options(), recipe("fp16"), tmp_path)


def test_an_operator_without_counterpart_is_refused(parents: Artifacts, tmp_path: Path) -> None:
    """onnx2tf's own reason is passed on."""
    import onnx

    model = onnx.load(parents["text"].path)
    model.graph.node[-1].op_type, model.graph.node[-1].domain = "Unheard", "nowhere"
    model.opset_import.append(onnx.helper.make_opsetid("nowhere", 1))
    onnx.save(model, tmp_path / "odd.onnx")

    with pytest.raises(ConversionError, match=r"(?s)onnx2tf .* cannot convert the text tower.*Unheard|needs CUSTOM"):
        _convert(replace(parents["text"], path=str(tmp_path / "odd.onnx")), tmp_path)


def test_a_tower_that_no_flatbuffer_holds_is_refused_early(
    parents: Artifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message has both sizes and the way out; twin: one byte less to hold and the same tower is taken."""
    weights = weight_bytes(load_model(parents["image"].path))
    monkeypatch.setattr(to_tflite, "LARGEST_BYTES", weights - 1)

    with pytest.raises(ConversionError, match=rf"take {weights} bytes.*at most {weights - 1}.*take ONNX or Core ML"):
        _convert(parents["image"], tmp_path)
    monkeypatch.setattr(to_tflite, "LARGEST_BYTES", weights)
    assert Path(_convert(parents["image"], tmp_path).path).is_file()
