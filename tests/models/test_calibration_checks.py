"""Calibration samples that are not what a model meets are noticed; photographs and captions are not."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np
import pytest
from PIL import Image

from converter.errors import UsageError
from converter.models.calibration_checks import caption_cautions, picture_cautions
from converter.models.captions import calibration_captions, parity_captions
from converter.models.drawing import draw
from converter.models.photographs import calibration_views, parity_views
from converter.models.preprocessing import prepare
from converter.models.scenes import calibration_scenes, parity_scenes
from converter.models.tokenizer import tokenize
from converter.records import ModelSpec

SIZE, COUNT = 64, 24
Pixels = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def small(spec: ModelSpec) -> ModelSpec:
    """The default model at 64 pixels, for speed."""
    return dataclasses.replace(spec, preprocessing=dataclasses.replace(spec.preprocessing, size=SIZE))


@pytest.fixture(scope="module")
def sane(small: ModelSpec) -> Pixels:
    """Built-in photographs to calibrate on."""
    return prepare((image for _, image in calibration_views(COUNT)), small.preprocessing)


@pytest.fixture(scope="module")
def others(small: ModelSpec) -> Pixels:
    """Photographs of other things."""
    return prepare((image for _, image in islice(parity_views(), 0, None, 3)), small.preprocessing)


def noise(side: int) -> Pixels:
    """Random pixels, `side` x `side` of them enlarged to the size of the others."""
    small = np.random.default_rng(0).integers(0, 256, (COUNT, side, side, 3), np.uint8)
    pictures = [Image.fromarray(one).resize((SIZE, SIZE), Image.Resampling.BILINEAR) for one in small]
    return np.stack([np.asarray(one) for one in pictures])


def test_photographs_of_other_things_are_no_cause_for_caution(sane: Pixels, others: Pixels) -> None:
    """Nor is the sane set itself."""
    assert picture_cautions(others, sane) == ()
    assert picture_cautions(sane, sane) == ()


def test_scenes_are_held_against_scenes(small: ModelSpec) -> None:
    """Drawn ones have flat grounds, some of them noisy."""
    one, other = (
        prepare((draw(scene) for scene in islice(scenes, 40)), small.preprocessing)
        for scenes in (calibration_scenes(40), parity_scenes())
    )

    assert picture_cautions(other, one) == ()


@pytest.mark.parametrize(
    ("side", "why"), [(SIZE, "24 of 24 calibration pictures look like noise"), (32, "no large forms")]
)
def test_noise_is_noticed(sane: Pixels, side: int, why: str) -> None:
    """The twins: random pixels, and random pixels enlarged."""
    (caution,) = picture_cautions(noise(side), sane)

    assert why in caution


def test_noise_among_photographs_is_noticed_where_it_is_a_quarter(sane: Pixels, others: Pixels) -> None:
    """One noisy picture in ten is somebody's picture."""
    few, many = (np.concatenate([others[:20], noise(SIZE)[:count]]) for count in (2, 8))

    assert picture_cautions(few, sane) == ()
    assert "8 of 28" in picture_cautions(many, sane)[0]


def test_pixels_that_were_scaled_are_noticed(sane: Pixels, others: Pixels) -> None:
    """Shares of white that were saved as whole numbers, or a twentieth of the light."""
    (caution,) = picture_cautions(others // 20, sane)

    assert "between 0 and 12 of 255" in caution


def test_one_colour_is_refused(sane: Pixels, others: Pixels) -> None:
    """All of them; some are said."""
    plain = np.stack([np.full((SIZE, SIZE, 3), 10 * index, np.uint8) for index in range(COUNT)])

    with pytest.raises(UsageError, match="all 24 calibration pictures are of one colour each"):
        picture_cautions(plain, sane)
    assert "24 of 46 calibration pictures are of one colour" in picture_cautions(
        np.concatenate([plain, others]), sane
    )[0]  # fmt: skip


def test_few_and_equal_pictures_are_noticed(sane: Pixels, others: Pixels) -> None:
    """Seven, or many copies of three."""
    assert picture_cautions(others[::4][:7], sane)[0].startswith("6 calibration pictures are too few")
    assert picture_cautions(others[[0, 8, 16] * 8], sane)[0] == "of 24 calibration pictures only 3 differ"


def cautions(spec: ModelSpec, texts: Sequence[str]) -> tuple[str, ...]:
    """Of these captions beside the built-in ones."""
    sane = calibration_captions()[:64]
    return caption_cautions(spec, tokenize(texts, spec), texts, tokenize(sane, spec), sane)


def test_captions_are_no_cause_for_caution(spec: ModelSpec) -> None:
    """Other ones of the same kind."""
    assert cautions(spec, calibration_captions()[64:]) == ()
    assert cautions(spec, [text for text in parity_captions() if text.isascii() and 10 < len(text) < 60]) == ()


def test_texts_that_are_no_captions_are_noticed(spec: ModelSpec) -> None:
    """The twins: codes, whole articles, copies, few; blanks alone are refused."""
    generator = np.random.default_rng(0)
    codes = ["".join(generator.choice(list("0123456789abcdef-_/"), 20)) for _ in range(32)]
    articles = [" ".join(calibration_captions()[index : index + 30]) for index in range(32)]

    assert "characters a token, the built-in ones" in cautions(spec, codes)[0]
    assert "32 of 32 calibration captions are longer than the 77 tokens" in cautions(spec, articles)[0]
    assert cautions(spec, ["a dog on a beach"] * 32)[0] == "of 32 calibration captions only 1 differ"
    assert cautions(spec, ["a dog on a beach", "a cat"])[0].startswith("2 calibration captions are too few")
    with pytest.raises(UsageError, match="none of the 9 calibration captions has a word"):
        cautions(spec, [""] * 9)
