"""The small trained model from export to answer: its files know what they see, whatever their format and precision."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.end_to_end.conftest import Ran, mcconvert

ROWS = ("onnx/fp32", "tflite/fp32", "tflite/int8")
WANTED = ["--target", "onnx", "--target", "tflite", "--quant", "fp32", "--quant", "static_w8a8"]


@pytest.fixture(scope="module")
def cache(shared_cache: Path) -> Path:
    return shared_cache


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> tuple[Ran, Path]:
    """An export of both towers, and its folder."""
    out = tmp_path_factory.mktemp("nano")
    ran = mcconvert("--model", "nano", *WANTED, "--jobs", "2", "--out", out, "--json", cache=cache)
    return ran, out / "mobileclip_nano"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pictures of scenes that training held out, by their captions, all of different kinds."""
    from converter.models.drawing import draw
    from converter.models.scenes import caption, parity_scenes

    folder = tmp_path_factory.mktemp("scenes")
    found: dict[str, Path] = {}
    for number, scene in enumerate(parity_scenes()):
        if number % 12 == 0:
            draw(scene).save(folder / f"{number}.png")
            found[caption(scene)] = folder / f"{number}.png"
    return found


def test_the_trained_export_is_proven(nano: tuple[Ran, Path]) -> None:
    """Float32 rows pass on the bounds for trained weights; rankings of the INT8 row hold, whatever its size."""
    ran, folder = nano
    results = {one["step_id"]: one for one in json.loads(ran.out)}
    manifest = json.loads((folder / "manifest.json").read_text())

    assert manifest["model"]["trained"]
    assert manifest["model"]["weights"]["kind"] == "bundled"
    assert manifest["model"]["logit_scale"] > 10
    for tower in ("image", "text"):
        assert all(results[f"{tower}/{row}"]["status"] == "PASSED" for row in ("onnx/fp32", "tflite/fp32"))
        int8 = results[f"{tower}/tflite/int8"]["vs_reference"]
        assert int8["outputs"][0]["centred_cosine_mean"] > 0.99
        assert int8["ranking"]["top_k"] > 0.95


@pytest.mark.parametrize("row", ROWS)
def test_each_file_sees_what_was_drawn(nano: tuple[Ran, Path], cache: Path, scenes: dict[str, Path], row: str) -> None:
    """Every picture finds its own caption among all of them, in every format and precision."""
    labels = scenes.keys()
    file = next(iter(scenes.values())).parent / "labels.txt"
    file.write_text("\n".join(labels))
    options = ["--labels-file", file, "--template", "{}", "--top", "1", "--with", f"{nano[1]}:{row}", "--json"]

    ran = mcconvert("classify", *scenes.values(), *options, cache=cache)

    assert ran.code == 0, ran.err
    guesses = {one["name"]: one["guesses"][0]["label"] for one in json.loads(ran.out)["images"]}
    assert guesses == {str(path): label for label, path in scenes.items()}


def test_the_tokenizer_is_part_of_what_is_verified(nano: tuple[Ran, Path], cache: Path) -> None:
    """One byte of it changed: the text files fail, and the message names it."""
    tokenizer = nano[1] / "tokenizer.json"
    whole = tokenizer.read_bytes()
    before = mcconvert("verify", nano[1], "--hashes-only", cache=cache)
    tokenizer.write_bytes(whole[:-2] + b" " + whole[-1:])

    ran = mcconvert("verify", nano[1], "--hashes-only", cache=cache)

    tokenizer.write_bytes(whole)
    assert "tokenizer.json" not in before.out
    assert ran.code == 6
    assert "tokenizer.json was changed" in ran.out


def test_each_pair_of_files_is_asked_what_it_knows(nano: tuple[Ran, Path], cache: Path) -> None:
    """`verify --task`: PyTorch first, then both towers of every row, and the int8 images with float32 texts."""
    ran = mcconvert("verify", nano[1], "--task", "--json", cache=cache)

    assert ran.code == 0, ran.err
    sides = {(one["image"], one["text"]): one for one in json.loads(ran.out)["sides"]}
    wanted = {("pytorch", "pytorch"), *((row, row) for row in ROWS), ("tflite/int8", "tflite/fp32")}
    assert next(iter(sides)) == ("pytorch", "pytorch")
    assert wanted <= set(sides)
    assert all(one["scores"]["zero_shot"]["value"] > 0.8 for one in sides.values())
    assert sides["pytorch", "pytorch"]["kept"] is None
    assert sides["tflite/fp32", "tflite/fp32"]["kept"]["image_to_text_tau"]["value"] > 0.9999
    assert abs(sides["tflite/int8", "tflite/int8"]["kept"]["zero_shot_lost"]["value"]) <= 0.01


def test_a_task_needs_scenes_and_whole_files(nano: tuple[Ran, Path], cache: Path, tmp_path: Path) -> None:
    """Another model's folder, a changed file, and --task beside --matrix are refused by name."""
    folder = tmp_path / "copy"
    shutil.copytree(nano[1], folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["model"]["id"] = "mobileclip_s1"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "manifest.json").write_text(json.dumps(manifest))
    file = folder / "tflite" / "image_int8.tflite"
    file.write_bytes(file.read_bytes()[:-1] + b"x")

    spoiled = mcconvert("verify", folder, "--task", cache=cache)
    foreign = mcconvert("verify", tmp_path / "other", "--task", cache=cache)
    both = mcconvert("verify", folder, "--task", "--matrix", cache=cache)

    assert (spoiled.code, foreign.code, both.code) == (6, 2, 2)
    assert "tflite/image_int8.tflite was changed" in spoiled.err
    assert "mobileclip_s1 was not trained on drawn scenes" in foreign.err
    assert "goes with neither --matrix nor --hashes-only" in both.err


def test_pixels_in_gives_the_same_answers(
    nano: tuple[Ran, Path], cache: Path, scenes: dict[str, Path], tmp_path: Path
) -> None:
    """`--input image`: files beside the others that take uint8, and embed as the float files do."""
    made = mcconvert(
        "--model", "nano", "--tower", "image", "--target", "tflite", "--quant", "fp32", "--input", "image",
        "--out", nano[1].parent, cache=cache,
    )  # fmt: skip
    folder = nano[1].parent / "mobileclip_nano_pixels"
    (entry,) = json.loads((folder / "manifest.json").read_text())["artifacts"]

    ran = mcconvert(
        "embed", *scenes.values(), "--with", f"{nano[1]}:tflite/fp32", "--with", folder, "--out", tmp_path / "x.npz",
        cache=cache,
    )  # fmt: skip

    assert (made.code, ran.code) == (0, 0), made.err + ran.err
    assert (entry["inputs"][0]["dtype"], entry["inputs"][0]["shape"]) == ("uint8", [1, 64, 64, 3])
    with np.load(tmp_path / "x.npz") as rows:
        assert np.abs(rows["embedding_0"] - rows["embedding_1"]).max() < 1e-5
