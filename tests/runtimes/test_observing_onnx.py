"""ONNX files shown node by node: every value once, in order, with the weights behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converter.errors import ConversionError
from converter.onnx_file import load_model
from converter.records import Artifact, Recipe, Tower
from converter.runtimes import Observed, onnx
from converter.stages import to_onnx_fp16
from tests.converted import onnx_of

pytest.importorskip("onnxruntime", reason="needs the extra mcconvert[onnx]")

Inputs = dict[Tower, dict[str, np.ndarray[Any, Any]]]
Kinds = dict[str, Artifact]
CLOSE = 2e-6
"""Merged nodes round otherwise: 2e-7 was seen on the toy towers, 3e-7 on MobileCLIP-S1."""
CLOSE_IN_HALF = 2e-3
"""Without optimisations each node rounds to float16, with them not every one: 1e-4 was seen on MobileCLIP-S1."""
BROKEN = "tower.trunk.stages.1.blocks.0.mlp.fc1.weight"


@pytest.fixture(scope="module")
def files(tiny_parents: dict[Tower, Artifact], tmp_path_factory: pytest.TempPathFactory) -> Kinds:
    """The image tower, the same in float16, and the text tower as a folder with its weights beside the graph."""
    image = onnx_of(tiny_parents["image"], tmp_path_factory.mktemp("image"))
    half = Recipe(name="fp16", summary="half", precision="fp16", weight_bits=16)
    return {
        "image": image,
        "half": to_onnx_fp16.convert(image, to_onnx_fp16.Options(), half, tmp_path_factory.mktemp("half")),
        "folder": onnx_of(tiny_parents["text"], tmp_path_factory.mktemp("text"), external_data_bytes=1_000_000),
    }


def _sample(artifact: Artifact, inputs: Inputs) -> dict[str, np.ndarray[Any, Any]]:
    return {name: values[:1] for name, values in inputs[artifact.tower].items()}


def _observed(artifact: Artifact, arrays: Mapping[str, np.ndarray[Any, Any]]) -> list[Observed]:
    with onnx.open_observer(artifact, threads=1) as observer:
        return list(observer.observe(arrays))


@pytest.mark.parametrize(("kind", "close"), [("image", CLOSE), ("half", CLOSE_IN_HALF), ("folder", CLOSE)])
def test_the_last_value_is_the_files_own_output(kind: str, close: float, files: Kinds, tiny_inputs: Inputs) -> None:
    """Up to what merging nodes changes; every name is new and reads only the input and what was shown before."""
    artifact = files[kind]
    arrays = _sample(artifact, tiny_inputs)
    with onnx.open_runner(artifact, threads=1) as runner:
        expected = runner.infer(arrays)["embedding"]
    seen = _observed(artifact, arrays)

    assert seen[-1].name == "embedding"
    assert np.abs(seen[-1].value - expected).max() < close
    assert {str(one.value.dtype) for one in seen} <= {"float32", "int32", "int64", "bool"}
    known = [artifact.inputs[0].name]
    for one in seen:
        assert one.inputs and set(one.inputs) <= set(known), one.name
        assert one.name not in known
        known.append(one.name)


@pytest.mark.parametrize("kind", ["image", "half"])
def test_every_convolution_is_shown_with_its_weights(kind: str, files: Kinds, tiny_inputs: Inputs) -> None:
    """As many as the graph has, each with the name of the stored weight, whatever lies between."""
    model = load_model(files[kind].path)
    seen = _observed(files[kind], _sample(files[kind], tiny_inputs))

    convolutions = [one for one in seen if one.kind == "Conv"]
    stored = {tensor.name for tensor in model.graph.initializer}
    assert len(convolutions) == sum(node.op_type == "Conv" for node in model.graph.node) > 20
    assert all(stored.intersection(one.constants) for one in convolutions)


def test_nan_is_first_seen_where_it_is_made(files: Kinds, tiny_inputs: Inputs, tmp_path: Path) -> None:
    """One weight that is NaN: everything before its node is finite, that node's value is not."""
    from onnx import numpy_helper, save

    arrays = _sample(files["image"], tiny_inputs)
    model = load_model(files["image"].path)
    tensor = next(one for one in model.graph.initializer if one.name == BROKEN)
    weight = numpy_helper.to_array(tensor).copy()
    weight[0, 0] = np.nan
    tensor.CopyFrom(numpy_helper.from_array(weight, BROKEN))
    save(model, tmp_path / "broken.onnx")

    healthy = _observed(files["image"], arrays)
    broken = _observed(replace(files["image"], path=str(tmp_path / "broken.onnx")), arrays)

    assert all(np.isfinite(one.value).all() for one in healthy)
    assert BROKEN in next(one for one in broken if not np.isfinite(one.value).all()).constants


def test_constants_shapes_and_inner_graphs_are_no_values_of_their_own(tmp_path: Path) -> None:
    """What is computed from weights alone is a constant, a shape tells nothing, `If` shows what it returns."""
    import onnx as library

    graph = library.parser.parse_graph("""
        g (float16[1, N] x) => (float16[1, M] embedding)
        <float[2] stored = {1, 2}, bool yes = {1}, int64[1] rows = {1}, int64[1] last = {-1}>
        {
            wide = Identity (stored)
            narrow = Cast <to = 10> (wide)
            scaled = Mul (x, narrow)
            sizes = Shape (x)
            kept = Gather <axis = 0> (sizes, rows)
            target = Concat <axis = 0> (rows, kept)
            shaped = Reshape (scaled, target)
            chosen = If (yes) <
                then_branch = t () => (float16[1, N] a) { a = Neg (shaped) },
                else_branch = e () => (float16[1, N] b) { b = Abs (shaped) }
            >
            embedding = Reshape (chosen, target)
        }
    """)
    model = library.helper.make_model(graph, opset_imports=[library.helper.make_opsetid("", 18)], ir_version=9)
    library.save(model, tmp_path / "made.onnx")
    artifact = Artifact(
        path=str(tmp_path / "made.onnx"),
        format="onnx",
        target="onnx",
        tower="text",
        precision="fp16",
        inputs=(),
        outputs=(),
    )

    seen = {one.name: one for one in _observed(artifact, {"x": np.array([[3.0, 4.0]], np.float16)})}

    assert list(seen) == ["scaled", "shaped", "chosen", "embedding"]
    assert seen["scaled"].constants == ("stored",)
    assert seen["scaled"].value.dtype == np.float32
    assert seen["chosen"].inputs == ("shaped",)
    assert seen["embedding"].value.tolist() == [[-3.0, -8.0]]


def test_nodes_in_any_order_are_shown_in_order_of_execution(files: Kinds, tiny_inputs: Inputs, tmp_path: Path) -> None:
    """Tools append what they add at the end; ONNX Runtime sorts nodes before it runs them."""
    model = load_model(Path(files["image"].path))
    model.graph.node.sort(key=lambda node: node.name)
    shuffled = tmp_path / "image_fp32.onnx"
    shuffled.write_bytes(model.SerializeToString())
    arrays = _sample(files["image"], tiny_inputs)
    expected = _observed(files["image"], arrays)

    seen = _observed(replace(files["image"], path=str(shuffled)), arrays)

    assert {one.name for one in seen} == {one.name for one in expected}
    shown = {"image"}
    for one in seen:
        assert shown.issuperset(one.inputs)
        shown.add(one.name)


def test_a_file_optimised_for_one_machine_is_refused(files: Kinds, tmp_path: Path) -> None:
    """Its values lie in blocks of channels, which would look like a fault of every convolution."""
    model = load_model(Path(files["image"].path))
    next(node for node in model.graph.node if node.op_type == "Conv").domain = "com.microsoft.nchwc"
    optimised = tmp_path / "image_fp32.onnx"
    optimised.write_bytes(model.SerializeToString())

    with (
        pytest.raises(ConversionError, match="optimised it for one machine"),
        onnx.open_observer(replace(files["image"], path=str(optimised)), threads=1),
    ):
        pass


def test_it_says_how_it_ran_the_file(files: Kinds) -> None:
    """Without optimisations, which is not how the file runs otherwise."""
    with onnx.open_observer(files["image"], threads=1) as observer:
        assert observer.executed_by.endswith("CPU, without graph optimisations")


def test_broken_files_and_wrong_inputs_are_refused(files: Kinds, tmp_path: Path) -> None:
    """Half a file and a missing input each end in a message with the path."""
    half = tmp_path / "cut.onnx"
    half.write_bytes(Path(files["image"].path).read_bytes()[:100_000])

    with pytest.raises(ConversionError, match=r"cut\.onnx: not a whole ONNX file"):
        onnx.open_observer(replace(files["image"], path=str(half)), threads=1).__enter__()
    with onnx.open_observer(files["image"], threads=1) as observer, pytest.raises(ConversionError, match="on no input"):
        list(observer.observe({}))
