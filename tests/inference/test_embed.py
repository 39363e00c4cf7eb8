"""`mcconvert embed`: vectors that are the model's, in the order given, whatever else lies in the folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converter.models.building import FAMILIES
from converter.publishing.manifest import read_manifest
from tests.inference.conftest import image_reference, text_reference, use, write_toy

ROWS = ("onnx/fp32", "onnx/fp32_dynamic", "tflite/fp32", "torchscript/fp32")
CLOSE = 1e-4
"""float32 rounding through the toy towers."""


def vectors(out: str, space: int = 0) -> np.ndarray[Any, Any]:
    return np.asarray([row["embeddings"][space] for row in json.loads(out)["rows"]], np.float32)


def names(out: str) -> list[str]:
    return [row["name"] for row in json.loads(out)["rows"]]


@pytest.mark.parametrize("row", ROWS)
def test_every_format_gives_pytorchs_vectors(
    pristine: Path, photographs: Path, reference: np.ndarray[Any, Any], row: str
) -> None:
    """Static and dynamic, NCHW and NHWC: fed as the manifest says, each is the model. Six images are no full batch."""
    done = use("embed", photographs, "--text", "a cat", "--with", f"{pristine}:{row}", "--batch", "4", "--json")

    assert done.code == 0, done.err
    expected = np.concatenate([reference, text_reference(["a cat"])])
    assert np.abs(vectors(done.out) - expected).max() < CLOSE
    assert np.abs(expected[0] - expected[1]).max() > 20 * CLOSE


def test_other_preprocessing_gives_other_vectors(toy: Path, photographs: Path, reference: np.ndarray[Any, Any]) -> None:
    """The twin: what the manifest says of mean and std is what is done."""
    manifest = read_manifest(toy)
    write_toy(toy, manifest.artifacts, preprocessing=replace(manifest.model.preprocessing, mean=(0.0, 0.0, 0.0)))

    done = use("embed", photographs, "--with", toy, "--json")

    assert np.abs(vectors(done.out) - reference).max() > 20 * CLOSE


def test_side_by_side_each_model_gets_its_own_pixels(pristine: Path, toy: Path, photographs: Path) -> None:
    """Two ways of resizing in one run: each column is what that model gives alone."""
    manifest = read_manifest(toy)
    write_toy(toy, manifest.artifacts, preprocessing=replace(manifest.model.preprocessing, resize="squash"))

    both = use("embed", photographs, "--with", pristine, "--with", toy, "--json")
    alone = use("embed", photographs, "--with", toy, "--json")

    assert np.abs(vectors(both.out, 1) - vectors(alone.out)).max() < CLOSE
    assert np.abs(vectors(both.out, 0) - vectors(alone.out)).max() > 20 * CLOSE


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_a_file_with_preprocessing_inside_takes_raw_pixels(
    toy: Path, photographs: Path, reference: np.ndarray[Any, Any], layout: str
) -> None:
    """uint8 in the manifest: the file scales and normalises by itself."""
    entry = _with_preprocessing_inside(toy, layout)
    pixels = replace(read_manifest(toy).model.preprocessing, inside_graph=True)
    write_toy(toy, [entry], preprocessing=pixels)

    done = use("embed", photographs, "--with", toy, "--json")

    assert done.code == 0, done.err
    assert np.abs(vectors(done.out) - reference).max() < CLOSE


def test_rows_keep_the_order_given(pristine: Path, photographs: Path) -> None:
    """Files as named, a folder sorted, texts last; one given twice is there twice."""
    last, first = photographs / "f.png", photographs / "a.png"
    done = use("embed", last, first, photographs, last, "--text", "b", "--text", "a", "--with", pristine, "--json")

    folder = [str(photographs / f"{letter}.png") for letter in "abcdef"]
    assert names(done.out) == [str(last), str(first), *folder, str(last), "b", "a"]
    rows = vectors(done.out)
    assert np.array_equal(rows[0], rows[7])
    assert np.abs(rows[:2] - image_reference([last, first])).max() < CLOSE


def test_a_corrupt_image_is_skipped_and_the_exit_code_says_so(
    pristine: Path, photographs: Path, reference: np.ndarray[Any, Any], tmp_path: Path
) -> None:
    """The others keep their places and values, and are written."""
    folder = Path(shutil.copytree(photographs, tmp_path / "some"))
    (folder / "b.png").write_bytes((folder / "b.png").read_bytes()[:2000])

    done = use("embed", folder, "--with", pristine, "--batch", "4", "--out", tmp_path / "x.npz", "--json")

    assert done.code == 8
    assert "1 of 6 images could not be read" in done.err
    assert [one["name"] for one in json.loads(done.out)["skipped"]] == [str(folder / "b.png")]
    with np.load(tmp_path / "x.npz") as written:
        assert [Path(name).stem for name in written["names"]] == list("acdef")
        assert np.abs(written["embedding"] - np.delete(reference, 1, axis=0)).max() < CLOSE


def test_nothing_is_written_when_every_image_is_corrupt(pristine: Path, tmp_path: Path) -> None:
    """An earlier file stays as it was."""
    (tmp_path / "x.png").write_bytes(b"not an image")
    (tmp_path / "x.npy").write_bytes(b"earlier")

    done = use("embed", tmp_path / "x.png", "--with", pristine, "--out", tmp_path / "x.npy")

    assert done.code == 8
    assert (tmp_path / "x.npy").read_bytes() == b"earlier"


def test_a_mixed_folder_gives_its_images_and_says_the_rest(pristine: Path, photographs: Path, tmp_path: Path) -> None:
    """Folders inside it too, an image without a suffix too; hidden files are nobody's business."""
    (tmp_path / "deep").mkdir()
    shutil.copy(photographs / "a.png", tmp_path / "deep" / "picture")
    shutil.copy(photographs / "b.png", tmp_path / "b.PNG")
    for name in ("notes.txt", "film.mp4", ".DS_Store", "._b.png"):
        (tmp_path / name).write_text("nothing")

    done = use("embed", tmp_path, "--with", pristine, "--json")

    assert done.code == 0
    assert names(done.out) == [str(tmp_path / "b.PNG"), str(tmp_path / "deep" / "picture")]
    assert "left out what is no image (1 .mp4, 1 .txt)" in done.err.replace("1 .txt, 1 .mp4", "1 .mp4, 1 .txt")


def test_a_folder_without_images_is_refused(pristine: Path, tmp_path: Path) -> None:
    """Nothing to embed is a mistake, not an empty result."""
    done = use("embed", tmp_path, "--with", pristine)

    assert done.code == 2
    assert f"no image in {tmp_path}" in done.err


def test_a_text_of_100_kilobytes_is_cut_and_embedded(pristine: Path) -> None:
    """It is what its first 77 tokens say, and its row is named by its beginning."""
    long = "a cat on a mat and " * 5500

    done = use("embed", "--texts", "-", "--with", pristine, "--json", text=f"{long}\n\na dog\n")

    assert np.abs(vectors(done.out) - text_reference([long, "a dog"])).max() < CLOSE
    assert len(names(done.out)[0]) < 1010


@pytest.mark.timeout(60)
def test_a_word_of_100_kilobytes_takes_no_longer(pristine: Path) -> None:
    """Merging the pairs of such a word whole takes minutes; its tokens are those of its beginning."""
    letters = np.random.default_rng(1).choice(list("abcdefghijklmnop"), 100_000)
    word = "".join(letters)

    done = use("embed", "--text", word, "--with", pristine, "--json")

    assert np.abs(vectors(done.out) - text_reference([word[:3000]])).max() < CLOSE


def test_embedding_in_pytorch_is_the_model_itself(
    monkeypatch: pytest.MonkeyPatch, pristine: Path, photographs: Path, tmp_path: Path
) -> None:
    """Built as any model is, from a checkpoint, beside an exported file: two columns that agree."""
    import torch

    from tests.inference.conftest import SPEC
    from tests.tiny import tiny_clip

    monkeypatch.setitem(FAMILIES, "toy", "tests.inference.family")
    monkeypatch.setattr("converter.inference.opening.find", lambda name: SPEC)
    torch.save(tiny_clip().state_dict(), tmp_path / "toy.pt")
    arguments = ["--model", "toy", "--weights", tmp_path / "toy.pt", "--json", "--with", pristine]

    done = use("embed", photographs, "--text", "a cat", *arguments)

    assert done.code == 0, done.err
    assert np.abs(vectors(done.out, 0) - vectors(done.out, 1)).max() < CLOSE


def test_seeded_weights_are_the_same_on_every_call(monkeypatch: pytest.MonkeyPatch, photographs: Path) -> None:
    """With one tower or both, at any number of threads; and a warning says that they mean nothing."""
    from tests.inference.conftest import SPEC

    monkeypatch.setitem(FAMILIES, "toy", "tests.inference.family")
    monkeypatch.setattr("converter.inference.opening.find", lambda name: SPEC)
    arguments = [photographs / "a.png", "--model", "toy", "--weights", "seeded", "--json"]

    one = use("embed", *arguments, "--threads", "1")
    other = use("embed", *arguments, "--threads", "2", "--text", "a cat")

    assert "NOT TRAINED" in one.err
    assert np.abs(vectors(one.out)[0] - vectors(other.out)[0]).max() < CLOSE


def test_an_ensemble_is_the_unit_mean(pristine: Path, photographs: Path) -> None:
    """One vector a row, between the two."""
    both = [photographs, "--with", f"{pristine}:onnx/fp32", "--with", f"{pristine}:tflite/fp32", "--json"]
    apart, mean = use("embed", *both), use("embed", *both, "--ensemble")

    summed = vectors(apart.out, 0) + vectors(apart.out, 1)
    expected = summed / np.linalg.norm(summed, axis=1, keepdims=True)
    assert len(json.loads(mean.out)["rows"][0]["embeddings"]) == 1
    assert np.abs(vectors(mean.out) - expected).max() < 1e-6


def test_an_ensemble_of_different_spaces_is_refused(pristine: Path, toy: Path, photographs: Path) -> None:
    """Other weights, another space: the mean would mean nothing."""
    manifest = read_manifest(toy)
    write_toy(toy, manifest.artifacts, weights=replace(manifest.model.weights, sha256="b" * 64))

    done = use("embed", photographs, "--with", pristine, "--with", toy, "--ensemble")

    assert done.code == 2
    assert "different spaces" in done.err
    assert "aaaaaaaaaaaa" in done.err and "bbbbbbbbbbbb" in done.err


def test_the_command_itself_ends_with_8(pristine: Path, photographs: Path, tmp_path: Path) -> None:
    """Outside of tests as well: message on standard error, table on standard output, no traceback."""
    (tmp_path / "x.jpg").write_bytes(b"\xff\xd8\xff")
    command = [str(Path(sys.executable).with_name("mcconvert")), "embed", str(tmp_path / "x.jpg"), str(photographs)]

    done = subprocess.run(
        [*command, "--with", str(pristine)], capture_output=True, text=True, check=False, env=os.environ, timeout=120
    )

    assert done.returncode == 8
    assert "a.png" in done.stdout
    assert "Traceback" not in done.stderr


def _with_preprocessing_inside(folder: Path, layout: str) -> Any:
    """The ONNX image tower behind a cast, a scale and a shift of its own."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    from converter.files import hash_path
    from tests.inference.conftest import PIXELS

    entry = next(one for one in read_manifest(folder).artifacts if one.step_id == "image/onnx/fp32")
    path = folder / entry.path
    model = onnx.load(path)
    graph = model.graph
    shape = (1, 3, 64, 64) if layout == "NCHW" else (1, 64, 64, 3)
    order = [0, 1, 2, 3] if layout == "NCHW" else [0, 3, 1, 2]
    std, mean = (np.asarray(values, np.float32).reshape(1, 3, 1, 1) for values in (PIXELS.std, PIXELS.mean))
    for name, value in {"scale": 1 / (255 * std), "shift": mean / std}.items():
        graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
    for node in graph.node:
        node.input[:] = ["normal" if name == "image" else name for name in node.input]
    before = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["moved"], perm=order),
        helper.make_node("Mul", ["moved", "scale"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "shift"], ["normal"]),
    ]
    nodes = [*before, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.input[0].CopyFrom(helper.make_tensor_value_info("image", TensorProto.UINT8, shape))
    onnx.save(model, path)
    spec = replace(entry.inputs[0], dtype="uint8", layout=layout, shape=shape, value_range=(0, 255))
    sha256, size_bytes = hash_path(path)
    return replace(entry, inputs=(spec,), sha256=sha256, size_bytes=size_bytes)
