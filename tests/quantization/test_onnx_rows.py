"""Layers on rows: the same numbers from a graph in which every layer without a spatial kernel is a Gemm."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from converter.onnx_file import load_model
from converter.quantization.onnx_graph import Graph
from converter.quantization.onnx_rows import put_on_rows
from converter.records import TOWERS, Artifact, Tower
from tests.converted import onnx_of

pytest.importorskip("onnxslim", reason="needs the extra mcconvert[onnx]")


def _run(model: Any, inputs: dict[str, Any]) -> Any:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0]


def _model(nodes: list[Any], shapes: tuple[list[Any], list[Any]], **constants: Any) -> Any:
    from onnx import TensorProto, helper, numpy_helper

    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in zip("xy", shapes, strict=True)
    )
    weights = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "graph", [x], [y], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.mark.parametrize("batch", ["static", "dynamic"])
@pytest.mark.parametrize("tower", TOWERS)
def test_the_towers_compute_what_they_did(
    tower: Tower, batch: str, tiny_parents: dict[Tower, Artifact], tiny_inputs: dict[Tower, Any], tmp_path: Any
) -> None:
    """Equal to rounding; what is left of 1x1 convolutions is squeeze-excite, and grouped ones are depthwise."""
    model = load_model(onnx_of(tiny_parents[tower], tmp_path, batch=batch).path)
    sample = {name: value[:1] for name, value in tiny_inputs[tower].items()}
    before = _run(model, sample)

    put_on_rows(Graph(model))

    graph = Graph(model)
    plain = [one for one in graph.nodes if one.op_type == "Conv" and graph.dims(one.input[1])[2:] == (1, 1)]
    assert np.abs(_run(model, sample) - before).max() < 1e-5
    assert all("/se/" in node.name for node in plain)


def test_a_wrong_order_of_channels_is_seen(
    tiny_parents: dict[Tower, Artifact], tiny_inputs: dict[Tower, Any], tmp_path: Any
) -> None:
    """The twin: repeated channels in another order are another model."""
    model = load_model(onnx_of(tiny_parents["image"], tmp_path).path)
    sample = {"image": tiny_inputs["image"]["image"][:1]}
    before = _run(model, sample)

    put_on_rows(Graph(model))
    graph = Graph(model)
    places = next(node.input[1] for node in graph.nodes if node.output[0].endswith("_repeated"))
    graph.store(places, graph.array(places)[::-1])

    assert np.abs(_run(model, sample) - before).max() > 1e-3


@pytest.mark.parametrize("shape", [[5, 8], [2, 5, 8], [2, 3, 5, 8]])
def test_a_product_takes_its_bias_in(shape: list[int]) -> None:
    """MatMul and Add become one Gemm, whatever the rank."""
    from onnx import helper

    generator = np.random.default_rng(0)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["product"], name="/fc/MatMul"),
        helper.make_node("Add", ["b", "product"], ["y"], name="/fc/Add"),
    ]
    weights = {"w": generator.standard_normal((8, 6)), "b": generator.standard_normal(6)}
    model = _model(nodes, (shape, [*shape[:-1], 6]), **weights)
    x = {"x": generator.standard_normal(shape, dtype=np.float32)}
    before = _run(model, x)

    put_on_rows(Graph(model))

    assert {node.op_type for node in model.graph.node} <= {"Flatten", "Gemm", "Reshape"}
    assert np.abs(_run(model, x) - before).max() < 1e-5


def test_strided_and_grouped_convolutions_stay() -> None:
    """Rows are pixels of the whole picture, and all channels of each."""
    from onnx import helper

    weights = {"w": np.ones((8, 8, 1, 1)), "v": np.ones((8, 4, 1, 1))}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["half"], name="/strided/Conv", strides=[2, 2]),
        helper.make_node("Conv", ["half", "v"], ["y"], name="/grouped/Conv", group=2),
    ]
    model = _model(nodes, ([1, 8, 6, 6], [1, 8, 3, 3]), **weights)

    put_on_rows(Graph(model))

    assert [node.op_type for node in model.graph.node] == ["Conv", "Conv"]
