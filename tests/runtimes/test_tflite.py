"""The TFLite runtime: it says what ran, hides integer inputs and outputs, and survives broken files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converter.errors import ConversionError
from converter.records import Artifact, Tower
from converter.runtimes import tflite
from converter.tflite_file import BUFFER_ALIGNMENT, read_model, require_tflite, write_model
from converter.tflite_graph import Graph, foreign_ops
from tests.conftest import run_each
from tests.converted import channels_last, patchwork, tflite_of

pytest.importorskip("ai_edge_litert", reason="needs the extra mcconvert[tflite]")


@pytest.fixture(scope="module")
def artifact(tiny_parents: dict[Tower, Artifact], tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The toy image tower."""
    return tflite_of(tiny_parents["image"], tmp_path_factory.mktemp("tflite"))


def test_it_says_what_executed_the_file(artifact: Artifact) -> None:
    """The engine, its version, and XNNPACK, which an app would use too."""
    from importlib.metadata import version

    with tflite.open_runner(artifact, threads=1) as runner:
        assert runner.executed_by == f"LiteRT {version('ai-edge-litert')}, CPU (XNNPACK)"


def test_integer_inputs_and_outputs_are_fed_and_read_in_float32(artifact: Artifact, tmp_path: Path) -> None:
    """A file whose input and output are int8 shows float32 specs and gives the embeddings of the float32 file."""
    quantized = _with_integer_ends(artifact, tmp_path)
    inputs = channels_last(patchwork(4, seed=0))

    with tflite.open_runner(artifact, threads=1) as runner:
        expected = run_each(runner, inputs)
    with tflite.open_runner(quantized, threads=1) as runner:
        specs = [spec.dtype for spec in (*runner.inputs, *runner.outputs)]
        stored = [detail["dtype"] for detail in (*runner._inputs, *runner._outputs)]
        embeddings = run_each(runner, inputs)

    assert specs == ["float32", "float32"]
    assert stored == [np.int8, np.int8]
    assert np.abs(embeddings - expected).max() < 0.05


def _with_integer_ends(artifact: Artifact, folder: Path) -> Artifact:
    """The same graph between DEQUANTIZE and QUANTIZE."""
    graph = Graph(read_model(artifact.path))
    first, last = int(graph.subgraph.inputs[0]), int(graph.subgraph.outputs[0])
    entry = _int8_tensor(graph, b"image", first, scale=1 / 255, zero_point=-128)
    end = _int8_tensor(graph, b"embedding", last, scale=1 / 127, zero_point=0)
    for index, name in ((first, b"image_float32"), (last, b"embedding_float32")):
        graph.subgraph.tensors[index].name = name
    before = graph.new_op("DEQUANTIZE", [entry], first, graph.schema.DequantizeOptionsT())
    after = graph.new_op("QUANTIZE", [last], end, graph.schema.QuantizeOptionsT())
    graph.subgraph.operators = [before, *graph.subgraph.operators, after]
    graph.subgraph.inputs, graph.subgraph.outputs = [entry], [end]
    graph.model.signatureDefs = []
    write_model(graph.model, folder / "integer.tflite")
    return replace(artifact, path=str(folder / "integer.tflite"))


def _int8_tensor(graph: Graph, name: bytes, like: int, *, scale: float, zero_point: int) -> int:
    index = graph.new_tensor(name, graph.schema.TensorType.INT8, graph.shape(like))
    parameters = graph.schema.QuantizationParametersT()
    parameters.scale, parameters.zeroPoint = [scale], [zero_point]
    graph.subgraph.tensors[index].quantization = parameters
    return index


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"picture": np.zeros((1, 64, 64, 3), np.float32)}, "input 'image' is missing; given were picture"),
        ({"image": np.zeros((1, 3, 64, 64), np.float32)}, r"came as float32\[1, 3, 64, 64\], the file takes float32"),
        ({"image": np.zeros((1, 64, 64, 3), np.float64)}, r"came as float64.*the file takes float32\[1, 64, 64, 3\]"),
    ],
)
def test_wrong_inputs_are_named(artifact: Artifact, given: dict[str, Any], expected: str) -> None:
    """A missing input, another layout and another type."""
    with tflite.open_runner(artifact, threads=1) as runner, pytest.raises(ConversionError, match=expected):
        runner.infer(given)


@pytest.mark.parametrize(
    "broken",
    [
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole[:-64],
        lambda whole: whole[:8],
        lambda _: b"",
        lambda _: b"no model" * 99,
        lambda whole: whole[:8] + bytes(len(whole) - 8),
        lambda whole: whole[:4] + b"TFL2" + whole[8:],
    ],
)
def test_a_broken_file_is_refused(broken: Callable[[bytes], bytes], artifact: Artifact, tmp_path: Path) -> None:
    """LiteRT would follow its pointers out of the file; it never gets to see it."""
    path = tmp_path / "broken.tflite"
    path.write_bytes(broken(Path(artifact.path).read_bytes()))

    with pytest.raises(ConversionError, match=r"broken\.tflite: not a whole TFLite file"):
        tflite.open_runner(replace(artifact, path=str(path)), threads=1).__enter__()


def test_a_missing_file_is_named(artifact: Artifact, tmp_path: Path) -> None:
    """A path that leads nowhere is said to."""
    with pytest.raises(ConversionError, match=r"gone\.tflite: there is no such file"):
        tflite.open_runner(replace(artifact, path=str(tmp_path / "gone.tflite")), threads=1).__enter__()


def test_an_op_that_the_interpreter_lacks_is_refused(artifact: Artifact, tmp_path: Path) -> None:
    """A Flex op loads nowhere without TensorFlow."""
    model = read_model(artifact.path)
    code = model.operatorCodes[-1]
    code.customCode, code.builtinCode, code.deprecatedBuiltinCode = b"FlexErf", 32, 32
    write_model(model, tmp_path / "flex.tflite")

    with pytest.raises(ConversionError, match=r"flex\.tflite: LiteRT cannot load it"):
        tflite.open_runner(replace(artifact, path=str(tmp_path / "flex.tflite")), threads=1).__enter__()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda model: setattr(model.subgraphs[0].operators[0], "opcodeIndex", 999), "an op is of kind 999"),
        (lambda model: model.subgraphs[0].operators[0].outputs.__setitem__(0, 9999), "an op writes tensor 9999"),
        (lambda model: setattr(model.subgraphs[0].tensors[0], "buffer", 99999), "has its data in buffer 99999"),
    ],
)
def test_a_reference_to_nothing_is_refused(artifact: Artifact, tmp_path: Path, spoil: Any, words: str) -> None:
    """Kinds, tensors and buffers that the file does not hold are named, whoever reads it."""
    model = read_model(artifact.path)
    spoil(model)
    write_model(model, tmp_path / "dangling.tflite")

    with pytest.raises(ConversionError, match=rf"dangling\.tflite.*{words}"):
        read_model(tmp_path / "dangling.tflite")


def test_an_op_of_no_schema_has_a_name(artifact: Artifact) -> None:
    """A file from a later LiteRT is looked at all the same, and the op counts as foreign."""
    model = read_model(artifact.path)
    model.operatorCodes[0].builtinCode = model.operatorCodes[0].deprecatedBuiltinCode = 9999

    assert "UNKNOWN 9999" in foreign_ops(model)


def test_random_bytes_never_reach_the_interpreter(artifact: Artifact, tmp_path: Path) -> None:
    """Two hundred heads with noise behind them: each is refused in words, none ends the process."""
    generator = np.random.default_rng(0)
    whole = Path(artifact.path).read_bytes()
    path = tmp_path / "noise.tflite"
    for _ in range(200):
        path.write_bytes(whole[:8] + generator.bytes(4096))
        with pytest.raises(ConversionError, match="not a whole TFLite file"):
            require_tflite(path)


def test_buffers_are_aligned_as_the_schema_asks(artifact: Artifact) -> None:
    """Every constant starts at a multiple of 16 bytes."""
    from ai_edge_litert import schema_py_generated as schema

    data = np.fromfile(artifact.path, np.uint8)
    model = schema.Model.GetRootAs(data, 0)
    full = [model.Buffers(i) for i in range(model.BuffersLength()) if model.Buffers(i).DataLength()]
    starts = {(buffer.DataAsNumpy().ctypes.data - data.ctypes.data) % BUFFER_ALIGNMENT for buffer in full}

    assert len(full) > 20
    assert starts == {0}
