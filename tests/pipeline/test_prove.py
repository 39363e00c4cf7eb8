"""Proving a file: figures, stress rows, structure beside execution, and the operation that first made a NaN."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from converter.models.stress import stress_pixels
from converter.parity.judge import judge
from converter.pipeline import prove as prove_module
from converter.pipeline.job import Job, ReferenceFiles
from converter.pipeline.plugins import load_runtime
from converter.pipeline.prove import load_embeddings, prove, run_artifact, save_embeddings
from converter.records import Artifact, ParityReport, Step, TensorSpec, Tolerance, Tower
from converter.torchscript_file import deprecation_known
from tests.tiny import TINY_IMAGE_SIZE

BOUNDS = (Tolerance(metric="centred_cosine_min", limit=0.5, why="test"),)
SIZE, WIDTH = 8, 6
PROJECTION = np.random.default_rng(0).normal(size=(3 * SIZE * SIZE, WIDTH)).astype(np.float32)


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """Twelve images that are nowhere bright, and the stress samples."""
    return write_pixels(tmp_path / "samples.npz", SIZE)


def write_pixels(path: Path, size: int) -> Path:
    """Patchwork of 16 squares an image: unlike noise, towers tell them apart."""
    squares = np.random.default_rng(1).integers(10, 190, (12, 4, 4, 3)).astype(np.uint8)
    pixels = squares.repeat(size // 4, axis=1).repeat(size // 4, axis=2)
    stress = stress_pixels(size)
    np.savez(
        path, pixels=np.concatenate([pixels, np.stack(list(stress.values()))]), mean=np.zeros(3), std=np.ones(3),
        names=np.array([f"{index}.png" for index in range(12)] + list(stress)),
    )  # fmt: skip
    return path


def onnx_file(folder: Path, nodes: list[Any], constants: Mapping[str, Any]) -> Artifact:
    """A graph from "image" to "last", which is projected to the embedding."""
    nodes = [
        *nodes,
        helper.make_node("Flatten", ["last"], ["flat"]),
        helper.make_node("MatMul", ["flat", "projection"], ["embedding"]),
    ]
    stored = [
        numpy_helper.from_array(np.asarray(value), name)
        for name, value in {**constants, "projection": PROJECTION}.items()
    ]
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, WIDTH])], stored,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, folder / "image.onnx")
    return artifact_of(folder / "image.onnx", "onnx", SIZE, WIDTH)


def artifact_of(path: Path, kind: str, size: int, width: int) -> Artifact:
    image = TensorSpec(name="image", shape=(1, 3, size, size), dtype="float32", layout="NCHW")
    embedding = TensorSpec(name="embedding", shape=(1, width), dtype="float32", layout="NC")
    return Artifact(
        path=str(path), format=kind, target=kind, tower="image", precision="fp32", inputs=(image,), outputs=(embedding,)
    )


def proven(
    artifact: Artifact, samples: Path, reference: np.ndarray[Any, Any], parent: Artifact | None = None
) -> ParityReport:
    folder, tower = samples.parent, parent or artifact
    save_embeddings(folder / "reference.npz", {"embedding": reference})
    step = Step(
        id="image/x/fp32", stage="", tower="image", target="x", row="fp32", precision="fp32",
        parent="image/pytorch/reference", file_name="x",
    )  # fmt: skip
    files = ReferenceFiles(
        samples=str(samples), embeddings=str(folder / "reference.npz"), sample_set="images-12", tower=tower
    )
    job = Job(kind="prove", step=step, folder=str(folder), threads=1, reference=files, parent=tower)
    report = prove(job, artifact).vs_reference
    assert report is not None
    return report


def squared(folder: Path) -> Artifact:
    """(1.9e19 x)^2 in float32, which ends at 3.4e38: an image with a pixel above 0.97 overflows."""
    products = [
        helper.make_node("Mul", ["image", "large"], ["scaled"]),
        helper.make_node("Mul", ["scaled", "scaled"], ["squared"]),
        helper.make_node("Mul", ["squared", "small"], ["last"]),
    ]
    return onnx_file(folder, products, {"large": np.float32(1.9e19), "small": np.float32(1e-38)})


def linear(samples: Path) -> np.ndarray[Any, Any]:
    """Finite embeddings that tell all rows apart."""
    rows = np.load(samples)["pixels"].transpose(0, 3, 1, 2).reshape(-1, len(PROJECTION)) @ PROJECTION
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1.0), np.float32)


def test_an_overflow_is_named_with_its_sample(samples: Path, tmp_path: Path) -> None:
    """The samples are finite, the white image is not: a failure of its own, which says where it was made."""
    report = proven(squared(tmp_path), samples, linear(samples))

    judged, failures = judge(report, BOUNDS)

    assert report.outputs[0].nonfinite == 0
    (failure,) = [one for one in failures if "infinite" in one]
    assert failure.startswith("stress: ")
    assert failure.endswith("are NaN or infinite; first made by Mul 'squared' on sample 'stress/white'")
    assert judged.stress is not None
    assert not judged.stress.passed


def test_the_same_graph_without_its_factor_has_no_nan_to_name(samples: Path, tmp_path: Path) -> None:
    """The twin that does not overflow."""
    product = helper.make_node("Mul", ["image", "image"], ["last"])

    report = proven(onnx_file(tmp_path, [product], {}), samples, linear(samples))

    assert report.nonfinite_origin is None
    assert report.stress is not None
    assert (report.stress.samples, report.stress.nonfinite) == (7, 0)
    assert report.structure is None


def test_a_mask_of_minus_infinity_is_not_blamed_for_a_division_by_zero(samples: Path, tmp_path: Path) -> None:
    """Masked scores are infinite in every image; black ones alone are divided by nothing."""
    mask = np.where(np.arange(SIZE) % 2 == 0, 0.0, -np.inf).astype(np.float32)
    nodes = [
        helper.make_node("Add", ["image", "mask"], ["masked"]),
        helper.make_node("Softmax", ["masked"], ["weights"], axis=-1),
        helper.make_node("ReduceMax", ["image"], ["brightest"], keepdims=1),
        helper.make_node("Div", ["weights", "brightest"], ["last"]),
    ]

    report = proven(onnx_file(tmp_path, nodes, {"mask": mask}), samples, linear(samples))

    origin = report.nonfinite_origin
    assert origin is not None
    assert (origin.kind, origin.name, origin.sample) == ("Div", "last", "stress/black")


def test_weights_that_are_nan_break_every_sample(samples: Path, tmp_path: Path) -> None:
    """There is no good sample to compare with; the operation that reads them is named, on the first one."""
    product = helper.make_node("Mul", ["image", "broken"], ["last"])
    broken = onnx_file(tmp_path, [product], {"broken": np.array(np.nan, np.float32)})

    report = proven(broken, samples, linear(samples))

    judged, failures = judge(report, BOUNDS)
    assert (
        failures[0]
        == "embedding: 72 values of 12 samples are NaN or infinite; first made by Mul 'last' on sample '0.png'"
    )
    assert "stress: 42 values of 7 samples are NaN or infinite" in failures
    assert not judged.passed


def test_an_overflow_of_float16_is_named_in_torchscript_too(samples: Path, tmp_path: Path) -> None:
    """(300 x)^2 ends at 65504, for an image with a pixel above 0.85."""
    import torch

    class Squared(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.projection = torch.nn.Parameter(torch.from_numpy(PROJECTION))

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            scaled = image.half() * 300
            return torch.matmul((scaled * scaled).float().flatten(1), self.projection)

    with deprecation_known():
        torch.jit.trace(Squared().eval(), torch.rand(1, 3, SIZE, SIZE)).save(str(tmp_path / "image.pt"))
    artifact = artifact_of(tmp_path / "image.pt", "torchscript", SIZE, WIDTH)

    origin = proven(artifact, samples, linear(samples)).nonfinite_origin

    assert origin is not None
    assert (origin.kind, origin.sample, origin.why_not) == ("aten::mul", "stress/white", "")


@pytest.mark.parametrize("way", ["absent", "failing"])
def test_a_file_that_cannot_be_observed_is_judged_all_the_same(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """The verdict stands, and says why nothing could be located."""

    def refuse(artifact: Artifact, threads: int) -> None:
        message = "out of memory"
        raise MemoryError(message)

    blind = SimpleNamespace(open_runner=load_runtime("onnx").open_runner)
    if way == "failing":
        blind.open_observer = refuse
    monkeypatch.setattr(prove_module, "load_runtime", lambda _: blind)

    report = proven(squared(tmp_path), samples, linear(samples))

    failures = judge(report, BOUNDS)[1]
    why = "onnx files cannot be observed" if way == "absent" else "MemoryError: out of memory"
    assert any(one.endswith(f"on sample 'stress/white' could not be located: {why}") for one in failures)


def test_what_the_reference_cannot_embed_is_not_held_against_a_file(samples: Path, tmp_path: Path) -> None:
    """The reference is NaN where the file is: left out by name, and nobody looks for an origin."""
    broken = ~np.isfinite(run_artifact(squared(tmp_path), samples, 1).embeddings["embedding"]).all(axis=1)
    reference = np.where(broken[:, None], np.float32(np.nan), linear(samples))

    report = proven(squared(tmp_path), samples, reference)

    assert report.nonfinite_origin is None
    assert report.stress is not None
    assert report.stress.nonfinite == 0
    assert report.stress.left_out == tuple(np.load(samples)["names"][broken])


@pytest.fixture(scope="module")
def coreml_report(
    tiny_coreml: dict[tuple[Tower, str], Artifact],
    tiny_parents: dict[Tower, Artifact],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, np.ndarray[Any, Any], Artifact]:
    """Samples, the traced tower's embeddings of them, and the package."""
    samples = write_pixels(tmp_path_factory.mktemp("coreml") / "samples.npz", TINY_IMAGE_SIZE)
    reference = run_artifact(tiny_parents["image"], samples, 1).embeddings["embedding"]
    return samples, reference, tiny_coreml["image", "fp32"]


def test_a_core_ml_file_is_executed_and_read(coreml_report: Any, tiny_parents: dict[Tower, Artifact]) -> None:
    """Outputs, rankings and structure stand in one report, with how many values were computed."""
    samples, reference, package = coreml_report

    report = proven(package, samples, reference, tiny_parents["image"])

    judged, failures = judge(report, [*BOUNDS, Tolerance(metric="max_abs", limit=1e-5, why="test")])
    assert failures == ()
    assert judged.passed
    assert report.executed_by.startswith(("mcconvert reference interpreter", "Core ML on macOS"))
    assert report.values_executed > 1e6 or report.executed_by.startswith("Core ML on macOS")
    assert report.structure is not None
    assert report.structure.tensors > 10
    assert report.outputs[0].shape == reference[:12].shape
    assert load_embeddings(samples.parent / "candidate.npz")["embedding"].shape == reference.shape


def test_a_core_ml_file_whose_structure_is_wrong_fails_beside_good_figures(
    coreml_report: Any, tiny_parents: dict[Tower, Artifact]
) -> None:
    """Read against a tower that it was not made from: executed well, and failed."""
    samples, reference, package = coreml_report

    report = proven(package, samples, reference, dataclasses.replace(tiny_parents["text"], tower="image"))

    judged, failures = judge(report, BOUNDS)
    assert report.structure is not None
    assert len(report.structure.problems) > 1
    assert set(report.structure.problems) <= set(failures)
    assert judged.outputs[0].passed
    assert not judged.passed
