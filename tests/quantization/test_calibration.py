"""Calibration data: read as it was written, normalised as the model wants, and refused when foreign."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from converter.errors import ConversionError
from converter.quantization.calibration import calibration_of, load_calibration
from tests.converted import recipe

MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three pictures of 4 x 4 pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    np.savez(
        tmp_path / "images.npz", pixels=pixels, mean=np.array(MEAN), std=np.array(STD), names=np.array(list("abc"))
    )
    return tmp_path / "images.npz"


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Three rows of tokens."""
    np.savez(tmp_path / "texts.npz", tokens=np.arange(231, dtype=np.int32).reshape(3, 77))
    return tmp_path / "texts.npz"


def test_images_come_one_by_one_normalised_and_channels_last(images: Path) -> None:
    """float32 NHWC, scaled to [0, 1], less the mean, over the standard deviation."""
    pixels = np.load(images)["pixels"]
    samples = list(load_calibration(images))

    assert [sample["image"].shape for sample in samples] == [(1, 4, 4, 3)] * 3
    assert {str(sample["image"].dtype) for sample in samples} == {"float32"}
    assert np.allclose(samples[1]["image"][0], (pixels[1] / 255 - MEAN) / STD, atol=1e-6)


def test_images_are_those_that_parity_feeds(images: Path) -> None:
    """The same file read by the room that wrote it gives the same numbers."""
    from converter.models.samples import load_inputs

    stacked = np.concatenate([sample["image"] for sample in load_calibration(images)])

    assert np.array_equal(stacked.transpose(0, 3, 1, 2), load_inputs(images)["image"])


def test_pixels_that_the_graph_normalises_come_as_they_are(images: Path, tmp_path: Path) -> None:
    """uint8, as the files take them."""
    stored = dict(np.load(images))
    np.savez(tmp_path / "inside.npz", **stored, inside_graph=np.asarray(True))

    samples = list(load_calibration(tmp_path / "inside.npz"))

    assert np.array_equal(np.concatenate([sample["image"] for sample in samples]), stored["pixels"])
    assert samples[0]["image"].dtype == np.uint8


def test_texts_come_one_by_one_as_int32(texts: Path) -> None:
    """Rows of tokens, in order."""
    samples = list(load_calibration(texts))

    assert [sample["tokens"].shape for sample in samples] == [(1, 77)] * 3
    assert samples[2]["tokens"].dtype == np.int32
    assert samples[2]["tokens"][0, 0] == 154


def test_a_recipe_takes_as_many_as_it_says(texts: Path) -> None:
    """The first so many samples."""
    wanted = replace(recipe("static_w8a8"), samples=2, calibration_path=str(texts))

    assert len(list(calibration_of(wanted))) == 2


def test_where_there_are_fewer_all_are_taken(texts: Path) -> None:
    """Whoever measures with them says so; none at all is no calibration set."""
    np.savez(texts.with_name("none.npz"), tokens=np.zeros((0, 77), np.int32))

    assert len(list(load_calibration(texts, 64))) == 3
    with pytest.raises(ConversionError, match="holds not one sample"):
        load_calibration(texts.with_name("none.npz"))


def test_a_foreign_file_is_refused(tmp_path: Path, texts: Path, images: Path) -> None:
    """Missing, cut off, of another kind, of another type or without mean: each is named."""
    with pytest.raises(ConversionError, match="gone.npz: not a file of calibration samples"):
        load_calibration(tmp_path / "gone.npz")
    (tmp_path / "cut.npz").write_bytes(texts.read_bytes()[:300])
    with pytest.raises(ConversionError, match="cut.npz: not a file of calibration samples"):
        load_calibration(tmp_path / "cut.npz")
    np.savez(tmp_path / "other.npz", embedding=np.zeros(3))
    with pytest.raises(ConversionError, match=r"its arrays are \['embedding'\]"):
        load_calibration(tmp_path / "other.npz")
    np.savez(tmp_path / "wide.npz", tokens=np.zeros((3, 77), np.int64))
    with pytest.raises(ConversionError, match="not a file of calibration samples"):
        load_calibration(tmp_path / "wide.npz")
    np.savez(tmp_path / "bare.npz", pixels=np.load(images)["pixels"])
    with pytest.raises(ConversionError, match=r"its arrays are \['pixels'\]"):
        load_calibration(tmp_path / "bare.npz")
