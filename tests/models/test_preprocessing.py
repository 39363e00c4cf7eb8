"""Our two halves of preprocessing together are the library's own transform, bit for bit."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from itertools import islice
from typing import Any

import numpy as np
import pytest
from PIL import Image

from converter.config import load_models
from converter.models.photographs import parity_views
from converter.models.preprocessing import LONGEST_RATIO, normalise, prepare
from converter.records import ModelSpec, Preprocessing
from tests.transforms import open_clip_transform, timm_transform

IMAGENET: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


@pytest.fixture(scope="module")
def photographs() -> list[Image.Image]:
    """Wide, tall, square and tiny pictures."""
    views = [image for _, image in islice(parity_views(), 0, 64, 9)]
    first = views[0]
    return [*views, first.resize((90, 400)), first.resize((13, 17)), first.resize((901, 10)), first.resize((1, 1))]


@pytest.mark.parametrize("name", sorted(load_models()))
def test_every_shipped_model_gets_what_open_clip_feeds_it(
    specs: Mapping[str, ModelSpec], photographs: list[Image.Image], name: str
) -> None:
    """Mean 0 and OpenAI's, 224 and 256, bilinear and bicubic: the floats are equal, not close."""
    preprocessing = specs[name].preprocessing
    odd = [*photographs, photographs[0].convert("L"), photographs[0].convert("RGBA")]
    expected = np.stack([open_clip_transform(preprocessing)(image).numpy() for image in odd])

    pixels = prepare(odd, preprocessing)
    floats = normalise(pixels, preprocessing.mean, preprocessing.std)

    assert pixels.dtype == np.uint8
    assert pixels.shape == (len(odd), preprocessing.size, preprocessing.size, 3)
    assert floats.dtype == np.float32
    assert floats.flags.c_contiguous
    assert np.array_equal(floats, expected)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("resize", ["shortest", "longest", "squash"])
def test_every_way_to_resize_is_open_clips(
    spec: ModelSpec, photographs: list[Image.Image], resize: Any, interpolation: Any
) -> None:
    """The longest side with a black border, both sides squashed, or the shortest side."""
    record = dataclasses.replace(spec.preprocessing, resize=resize, interpolation=interpolation)
    pictures = photographs[:-2] if resize == "longest" else photographs  # a side of no pixels stops open_clip
    expected = np.stack([open_clip_transform(record)(image).numpy() for image in pictures])

    assert np.array_equal(normalise(prepare(pictures, record), record.mean, record.std), expected)


@pytest.mark.parametrize("crop_pct", [0.875, 0.9, 0.95, 1.0])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_a_resize_beyond_the_crop_is_timms(photographs: list[Image.Image], crop_pct: float, interpolation: Any) -> None:
    """Resize to size / crop_pct, rounded down, then crop."""
    record = _timm_record(224, crop_pct, interpolation=interpolation)
    expected = np.stack([timm_transform(record, crop_pct)(image).numpy() for image in photographs])

    assert np.array_equal(normalise(prepare(photographs, record), record.mean, record.std), expected)


def test_timms_squash_crops_too(photographs: list[Image.Image]) -> None:
    """Both sides to size / crop_pct, then the centre."""
    record = _timm_record(256, 0.95, interpolation="bicubic", resize="squash")
    expected = np.stack([timm_transform(record, 0.95)(image).numpy() for image in photographs])

    assert np.array_equal(normalise(prepare(photographs, record), record.mean, record.std), expected)


@pytest.mark.parametrize("size", [(20_000, 1), (1, 20_000), (26_000, 256), (301, 3)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_an_extreme_picture_is_resized_only_where_the_crop_looks(
    spec: ModelSpec, size: tuple[int, int], interpolation: Any
) -> None:
    """What comes out is what resizing the whole gives, within one level; the whole of the first would be 4 GB."""
    record = dataclasses.replace(spec.preprocessing, size=64, interpolation=interpolation)
    noise = np.random.default_rng(3).integers(0, 256, (size[1], size[0], 3), np.uint8)
    picture = Image.fromarray(noise)
    assert max(size) >= LONGEST_RATIO * min(size)

    seen = prepare([picture], record)[0].astype(int)

    assert np.abs(seen - _whole(picture, record)).max() <= 1


@pytest.mark.parametrize(
    "change",
    [
        {"interpolation": "bicubic"},
        {"mean": (0.48, 0.46, 0.41)},
        {"std": (0.9, 1.0, 1.0)},
        {"resize": "squash"},
        {"resize_size": 292},
    ],
)
def test_a_wrong_setting_shows(spec: ModelSpec, photographs: list[Image.Image], change: dict[str, Any]) -> None:
    """The comparison above would notice the mistakes that exporters make."""
    wrong = dataclasses.replace(spec.preprocessing, **change)
    expected = open_clip_transform(spec.preprocessing)(photographs[-4]).numpy()

    floats = normalise(prepare(photographs[-4:], wrong), wrong.mean, wrong.std)

    assert not np.array_equal(floats[0], expected)


def test_the_settings_are_those_of_open_clips_own_weights(specs: Mapping[str, ModelSpec]) -> None:
    """Read from open_clip's table of pretrained weights."""
    from open_clip.pretrained import get_pretrained_cfg

    theirs = get_pretrained_cfg("MobileCLIP2-L-14", "dfndr2b")
    ours = specs["mobileclip2_l_14"].preprocessing

    assert (ours.mean, ours.std) == (tuple(theirs["mean"]), tuple(theirs["std"]))
    assert (ours.interpolation, ours.resize) == (theirs["interpolation"], theirs["resize_mode"])


def test_every_pixel_value_is_exact() -> None:
    """All 256 values, through torchvision's own two steps."""
    from torchvision.transforms import Compose, Normalize, ToTensor

    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    pixels = np.repeat(np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1), 3, axis=3)
    expected = Compose([ToTensor(), Normalize(mean, std)])(Image.fromarray(pixels[0])).numpy()

    assert np.array_equal(normalise(pixels, mean, std)[0], expected)


def test_no_image_gives_an_empty_batch(spec: ModelSpec) -> None:
    """Shape and dtype hold for nothing, too."""
    assert prepare([], spec.preprocessing).shape == (0, 256, 256, 3)


def _timm_record(size: int, crop_pct: float, **settings: Any) -> Preprocessing:
    resize_size = math.floor(size / crop_pct)
    return Preprocessing(size=size, resize_size=resize_size, value_range=(-2.2, 2.7), **IMAGENET, **settings)


def _whole(picture: Image.Image, record: Preprocessing) -> np.ndarray[Any, Any]:
    """The crop out of the whole resized picture."""
    size, short = record.size, min(picture.size)
    sides = [int(size * side / short) for side in picture.size]
    left, top = (round((side - size) / 2) for side in sides)
    whole = picture.resize((sides[0], sides[1]), Image.Resampling[record.interpolation.upper()])
    return np.asarray(whole.crop((left, top, left + size, top + size)), int)
