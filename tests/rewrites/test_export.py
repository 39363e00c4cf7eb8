"""Exporters take the rewritten towers, and leave nothing in them that depends on runtime shapes."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from converter.records import TOWERS, Tower
from converter.rewrites.tower import rewrite_tower
from tests.rewrites.measuring import pictures, run, texts
from tests.tiny import tiny_clip

RUNTIME_SHAPES = {"Shape", "Slice", "If", "Loop", "ConstantOfShape", "Expand", "Range", "Where", "Split", "Squeeze"}
BOUND = 1e-6
"""float32, unit length, the same graph in another library."""


@pytest.fixture(scope="module")
def towers() -> dict[Tower, Any]:
    clip = tiny_clip(causal=True)
    return {tower: rewrite_tower(clip, tower) for tower in TOWERS}


def _sample(tower: Tower) -> torch.Tensor:
    return pictures(1) if tower == "image" else texts(9)


def _export(module: Any, tower: Tower, path: Path, example: torch.Tensor, *, dynamic: bool = False) -> Path:
    name = "image" if tower == "image" else "tokens"
    axes = {name: {0: "batch"}, "embedding": {0: "batch"}} if dynamic else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(module, (example,), check_trace=False)
        torch.onnx.export(
            traced, (example,), str(path), dynamo=False, opset_version=20, input_names=[name],
            output_names=["embedding"], dynamic_axes=axes,
        )  # fmt: skip
    return path


def _operators(path: Path) -> Counter[str]:
    onnx = pytest.importorskip("onnx")
    return Counter(node.op_type for node in onnx.load(str(path)).graph.node)


@pytest.mark.parametrize("tower", TOWERS)
@pytest.mark.parametrize("dynamic", [False, True])
def test_onnx_has_no_runtime_shapes(tower: Tower, dynamic: bool, towers: dict[Tower, Any], tmp_path: Path) -> None:
    """The only GATHER is the token embedding, with a fixed and with a dynamic batch."""
    path = _export(towers[tower], tower, tmp_path / "tower.onnx", _sample(tower), dynamic=dynamic)

    operators = _operators(path)

    assert not RUNTIME_SHAPES & set(operators)
    assert operators["Gather"] == (1 if tower == "text" else 0)


def test_twin_the_untouched_image_tower_has_runtime_shapes(tmp_path: Path) -> None:
    """The check above finds them where they are."""
    path = _export(tiny_clip().visual, "image", tmp_path / "tower.onnx", pictures(1), dynamic=True)

    assert RUNTIME_SHAPES & set(_operators(path))


@pytest.mark.parametrize("tower", TOWERS)
def test_one_onnx_file_serves_any_batch(tower: Tower, towers: dict[Tower, Any], tmp_path: Path) -> None:
    """Exported from one sample, it embeds five."""
    onnxruntime = pytest.importorskip("onnxruntime")
    path = _export(towers[tower], tower, tmp_path / "tower.onnx", _sample(tower), dynamic=True)
    batch = pictures(5) if tower == "image" else texts(1, 9, 30, 60, 76)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    (embeddings,) = session.run(None, {session.get_inputs()[0].name: batch.numpy()})

    assert np.abs(embeddings - run(towers[tower], batch).numpy()).max() < 5e-6


@pytest.mark.parametrize("tower", TOWERS)
def test_tflite_is_one_delegate_partition(tower: Tower, towers: dict[Tower, Any], tmp_path: Path) -> None:
    """No runtime shapes, linears as FULLY_CONNECTED, all of it in one XNNPACK partition, and equal."""
    onnx2tf = pytest.importorskip("onnx2tf")
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    path = _export(towers[tower], tower, tmp_path / "tower.onnx", _sample(tower))
    onnx2tf.convert(
        input_onnx_file_path=str(path), output_folder_path=str(tmp_path), verbosity="error",
        copy_onnx_input_output_names_to_tflite=True,
    )  # fmt: skip
    interpreter = litert.Interpreter(str(tmp_path / "tower_float32.tflite"), num_threads=2)
    interpreter.allocate_tensors()
    operators = Counter(details["op_name"] for details in interpreter._get_ops_details())
    sample = _sample(tower).permute(0, 2, 3, 1) if tower == "image" else _sample(tower)

    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], sample.contiguous().numpy())
    interpreter.invoke()
    embedding = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])

    assert np.abs(embedding - run(towers[tower], _sample(tower)).numpy()).max() < BOUND
    assert not {"SHAPE", "SLICE", "STRIDED_SLICE", "SPLIT"} & set(operators)
    assert operators["GATHER"] == (1 if tower == "text" else 0)
    assert operators["FULLY_CONNECTED"] > 4
    assert operators["DELEGATE"] == 1


@pytest.mark.parametrize("tower", TOWERS)
def test_core_ml_takes_the_trace(tower: Tower, towers: dict[Tower, Any]) -> None:
    """The trace converts, with one gather for the token embedding and none else."""
    coremltools = pytest.importorskip("coremltools")
    example = _sample(tower)
    dtype = np.float32 if tower == "image" else np.int32
    name = "image" if tower == "image" else "tokens"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = coremltools.convert(
            torch.jit.trace(towers[tower], (example,), check_trace=False), convert_to="mlprogram", skip_model_load=True,
            inputs=[coremltools.TensorType(name, shape=tuple(example.shape), dtype=dtype)],
        )  # fmt: skip

    operators = Counter(op.op_type for op in model._mil_program.functions["main"].operations)

    assert operators["gather"] == (1 if tower == "text" else 0)
    assert not {"shape", "slice_by_index", "split", "scaled_dot_product_attention"} & set(operators)
