"""OpenAI's CLIP, OpenCLIP and timm's towers go through the same rewrites and converters as MobileCLIP."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from converter.records import Artifact, TensorSpec, Tower
from converter.rewrites.tower import rewrite_tower
from converter.torchscript_file import deprecation_known
from tests.conftest import run_each
from tests.rewrites.families import VISION, family_clip
from tests.rewrites.measuring import pictures, run, texts

BOUND = 5e-6
"""Largest difference of unit-length embeddings between eager PyTorch and what was made of it."""
EXPECTED = {
    "transformer": ["R8", "R3", "R7"],
    "average": ["R8", "R3", "R7"],
    "late norm": ["R8", "R3", "R7"],
    "resnet": ["R2", "R3", "R7"],
    "convnext": ["R6", "R9", "R7"],
    "convnext, mlp": ["R6", "R9", "R7"],
}
RUNTIME_SHAPES = {"Shape", "Slice", "If", "Loop", "ConstantOfShape", "Expand", "Range", "Where", "Split", "Squeeze"}


@pytest.mark.parametrize(("kind", "quick_gelu"), [*((kind, False) for kind in VISION), ("transformer", True)])
def test_a_rewritten_image_tower_is_the_same_model(kind: str, quick_gelu: bool) -> None:
    """Eager, and traced from one sample, it agrees with the untouched model on three; twin: with a weight off not."""
    clip = family_clip(kind, quick_gelu=quick_gelu)
    images = pictures(3)
    rewritten = rewrite_tower(clip, "image")
    with deprecation_known():
        traced = torch.jit.trace(rewritten, (images[:1],), check_trace=False)

    assert [title.split()[0] for title in rewritten.applied] == EXPECTED[kind]
    assert _off(clip, "image", images, rewritten) < BOUND
    assert _off(clip, "image", images, traced) < BOUND
    next(rewritten.parameters())[0] += 0.1
    assert _off(clip, "image", images, rewritten) > 10 * BOUND


def test_a_causal_text_tower_with_quick_gelu_is_the_same_model() -> None:
    """OpenAI's text towers."""
    clip = family_clip("transformer", quick_gelu=True)
    tokens = texts(1, 9, 76)

    assert _off(clip, "text", tokens, rewrite_tower(clip, "text")) < BOUND


@pytest.mark.parametrize("kind", ["transformer", "resnet", pytest.param("convnext", marks=pytest.mark.slow)])
def test_every_converter_takes_the_tower(kind: str, tmp_path: Path) -> None:
    """ONNX, TFLite and Core ML agree with PyTorch, and neither graph depends on runtime shapes."""
    clip = family_clip(kind, quick_gelu=kind != "convnext")
    images = pictures(2)
    with torch.no_grad():
        reference = functional.normalize(clip.visual(images), dim=-1).numpy()
    parent = _traced(rewrite_tower(clip, "image"), images[:1], tmp_path)

    onnx_file, operators = _onnx(parent, tmp_path)

    assert not RUNTIME_SHAPES & set(operators)
    assert np.abs(_run_onnx(onnx_file, images) - reference).max() < BOUND
    assert np.abs(_run_tflite(onnx_file, images, tmp_path) - reference).max() < BOUND
    assert np.abs(_run_coreml(parent, images, tmp_path) - reference).max() < BOUND


def _off(clip: Any, tower: Tower, inputs: torch.Tensor, module: Any) -> float:
    original = clip.visual if tower == "image" else clip.text
    reference = functional.normalize(run(original, inputs), dim=-1)
    return float((reference - run(module, inputs)).abs().max())


def _traced(module: Any, example: torch.Tensor, folder: Path) -> Artifact:
    with deprecation_known():
        torch.jit.trace(module, (example,), check_trace=False).save(str(folder / "tower.pt"))
    width = run(module, example).shape[1]
    image = TensorSpec(name="image", shape=tuple(example.shape), dtype="float32", layout="NCHW", value_range=(0.0, 1.0))
    embedding = TensorSpec(name="embedding", shape=(1, width), dtype="float32", layout="NC")
    return Artifact(
        path=str(folder / "tower.pt"), format="pytorch", target="pytorch", tower="image", precision="fp32",
        inputs=(image,), outputs=(embedding,),
    )  # fmt: skip


def _onnx(parent: Artifact, folder: Path) -> tuple[Artifact, Counter[str]]:
    import onnx

    from tests.converted import onnx_of

    made = onnx_of(parent, folder)
    return made, Counter(node.op_type for node in onnx.load(made.path).graph.node)


def _run_onnx(made: Artifact, images: torch.Tensor) -> np.ndarray[Any, Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(made.path, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"image": one[None].numpy()})[0] for one in images])


def _run_tflite(parent: Artifact, images: torch.Tensor, folder: Path) -> np.ndarray[Any, Any]:
    from ai_edge_litert.interpreter import Interpreter

    from converter.stages import to_tflite

    made = to_tflite.convert(parent, to_tflite.Options(), None, folder)
    interpreter = Interpreter(made.path, num_threads=1)
    interpreter.allocate_tensors()
    rows = []
    for one in images:
        pixels = np.ascontiguousarray(one[None].permute(0, 2, 3, 1).numpy())
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels)
        interpreter.invoke()
        rows.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    return np.concatenate(rows)


def _run_coreml(parent: Artifact, images: torch.Tensor, folder: Path) -> np.ndarray[Any, Any]:
    from converter.runtimes.coreml import check_structure, open_interpreter
    from converter.stages import to_coreml

    made = to_coreml.convert(parent, to_coreml.Options(), None, folder)
    assert check_structure(made, parent).problems == ()
    with open_interpreter(made, threads=1) as runner:
        return run_each(runner, {"image": images.numpy()})
