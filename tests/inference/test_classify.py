"""`mcconvert classify`: probabilities that are the model's, the best label first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converter.errors import UsageError
from converter.inference.classifying import probabilities, prompts
from converter.publishing.manifest import read_manifest
from tests.inference.conftest import SCALE, text_reference, use, write_toy

LABELS = ["cat", "dog", "red bicycle"]
CLOSE = 2e-3
"""Rounding of the toy towers, times the logit scale."""


def shares(out: str, image: int, column: int = 0) -> dict[str, float]:
    guesses = json.loads(out)["images"][image]["guesses"]
    return {guess["label"]: guess["probabilities"][column] for guess in guesses}


def expected(reference: np.ndarray[Any, Any], *templates: str) -> np.ndarray[Any, Any]:
    """(images, labels), from PyTorch's embeddings and the textbook's formula."""
    labels = np.mean([text_reference([template.format(label) for label in LABELS]) for template in templates], axis=0)
    scores = SCALE * reference @ (labels / np.linalg.norm(labels, axis=1, keepdims=True)).T
    return np.asarray(np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("templates", [["a photo of a {}"], ["{}", "a drawing of a {}"]])
def test_probabilities_are_those_of_the_model(
    pristine: Path, photographs: Path, reference: np.ndarray[Any, Any], templates: list[str]
) -> None:
    """Softmax of scaled cosines with the labels put into the templates; several templates are averaged."""
    said = [word for template in templates for word in ("--template", template)] if len(templates) > 1 else []

    done = use("classify", photographs, "--labels", ",".join(LABELS), *said, "--with", pristine, "--json")

    assert done.code == 0, done.err
    for image, row in enumerate(expected(reference, *templates)):
        got = shares(done.out, image)
        assert list(got.values()) == sorted(got.values(), reverse=True)
        assert [got[label] for label in LABELS] == pytest.approx(row.tolist(), abs=CLOSE)


def test_side_by_side_has_a_column_each_and_an_ensemble_their_mean(pristine: Path, photographs: Path) -> None:
    """Two files of one model agree; their mean probability is one column."""
    both = [photographs / "a.png", "--labels", "cat,dog", "--with", f"{pristine}:onnx/fp32", "--json",
            "--with", f"{pristine}:tflite/fp32"]  # fmt: skip
    apart, mean = use("classify", *both), use("classify", *both, "--ensemble")

    assert json.loads(apart.out)["columns"] == ["toy/onnx/fp32", "toy/tflite/fp32"]
    one, other = shares(apart.out, 0, 0), shares(apart.out, 0, 1)
    assert one == pytest.approx(other, abs=CLOSE)
    assert json.loads(mean.out)["columns"] == ["ensemble"]
    assert shares(mean.out, 0) == pytest.approx({key: (one[key] + other[key]) / 2 for key in one}, abs=1e-9)


def test_an_ensemble_may_join_different_models(pristine: Path, toy: Path, photographs: Path) -> None:
    """Probabilities have no space, so other weights and another scale are welcome."""
    write_toy(toy, read_manifest(toy).artifacts, id="other", logit_scale=1.0)

    done = use(
        "classify", photographs / "a.png", "--labels", "cat,dog", "--with", pristine, "--with", toy, "--ensemble"
    )

    assert done.code == 0, done.err
    assert "ensemble" in done.out


def test_an_image_file_finds_its_text_file(pristine: Path, photographs: Path) -> None:
    """The same row of the same manifest."""
    done = use(
        "classify", photographs / "a.png", "--labels", "cat,dog", "--with", pristine / "tflite" / "image_fp32.tflite"
    )

    assert done.code == 0
    assert "image and text by LiteRT" in done.err


def test_without_that_row_another_text_file_is_used_and_said(toy: Path, photographs: Path) -> None:
    """One tower from another format: the same model still."""
    entries = [one for one in read_manifest(toy).artifacts if one.step_id != "text/tflite/fp32"]
    write_toy(toy, entries)

    done = use("classify", photographs / "a.png", "--labels", "cat,dog", "--with", f"{toy}:tflite")

    assert done.code == 0
    assert "tflite/fp32 has no text tower: onnx/text_fp32_dynamic.onnx of the same model is used with it" in done.err


def test_without_any_text_file_it_is_refused(toy: Path, photographs: Path) -> None:
    """With the command that exports one."""
    write_toy(toy, [one for one in read_manifest(toy).artifacts if one.tower == "image"])

    done = use("classify", photographs / "a.png", "--labels", "cat,dog", "--with", toy)

    assert done.code == 2
    assert "toy has no text tower" in done.err
    assert "--tower text" in done.err


def test_untrained_weights_are_said_loudly(toy: Path, photographs: Path) -> None:
    """Their labels mean nothing."""
    trained = use("classify", photographs / "a.png", "--labels", "cat,dog", "--with", toy)
    write_toy(toy, read_manifest(toy).artifacts, trained=False)
    seeded = use("classify", photographs / "a.png", "--labels", "cat,dog", "--with", toy)

    assert "NOT TRAINED" in seeded.err
    assert "NOT TRAINED" not in trained.err


def test_labels_come_from_a_file_too(pristine: Path, photographs: Path, tmp_path: Path) -> None:
    """A line each, a byte order mark and Windows line ends included; the best three are shown."""
    (tmp_path / "labels.txt").write_bytes("\ufeffcat\r\ndog, sleeping\r\n\r\nhaus\r\nmoon".encode())

    done = use("classify", photographs / "a.png", "--labels-file", tmp_path / "labels.txt", "--top", "3", "--with",
               pristine, "--json")  # fmt: skip

    assert len(shares(done.out, 0)) == 3
    assert set(shares(done.out, 0)) < {"cat", "dog, sleeping", "haus", "moon"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--labels", "cat"], "two different ones or more"),
        (["--labels", "cat,dog,cat"], "'cat' is there twice"),
        (["--labels", " , "], "no labels"),
        (["--labels-file", "absent.txt"], "absent.txt cannot be read"),
        (["--labels", "cat,dog", "--template", "a cat"], "has no {}"),
        (["--labels", "cat,dog", "--ensemble"], "two models or more"),
    ],
)
def test_mistakes_are_refused_before_anything_is_loaded(photographs: Path, arguments: list[str], words: str) -> None:
    """One message, exit code 2."""
    done = use("classify", photographs, *arguments)

    assert done.code == 2
    assert words in done.err


def test_a_corrupt_image_is_skipped(pristine: Path, photographs: Path, tmp_path: Path) -> None:
    """The others are classified, and the exit code is 8."""
    (tmp_path / "x.jpg").write_bytes(b"\xff\xd8\xff")

    done = use(
        "classify", tmp_path / "x.jpg", photographs / "a.png", "--labels", "cat,dog", "--with", pristine, "--json"
    )

    assert done.code == 8
    assert [one["name"] for one in json.loads(done.out)["images"]] == [str(photographs / "a.png")]


def test_a_model_without_a_scale_is_refused(toy: Path, photographs: Path) -> None:
    """Cosines alone are no probabilities."""
    write_toy(toy, read_manifest(toy).artifacts, logit_scale=None)

    done = use("classify", photographs / "a.png", "--labels", "cat,dog", "--with", toy)

    assert done.code == 2
    assert "logit_scale" in done.err


def test_large_scales_do_not_overflow() -> None:
    """Rows add up to 1, whatever the scale."""
    vectors = np.eye(2, dtype=np.float32)

    assert probabilities(vectors, vectors, 1e4).tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_a_label_with_braces_is_only_text() -> None:
    """Templates are filled in, not formatted."""
    assert prompts(["{x}", "{0}"], "a {}") == ["a {x}", "a {0}"]
    with pytest.raises(UsageError, match="no {}"):
        prompts(["a", "b"], "a {x}")
