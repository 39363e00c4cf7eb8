"""Our two halves of preprocessing together are open_clip's transform, bit for bit."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from itertools import islice

import numpy as np
import pytest
from PIL import Image

from converter.models.photographs import parity_views
from converter.models.preprocessing import normalise, prepare, transform
from converter.records import ModelSpec


@pytest.fixture(scope="module")
def photographs() -> list[Image.Image]:
    """Wide, tall, square, tiny, grey and transparent pictures."""
    views = [image for _, image in islice(parity_views(), 0, 64, 9)]
    first = views[0]
    return [*views, first.resize((90, 400)), first.resize((13, 17)), first.convert("L"), first.convert("RGBA")]


@pytest.mark.parametrize("name", ["mobileclip_s1", "mobileclip_b", "mobileclip2_s3", "mobileclip2_l_14"])
def test_prepare_and_normalise_are_open_clips_transform(
    specs: Mapping[str, ModelSpec], photographs: list[Image.Image], name: str
) -> None:
    """Mean 0 and OpenAI's, 224 and 256, bilinear and bicubic: the floats are equal, not close."""
    preprocessing = specs[name].preprocessing
    expected = np.stack([transform(preprocessing)(image).numpy() for image in photographs])

    pixels = prepare(photographs, preprocessing)
    floats = normalise(pixels, preprocessing.mean, preprocessing.std)

    assert pixels.dtype == np.uint8
    assert pixels.shape == (len(photographs), preprocessing.size, preprocessing.size, 3)
    assert floats.dtype == np.float32
    assert floats.flags.c_contiguous
    assert np.array_equal(floats, expected)


def test_the_transform_is_the_one_that_open_clip_builds_for_its_own_weights(specs: Mapping[str, ModelSpec]) -> None:
    """With the settings of open_clip's table of pretrained weights, step by step."""
    from open_clip.pretrained import get_pretrained_cfg
    from open_clip.transform import PreprocessCfg, image_transform_v2

    theirs = get_pretrained_cfg("MobileCLIP2-L-14", "dfndr2b")
    keys = ("mean", "std", "interpolation", "resize_mode")
    settings = PreprocessCfg(size=224, **{key: theirs[key] for key in keys})

    ours = transform(specs["mobileclip2_l_14"].preprocessing)

    assert str(ours) == str(image_transform_v2(settings, is_train=False))


@pytest.mark.parametrize(
    "change", [{"interpolation": "bicubic"}, {"mean": (0.48, 0.46, 0.41)}, {"std": (0.9, 1.0, 1.0)}]
)
def test_a_wrong_setting_shows(spec: ModelSpec, photographs: list[Image.Image], change: dict[str, object]) -> None:
    """The comparison above would notice the mistakes that exporters make."""
    wrong = dataclasses.replace(spec.preprocessing, **change)
    expected = transform(spec.preprocessing)(photographs[0]).numpy()

    floats = normalise(prepare(photographs[:1], wrong), wrong.mean, wrong.std)

    assert not np.array_equal(floats[0], expected)


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
