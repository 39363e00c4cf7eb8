"""An image model given as a file: quantized by the towers' recipes, judged beside it, its names kept."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from converter.cli_quantize_file import quantize_file_command
from converter.errors import ConversionError, UsageError
from converter.judged import QuantizedFile, QuantizedFiles, QuantizeOrder
from converter.pipeline.given_file import open_given, restore
from converter.pipeline.quantize_file import quantize_file
from converter.records import TOWERS, Artifact, Preprocessing, Tower
from tests.classifier import MEAN, STD, write_classifier, write_folder
from tests.converted import onnx_of, recipe

pytest.importorskip("ai_edge_quantizer", reason="needs the extra mcconvert[tflite]")

PREPROCESSING = Preprocessing(size=0, interpolation="bilinear", mean=MEAN, std=STD, value_range=(-2.2, 2.7))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The classifier, pictures to calibrate on, labelled ones to judge on, and dark ones."""
    place = tmp_path_factory.mktemp("given")
    write_classifier(place / "colours.onnx")
    write_folder(place / "calibration", 24, seed=1, classes=False)
    write_folder(place / "dark", 24, seed=1, classes=False, light=0.1)
    write_folder(place / "labelled", 40, seed=2, classes=True)
    return place


def _order(folder: Path, **changed: Any) -> QuantizeOrder:
    order = QuantizeOrder(
        file=str(folder / "colours.onnx"), recipe=dataclasses.replace(recipe("static_w8a8"), samples=0),
        formats=("tflite",), preprocessing=PREPROCESSING, calibration=str(folder / "calibration"),
        images=str(folder / "labelled"), out=str(folder / "out"), threads=1, rounds=5,
    )  # fmt: skip
    return dataclasses.replace(order, **changed)


@pytest.fixture(scope="module")
def made(folder: Path) -> QuantizedFiles:
    """Both formats at once."""
    return quantize_file(_order(folder, formats=()))


def _of(made: QuantizedFiles, fmt: str) -> QuantizedFile:
    return next(one for one in made.files if one.format == fmt)


@pytest.mark.parametrize("fmt", ["tflite", "onnx"])
def test_answers_survive(made: QuantizedFiles, fmt: str) -> None:
    """Of pictures that were not calibrated on; the file is smaller, and every figure is there."""
    one = _of(made, fmt)
    assert one.agreed is not None

    assert (made.calibrated_on, one.agreed.images) == (24, 40)
    assert one.agreed.top1.value >= 0.9
    assert one.agreed.centred_cosine_mean > 0.98
    assert one.agreed.nonfinite == 0
    assert one.size_ratio < 0.75
    assert min(one.milliseconds, one.latency_ratio, one.float_latency_ratio) > 0


@pytest.mark.parametrize("fmt", ["tflite", "onnx"])
def test_known_accuracy_is_found(made: QuantizedFiles, fmt: str) -> None:
    """The given file's own, and the quantized one's beside it."""
    known = _of(made, fmt).accuracy
    assert known is not None

    assert known.given.value >= 0.9
    assert abs(known.lost.value) <= 0.1
    assert known.lost.value == pytest.approx(known.given.value - known.quantized.value)


def test_the_files_keep_the_names_of_the_given_one(made: QuantizedFiles) -> None:
    """They take its place in an app without a change."""
    import onnxruntime
    from ai_edge_litert.interpreter import Interpreter

    session = onnxruntime.InferenceSession(_of(made, "onnx").path, providers=["CPUExecutionProvider"])
    signatures = Interpreter(_of(made, "tflite").path).get_signature_list()

    assert [one.name for one in session.get_inputs()] == ["pixels"]
    assert [one.name for one in session.get_outputs()] == ["logits"]
    assert signatures["serving_default"] == {"inputs": ["pixels"], "outputs": ["logits"]}


def test_ranges_from_dark_pictures_are_seen(folder: Path, made: QuantizedFiles) -> None:
    """The twin: what was calibrated wrong agrees less, and loses accuracy."""
    wrong = quantize_file(_order(folder, calibration=str(folder / "dark"), out=str(folder / "dark-out"))).files[0]
    right = _of(made, "tflite")
    assert wrong.agreed is not None
    assert right.agreed is not None

    assert wrong.agreed.centred_cosine_mean < right.agreed.centred_cosine_mean - 0.02


def test_a_tflite_file_is_quantized_as_it_is(folder: Path, made: QuantizedFiles) -> None:
    """It stays TFLite; for ONNX there is a reason instead of a file."""
    from converter.stages import to_tflite

    given = open_given(folder / "colours.onnx", folder / "copy")
    plain = to_tflite.convert(given.copy, to_tflite.Options(), None, folder / "copy")
    order = _order(folder, file=plain.path, formats=("tflite", "onnx"), recipe=recipe("dynamic_w8"))

    tflite, onnx = quantize_file(order).files

    assert tflite.agreed is not None
    assert tflite.agreed.top1.value >= 0.9
    assert onnx.path == ""
    assert "give the ONNX file" in onnx.why_not


def test_images_are_not_judged_on_what_was_calibrated_on(folder: Path) -> None:
    """The same folder twice is refused before anything is made."""
    with pytest.raises(UsageError, match="24 of the images that files are judged on are calibrated on too"):
        quantize_file(_order(folder, images=str(folder / "calibration")))


@pytest.mark.parametrize("tower", TOWERS)
def test_a_copy_gets_its_name_back(tower: Tower, tiny_parents: dict[Tower, Artifact], tmp_path: Path) -> None:
    """A tower's own name is the copy's; a text tower is no image model, and what it takes is said."""
    file = Path(onnx_of(tiny_parents[tower], tmp_path).path)
    if tower == "text":
        with pytest.raises(
            UsageError, match=r"it takes 'tokens' int32 \[1, 77\].*expected one input of float32 images"
        ):
            open_given(file, tmp_path / "copy")
        return
    given = open_given(file, tmp_path / "copy")
    before = Path(given.copy.path).read_bytes()
    restore(Path(given.copy.path), given)

    assert given.input_name == "image"
    assert Path(given.copy.path).read_bytes() == before


def test_what_is_no_model_is_refused(folder: Path, tmp_path: Path) -> None:
    """By its ending, by its bytes, by a size that it does not take."""
    (tmp_path / "a.onnx").write_bytes(b"no model")
    (tmp_path / "a.pt").write_bytes(b"")

    with pytest.raises(UsageError, match="expected a file that ends in .onnx or .tflite"):
        open_given(tmp_path / "a.pt", tmp_path)
    with pytest.raises(ConversionError):
        open_given(tmp_path / "a.onnx", tmp_path)
    with pytest.raises(UsageError, match="--size is 64; expected NCHW, 3 channels, one square size"):
        open_given(folder / "colours.onnx", tmp_path, size=64)


def test_the_command_prints_a_table_and_json(folder: Path) -> None:
    """Exit code 0, figures on standard output."""
    arguments = [
        str(folder / "colours.onnx"), "--recipe", "dynamic_w8", "--target", "tflite", "--mean", "imagenet", "--std",
        "0.229,0.224,0.225", "--images", str(folder / "labelled"), "--out", str(folder / "command"), "--threads", "1",
    ]  # fmt: skip

    table = CliRunner().invoke(quantize_file_command, arguments)
    program = CliRunner().invoke(quantize_file_command, [*arguments, "--json"])

    assert (table.exit_code, program.exit_code) == (0, 0), f"{table.exception} {program.exception}"
    assert "of the labels right" in table.stdout
    (file,) = json.loads(program.stdout)["files"]
    assert np.isclose(file["size_bytes"], Path(file["path"]).stat().st_size)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--mean", "a", "--std", "1"], "--mean a: expected 1 or 3 numbers"),
        (["--mean", "0", "--std", "0,1,1"], "expected numbers above 0"),
        (["--mean", "0", "--std", "1", "--recipe", "static_w8a"], "did you mean 'static_w8a8'"),
    ],
)
def test_wrong_options_are_refused(folder: Path, options: list[str], words: str) -> None:
    """With what was seen and what was expected."""
    ended = CliRunner().invoke(quantize_file_command, [str(folder / "colours.onnx"), *options])

    assert isinstance(ended.exception, UsageError)
    assert words in str(ended.exception)
