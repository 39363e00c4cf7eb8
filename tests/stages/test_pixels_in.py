"""`--input image`: in every format, pixels in give what the reference's preprocessing and the bare tower give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converter.parity.compare import embed
from converter.pipeline.plugins import load_runtime, load_stage
from converter.records import Artifact, Recipe
from converter.runtimes.coreml import check_structure, open_interpreter
from tests.conftest import run_each
from tests.converted import centred_cosines, recipe
from tests.pixels import INSIDE, bare_embeddings, save_pixels_tower, squares

Pixels = np.ndarray[Any, Any]
Convert = Callable[..., Artifact]
BOUND = 1e-5
"""The toy tower's own rounding: its float32 embeddings of these pixels lie 5e-6 apart in a batch of 1 and one of 12."""


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The toy image tower with pixels in."""
    return save_pixels_tower(tmp_path_factory.mktemp("pixels"))


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    """(12, size, size, 3) uint8."""
    return squares(12, 1)


@pytest.fixture(scope="module")
def expected(pixels: Pixels) -> Pixels:
    """The bare tower's embeddings of them."""
    return bare_embeddings(pixels)


@pytest.fixture(scope="module")
def onnx_file(parent: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Static batch, float32."""
    return _convert("to_onnx", parent, tmp_path_factory.mktemp("onnx"))


@pytest.fixture(scope="module")
def tflite_file(onnx_file: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Float32."""
    return _convert("to_tflite", onnx_file, tmp_path_factory.mktemp("tflite"))


def test_torchscript_takes_pixels(parent: Artifact, pixels: Pixels, expected: Pixels, tmp_path: Path) -> None:
    """Traced, scripted, and for the lite interpreter."""
    traced = _convert("to_torchscript", parent, tmp_path)
    scripted = _convert("to_torchscript", parent, tmp_path, method="script")
    lite = _convert("to_torchscript_lite", traced, tmp_path)

    for artifact in (parent, traced, scripted, lite):
        assert _declared(artifact) == ("uint8", (1, 3, 64, 64), "NCHW", (0.0, 255.0))
        assert np.abs(_embeddings(artifact, pixels) - expected).max() <= BOUND


def test_onnx_takes_pixels(
    parent: Artifact, onnx_file: Artifact, pixels: Pixels, expected: Pixels, tmp_path: Path
) -> None:
    """With a static and with a dynamic batch."""
    dynamic = _convert("to_onnx", parent, tmp_path, batch="dynamic")

    assert _declared(onnx_file) == ("uint8", (1, 3, 64, 64), "NCHW", (0.0, 255.0))
    assert _declared(dynamic) == ("uint8", ("batch", 3, 64, 64), "NCHW", (0.0, 255.0))
    for artifact in (onnx_file, dynamic):
        assert np.abs(_embeddings(artifact, pixels) - expected).max() <= BOUND


def test_the_float16_onnx_file_takes_pixels_too(
    onnx_file: Artifact, pixels: Pixels, expected: Pixels, tmp_path: Path
) -> None:
    """Its input stays uint8."""
    artifact = _convert("to_onnx_fp16", onnx_file, tmp_path)

    assert _declared(artifact)[0] == "uint8"
    assert centred_cosines(expected, _embeddings(artifact, pixels)).min() > 0.9999


def test_tflite_takes_pixels(tflite_file: Artifact, pixels: Pixels, expected: Pixels) -> None:
    """Channels last, with nothing transposed."""
    from converter.tflite_file import read_model
    from converter.tflite_graph import Graph

    graph = Graph(read_model(tflite_file.path))

    assert _declared(tflite_file) == ("uint8", (1, 64, 64, 3), "NHWC", (0.0, 255.0))
    assert np.abs(_embeddings(tflite_file, pixels) - expected).max() <= BOUND
    assert graph.kind(graph.subgraph.operators[0]) == "CAST"
    assert "TRANSPOSE" not in [graph.kind(op) for op in graph.subgraph.operators[:5]]


@pytest.mark.parametrize(
    ("name", "cosine"), [("fp16", 0.9999), ("dynamic_w8", 0.95), ("weight_only_w8", 0.95), ("static_w8a8", 0.5)]
)
def test_quantized_tflite_takes_pixels(
    tflite_file: Artifact, pixels: Pixels, expected: Pixels, tmp_path: Path, name: str, cosine: float
) -> None:
    """Every recipe; the one that calibrates does so on pixels as well."""
    path = tmp_path / "calibration.npz"
    stored = {"pixels": squares(16, 5), "mean": np.array(INSIDE.mean), "std": np.array(INSIDE.std)}
    np.savez(path, **stored, inside_graph=np.asarray(True))
    wanted = replace(recipe(name), calibration_path=str(path), samples=16 if recipe(name).sample_set else 0)

    artifact = _convert("to_tflite_quantized", tflite_file, tmp_path, wanted)

    assert _declared(artifact)[0] == "uint8"
    assert centred_cosines(expected, _embeddings(artifact, pixels)).mean() > cosine


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_core_ml_takes_its_own_image_type(
    parent: Artifact, pixels: Pixels, expected: Pixels, tmp_path: Path, precision: str
) -> None:
    """RGB, declared as an image, and sound by all checks; the interpreter takes its pixels and gives the embeddings."""
    pytest.importorskip("coremltools", reason="needs the extra mcconvert[coreml]")
    half = recipe("fp16") if precision == "fp16" else None

    artifact = _convert("to_coreml", parent, tmp_path, half)

    with open_interpreter(artifact, threads=1) as runner:
        seen, got = runner.inputs, run_each(runner, {"image": _channels_first(pixels[:4])})
    assert _declared(artifact) == ("uint8", (1, 3, 64, 64), "RGB image", (0.0, 255.0))
    assert [(one.shape, one.dtype, one.layout) for one in seen] == [((1, 3, 64, 64), "uint8", "RGB image")]
    assert check_structure(artifact, parent).problems == ()
    assert np.abs(got - expected[:4]).max() <= (BOUND if precision == "fp32" else 5e-3)


def test_twin_a_core_ml_image_of_bgr_is_found(parent: Artifact, tmp_path: Path) -> None:
    """Colours in the other order give a program of the same operations and weights; the interface tells."""
    pytest.importorskip("coremltools", reason="needs the extra mcconvert[coreml]")
    from converter.coreml_package import SPEC_PATH, import_coremltools

    artifact = _convert("to_coreml", parent, tmp_path)
    path, protos = Path(artifact.path) / SPEC_PATH, import_coremltools().proto
    spec = protos.Model_pb2.Model.FromString(path.read_bytes())
    spec.description.input[0].type.imageType.colorSpace = protos.FeatureTypes_pb2.ImageFeatureType.BGR
    path.write_bytes(spec.SerializeToString(deterministic=True))

    problems = check_structure(artifact, parent).problems

    assert any("BGR image; expected image uint8[1, 3, 64, 64] RGB image" in problem for problem in problems)


def test_twin_blue_before_red_shows(onnx_file: Artifact, pixels: Pixels, expected: Pixels) -> None:
    """The comparisons above would catch channels in the wrong order."""
    assert np.abs(_embeddings(onnx_file, pixels[..., ::-1]) - expected).max() > 100 * BOUND


def _convert(stage: str, parent: Artifact, folder: Path, recipe: Recipe | None = None, **options: Any) -> Artifact:
    module = load_stage(stage)
    target = folder / f"{stage}-{'-'.join(map(str, options.values()))}"
    target.mkdir()
    return module.convert(parent, module.Options(**options), recipe, target)


def _embeddings(artifact: Artifact, pixels: Pixels) -> Pixels:
    """As the pipeline runs a file: its own tensors checked against the declared ones first."""
    with load_runtime(artifact.format).open_runner(artifact, 1) as runner:
        assert [(one.shape, one.dtype) for one in runner.inputs] == [(one.shape, one.dtype) for one in artifact.inputs]
        return embed(runner, {"image": _channels_first(pixels)}, specs=artifact.inputs)["embedding"]


def _declared(artifact: Artifact) -> tuple[Any, ...]:
    (spec,) = artifact.inputs
    return (spec.dtype, spec.shape, spec.layout, spec.value_range)


def _channels_first(pixels: Pixels) -> Pixels:
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
