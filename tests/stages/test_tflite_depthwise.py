"""Splitting large depthwise kernels: the same sums, in kernels that XNNPACK has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert", reason="needs the extra mcconvert[tflite]")

from converter.stages.tflite_depthwise import PARTS, split_depthwise
from converter.tflite_file import write_model
from converter.tflite_graph import Graph

CHANNELS, SIDE = 8, 12


def _model(height: int = 7, width: int = 7, stride: int = 1, padding: int = 0, relu: int = 0) -> Graph:
    """One depthwise convolution; padding 0 is SAME, 1 VALID."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT()
    model.version, model.operatorCodes, model.buffers = 3, [], [schema.BufferT()]
    model.metadata, model.signatureDefs = [], []
    subgraph = schema.SubGraphT()
    subgraph.tensors, subgraph.operators = [], []
    model.subgraphs = [subgraph]
    graph = Graph(model)
    drawn = np.random.default_rng(0)
    side = SIDE if padding == 0 else SIDE - height + 1
    source = graph.new_tensor(b"image", schema.TensorType.FLOAT32, (1, SIDE, SIDE, CHANNELS))
    kernel = graph.new_constant(b"kernel", drawn.standard_normal((1, height, width, CHANNELS)).astype(np.float32))
    bias = graph.new_constant(b"bias", drawn.standard_normal(CHANNELS).astype(np.float32))
    output = graph.new_tensor(b"out", schema.TensorType.FLOAT32, (1, -(-side // stride), -(-side // stride), CHANNELS))
    options = schema.DepthwiseConv2DOptionsT()
    options.padding, options.strideH, options.strideW = padding, stride, stride
    options.dilationHFactor = options.dilationWFactor = options.depthMultiplier = 1
    options.fusedActivationFunction = relu
    subgraph.operators = [graph.new_op("DEPTHWISE_CONV_2D", [source, kernel, bias], output, options)]
    subgraph.inputs, subgraph.outputs = [source], [output]
    return graph


def _run(graph: Graph, folder: Path) -> np.ndarray[Any, Any]:
    from ai_edge_litert.interpreter import Interpreter

    write_model(graph.model, folder / "model.tflite")
    interpreter = Interpreter(str(folder / "model.tflite"), num_threads=1)
    interpreter.allocate_tensors()
    image = np.random.default_rng(1).standard_normal((1, SIDE, SIDE, CHANNELS)).astype(np.float32)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


def _taps(graph: Graph) -> list[int]:
    return [int(np.prod(graph.shape(int(op.inputs[1]))[1:3])) for op in graph.ops("DEPTHWISE_CONV_2D")]


def test_the_sum_stays_the_same(tmp_path: Path) -> None:
    """At the borders too; no part has more taps than XNNPACK has kernels for, and no tap is stored twice."""
    before = _run(_model(), tmp_path)
    graph = _model()

    assert split_depthwise(graph) == 1

    np.testing.assert_allclose(_run(graph, tmp_path), before, atol=2e-5)
    assert sorted(_taps(graph)) == [4, 6, 6, 8, 25]


def test_every_tap_is_in_one_part() -> None:
    """49 taps, none twice."""
    taps = [(row, column) for rows, columns in PARTS for row in rows for column in columns]

    assert len(taps) == len(set(taps)) == 49


def test_a_part_that_is_lost_would_be_noticed(tmp_path: Path) -> None:
    """The twin: without one of the parts the sum is another."""
    before = _run(_model(), tmp_path)
    graph = _model()
    split_depthwise(graph)
    last = int(graph.ops("DEPTHWISE_CONV_2D")[-1].inputs[1])
    graph.store(last, np.zeros(graph.shape(last), np.float32))

    assert np.abs(_run(graph, tmp_path) - before).max() > 0.1


@pytest.mark.parametrize(
    "options",
    [{"height": 5, "width": 5}, {"stride": 2}, {"padding": 1}, {"relu": 1}, {"height": 9, "width": 9},
     {"height": 7, "width": 5}],
)  # fmt: skip
def test_what_cannot_gain_or_would_change_is_left_alone(options: dict[str, int], tmp_path: Path) -> None:
    """Other sizes, strides, explicit padding, fused activations."""
    graph = _model(**options)

    assert split_depthwise(graph) == 0
    assert len(_taps(graph)) == 1
