"""Folders of real small files, verified and compared pair by pair; one file is broken on purpose."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner

from converter.cli_verify import verify as verify_command
from converter.config import load_models
from converter.errors import UsageError
from converter.files import hash_path
from converter.manifest import FileRef, Manifest, ManifestEntry, ManifestReference
from converter.models.scenes import PARITY_IMAGES, caption, parity_captions, parity_scenes
from converter.models.stress import PREFIX
from converter.pipeline.matrix import Folder, refuse_strangers, right_captions
from converter.publishing.manifest import merge, model_part, read_manifest, write_manifest
from converter.records import TOWERS, Artifact, Tolerance, Tower, Weights
from tests.converted import onnx_of, patchwork
from tests.end_to_end.conftest import mcconvert

IMAGES, CAPTIONS, STRESS = 10, 8, 1
BOUND = Tolerance(metric="centred_cosine_min", limit=0.99, why="a sound file of the toy model has 0.9999")


@pytest.fixture(scope="module")
def export(tiny_parents: dict[Tower, Artifact], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both towers as an ONNX file and its copy, and a broken image file; samples end with a stress row.

    Tests must not change it.
    """
    folder = tmp_path_factory.mktemp("export") / "tiny"
    entries, references = [], []
    for tower in TOWERS:
        module = folder / "reference" / f"{tower}.pt"
        module.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(tiny_parents[tower].path, module)
        references.append(_reference(folder, tower, dataclasses.replace(tiny_parents[tower], path=str(module))))
        made = onnx_of(tiny_parents[tower], folder / "onnx" / tower)
        again = shutil.copyfile(made.path, folder / "onnx" / f"{tower}_again.onnx")
        entries.append(_entry(folder, made, f"{tower}/onnx/fp32"))
        entries.append(_entry(folder, dataclasses.replace(made, path=str(again)), f"{tower}/onnx/fp32_again"))
    entries.append(_entry(folder, _broken(folder, entries[0].artifact()), "image/onnx/broken"))
    spec = load_models()["mobileclip_nano"]
    model = model_part(spec, Weights(kind="file", sha256="0" * 64, trained=True), 20.0)
    write_manifest(folder / "manifest.json", merge(folder, model, references, entries, {}))
    return folder


@pytest.fixture(scope="module")
def compared(export: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Mapping[str, Any], Path]:
    """The command's exit code, its JSON, and the picture's path."""
    picture = tmp_path_factory.mktemp("picture") / "m.svg"
    ran = mcconvert("verify", export, "--matrix", "--json", "--picture", picture, cache=picture.parent)
    assert ran.err.splitlines()[-1] == f"wrote {picture} and {picture.with_suffix('.json')}", ran.err
    return ran.code, json.loads(ran.out), picture


def test_a_broken_file_is_least_like_the_others(compared: tuple[int, Mapping[str, Any], Path]) -> None:
    """Sound files agree in everything with each other and with PyTorch; the broken one shows, and decides the code."""
    code, found, _ = compared
    image = found["matrix"]["towers"][0]

    shares = {(pair["one"], pair["other"]): pair["ranking"]["top_k_strict"] for pair in image["pairs"]}
    assert code == 6
    assert len(shares) == 6
    assert [share for pair, share in shares.items() if "onnx/broken" not in pair] == [1.0, 1.0, 1.0]
    assert max(share for pair, share in shares.items() if "onnx/broken" in pair) < 0.9


def test_stress_rows_take_no_part(compared: tuple[int, Mapping[str, Any], Path]) -> None:
    """The retrieval set is what comes before them."""
    image, text = compared[1]["matrix"]["towers"]

    assert {pair["ranking"]["queries"] for pair in image["pairs"]} == {IMAGES}
    assert {pair["ranking"]["queries"] for pair in text["pairs"]} == {CAPTIONS}


def test_rows_with_both_towers_meet_in_zero_shot(compared: tuple[int, Mapping[str, Any], Path]) -> None:
    """A row with one tower is named and takes no part; which caption is right is known of drawn scenes."""
    found = compared[1]["matrix"]["zero_shot"]

    assert [side["name"] for side in found["sides"]] == ["pytorch", "onnx/fp32", "onnx/fp32_again"]
    assert found["alone"] == ["onnx/broken"]
    assert (found["images"], found["captions"]) == (IMAGES, CAPTIONS)
    assert all(pair["captions"]["top_k_strict"] == 1.0 for pair in found["pairs"])
    assert all(0 <= side["right_caption"] <= 1 for side in found["sides"])


def test_the_picture_and_the_figures_are_kept(compared: tuple[int, Mapping[str, Any], Path]) -> None:
    """matrix.json is what --json says; the picture is an SVG that names the rows."""
    _, found, picture = compared

    text = "".join(ElementTree.fromstring(picture.read_text()).itertext())
    assert json.loads(picture.with_suffix(".json").read_text()) == found["matrix"]
    assert "onnx/fp32_again" in text


def test_a_changed_file_takes_no_part_and_is_named(export: Path, tmp_path: Path) -> None:
    """As does a tower that is not there; what is left is still compared."""
    folder = tmp_path / "copy"
    shutil.copytree(export, folder)
    manifest = _only(folder, "image/onnx/fp32", "image/onnx/fp32_again")
    changed = folder / manifest.artifacts[0].path
    changed.write_bytes(changed.read_bytes() + b" ")

    ran = CliRunner().invoke(verify_command, [str(folder), "--matrix"])

    assert ran.exit_code == 6
    found = json.loads((folder / "matrix.json").read_text())
    (image,) = found["towers"]
    assert [side["name"] for side in image["sides"]] == ["pytorch", "onnx/fp32_again"]
    assert [(one["step_id"], "the manifest says" in one["why"]) for one in found["left_out"]] == [
        ("image/onnx/fp32", True)
    ]
    assert found["zero_shot"] is None
    assert (folder / "matrix.svg").exists()


def test_two_folders_of_one_model_are_compared_by_name(export: Path, tmp_path: Path) -> None:
    """Rows that both have carry their folder's name; equal references are one side."""
    folders = [tmp_path / "linux", tmp_path / "mac"]
    for folder, kept in zip(folders, (["image/onnx/fp32"], ["image/onnx/fp32", "image/onnx/broken"]), strict=True):
        shutil.copytree(export, folder)
        _only(folder, *kept)

    CliRunner().invoke(verify_command, [*map(str, folders), "--matrix", "--picture", str(tmp_path / "m.svg")])

    (image,) = json.loads((tmp_path / "m.json").read_text())["towers"]
    names = [side["name"] for side in image["sides"]]
    assert names == ["pytorch", "onnx/fp32 @ linux", "onnx/broken", "onnx/fp32 @ mac"]


def test_folders_that_cannot_be_compared_are_refused(export: Path, tmp_path: Path) -> None:
    """Other weights, other samples, the same folder twice: each with its reason."""
    manifest = read_manifest(export)
    weights = dataclasses.replace(manifest.model.weights, sha256="1" * 64)
    samples = dataclasses.replace(manifest.references[0].samples, sha256="2" * 64)
    others = {
        "exported from other weights": dataclasses.replace(
            manifest, model=dataclasses.replace(manifest.model, weights=weights)
        ),
        "image files were judged on other samples": dataclasses.replace(
            manifest, references=(dataclasses.replace(manifest.references[0], samples=samples),)
        ),
    }
    one = Folder(path=export, manifest=manifest)

    refuse_strangers([one, Folder(path=tmp_path, manifest=manifest)])
    for why, other in others.items():
        with pytest.raises(UsageError, match=why):
            refuse_strangers([one, Folder(path=tmp_path, manifest=other)])
    with pytest.raises(UsageError, match="the same folder"):
        refuse_strangers([one, Folder(path=export / ".", manifest=manifest)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--matrix", "--hashes-only"], "leave --hashes-only out"), (["--picture", "a.svg"], "go with --matrix")],
)
def test_options_that_do_not_go_together_are_refused(export: Path, arguments: list[str], message: str) -> None:
    """A matrix is of what files give, and a picture is of a matrix."""
    ran = CliRunner().invoke(verify_command, [str(export), *arguments])

    assert isinstance(ran.exception, UsageError)
    assert message in str(ran.exception)


def test_names_of_scenes_tell_what_is_right() -> None:
    """Each of the drawn images has one right caption among those that ship, in whatever phrasing."""
    right = right_captions([caption(scene) for scene in parity_scenes()], parity_captions())

    assert right.sum(axis=1).tolist() == [1] * PARITY_IMAGES
    assert right[:, :PARITY_IMAGES].diagonal().all()
    assert not right_captions(["astronaut#whole"], ["a dog on a beach"]).any()


def _only(folder: Path, *step_ids: str) -> Manifest:
    manifest = read_manifest(folder)
    kept = tuple(entry for entry in manifest.artifacts if entry.step_id in step_ids)
    fewer = dataclasses.replace(manifest, artifacts=kept)
    write_manifest(folder / "manifest.json", fewer)
    return fewer


def _reference(folder: Path, tower: Tower, module: Artifact) -> ManifestReference:
    """Samples with names, and what the traced tower makes of them."""
    import torch

    inputs, arrays = _image_samples() if tower == "image" else _text_samples()
    with torch.inference_mode():
        rows = torch.jit.load(module.path)(torch.from_numpy(inputs)).numpy()
    np.savez(folder / "reference" / f"{tower}_samples.npz", **arrays)
    np.savez(folder / "reference" / f"{tower}_embeddings.npz", embedding=rows)
    return ManifestReference(
        tower=tower, sample_set="toy", samples=_file(folder, f"reference/{tower}_samples.npz"),
        embeddings=_file(folder, f"reference/{tower}_embeddings.npz"), module=_placed(folder, module),
    )  # fmt: skip


def _image_samples() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    pixels = np.rint(patchwork(IMAGES + STRESS, seed=4)["image"] * 255).astype(np.uint8)
    names = [*(caption(scene) for scene in parity_scenes()[:IMAGES]), f"{PREFIX}black"]
    nhwc = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))
    arrays = {"pixels": nhwc, "mean": np.zeros(3), "std": np.ones(3), "names": np.asarray(names)}
    return pixels.astype(np.float32) / 255, arrays


def _text_samples() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    generator = np.random.default_rng(7)
    tokens = np.zeros((CAPTIONS + STRESS, 77), np.int32)
    for row, length in enumerate(generator.integers(3, 70, len(tokens))):
        tokens[row, : length + 2] = [49406, *generator.integers(1, 49406, length), 49407]
    return tokens, {"tokens": tokens, "names": np.asarray([*parity_captions()[:CAPTIONS], f"{PREFIX}empty"])}


def _broken(folder: Path, sound: Artifact) -> Artifact:
    """A third of its first large weight turned round: it runs, and says something else."""
    import onnx

    model = onnx.load(folder / sound.path)
    weight = max(model.graph.initializer, key=lambda one: len(one.raw_data))
    values = np.frombuffer(weight.raw_data, np.float32).copy()
    values[: len(values) // 3] *= -1
    weight.raw_data = values.tobytes()
    path = folder / "onnx" / "broken.onnx"
    onnx.save(model, path)
    return dataclasses.replace(sound, path=str(path))


def _entry(folder: Path, made: Artifact, step_id: str) -> ManifestEntry:
    artifact = _placed(folder, made)
    return ManifestEntry(
        step_id=step_id, target="onnx", tower=artifact.tower, precision="fp32", format=artifact.format,
        path=artifact.path, sha256=artifact.sha256, size_bytes=artifact.size_bytes, inputs=artifact.inputs,
        outputs=artifact.outputs, recipe=None, parent_sha256="", status="PASSED", required=True,
        not_required_because="", failures=(), notes=(), tolerances=(BOUND,), tie_margin=1e-5, size_ratio=None,
        parity=None, parity_with_parent=None, tool_versions={},
    )  # fmt: skip


def _placed(folder: Path, artifact: Artifact) -> Artifact:
    sha256, size_bytes = hash_path(Path(artifact.path))
    path = Path(artifact.path).relative_to(folder).as_posix()
    return dataclasses.replace(artifact, path=path, sha256=sha256, size_bytes=size_bytes)


def _file(folder: Path, name: str) -> FileRef:
    sha256, size_bytes = hash_path(folder / name)
    return FileRef(path=name, sha256=sha256, size_bytes=size_bytes)
