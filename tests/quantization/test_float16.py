"""Float16 weights: biases too, embeddings unpacked by the row, and no weight that float16 cannot hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converter.errors import ConversionError
from converter.quantization.float16 import LAYERS, cast_weights
from converter.records import Artifact, Tower
from converter.tflite_file import read_model
from converter.tflite_graph import Graph
from tests.converted import tflite_of

pytest.importorskip("ai_edge_litert", reason="needs the extra mcconvert[tflite]")


@pytest.fixture(scope="module")
def text_file(tiny_parents: dict[Tower, Artifact], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy text tower as TFLite."""
    return Path(tflite_of(tiny_parents["text"], tmp_path_factory.mktemp("text")).path)


@pytest.fixture
def model(text_file: Path) -> Any:
    """The same as objects, fresh."""
    return read_model(text_file)


def test_weights_and_biases_of_layers_are_float16(model: Any) -> None:
    """With a float32 bias XNNPACK leaves the layer alone, and the file runs at half the speed."""
    cast_weights(model)
    graph = Graph(model)
    constants = [int(index) for kind in LAYERS for op in graph.ops(kind) for index in op.inputs[1:] if index >= 0]

    assert constants
    assert all(graph.kind(graph.producer(index)) == "DEQUANTIZE" for index in constants)


def test_an_embedding_is_unpacked_by_the_row(model: Any) -> None:
    """The table itself is never unpacked."""
    cast_weights(model)
    graph = Graph(model)
    (lookup,) = graph.ops("EMBEDDING_LOOKUP")

    assert graph.producer(int(lookup.inputs[1])) is None
    assert [graph.kind(op) for op in graph.consumers(int(lookup.outputs[0]))] == ["DEQUANTIZE"]


def test_a_shared_constant_is_cast_and_unpacked_once(model: Any) -> None:
    """Two layers that read one tensor read one unpacked tensor."""
    graph = Graph(model)
    one, other = graph.ops("FULLY_CONNECTED")[:2]
    other.inputs = [int(other.inputs[0]), *(int(index) for index in one.inputs[1:])]
    cast_weights(model)

    assert [int(index) for index in one.inputs[1:]] == [int(index) for index in other.inputs[1:]]


def test_a_weight_past_the_range_is_refused(model: Any) -> None:
    """Infinity is no rounding."""
    graph = Graph(model)
    weights = int(graph.ops("FULLY_CONNECTED")[0].inputs[1])
    value = graph.constant(weights)
    assert value is not None
    graph.store(weights, np.full_like(value, 1e5))

    with pytest.raises(ConversionError, match="reaches 1e.05, float16 ends at 65504"):
        cast_weights(model)
