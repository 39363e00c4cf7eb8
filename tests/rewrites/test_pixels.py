"""R10: the graph's own normalising is the reference's, within the bound that it states."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from torch import nn

from converter.config import load_models
from converter.models.building import build
from converter.models.photographs import parity_views
from converter.models.preprocessing import normalise, prepare
from converter.models.seeded import awaken
from converter.rewrites.pixels import PixelsIn
from converter.rewrites.tower import rewrite_tower
from tests.pixels import INSIDE
from tests.tiny import tiny_clip

ROUNDINGS = 2.4e-7
"""Two roundings of float32, as a share of the value."""


def _levels() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """(1, 16, 16, 3): every level in every channel."""
    return np.repeat(np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1), 3, axis=3)


def _inside(module: nn.Module) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    pixels = torch.from_numpy(_levels()).permute(0, 3, 1, 2).contiguous()
    return np.asarray(module(pixels).numpy())


@pytest.mark.parametrize("name", sorted(load_models()))
def test_every_model_gets_what_the_reference_feeds_it(name: str) -> None:
    """All 256 levels of each channel, with each shipped model's own statistics."""
    preprocessing = load_models()[name].preprocessing
    expected = normalise(_levels(), preprocessing.mean, preprocessing.std)

    floats = _inside(PixelsIn(nn.Identity(), preprocessing.mean, preprocessing.std))

    assert floats.dtype == np.float32
    assert (np.abs(floats - expected) <= ROUNDINGS * np.abs(expected)).all()
    if preprocessing.std == (1.0, 1.0, 1.0):
        assert np.array_equal(floats, expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, spec in load_models().items() if spec.family == "mobileclip"])
def test_the_whole_tower_with_pixels_in_is_the_reference(name: str) -> None:
    """Two photographs, through the unmodified model and through the rewritten tower, awake weights."""
    spec = load_models()[name]
    preprocessing = replace(spec.preprocessing, inside_graph=True)
    photographs = [image for _, image in islice(parity_views(), 0, 64, 36)]
    pixels = prepare(photographs, preprocessing)
    floats = torch.from_numpy(normalise(pixels, preprocessing.mean, preprocessing.std))
    clip = build(spec)
    awaken(clip, floats.numpy(), None, 0)

    with torch.no_grad():
        expected = clip.eval().encode_image(floats, normalize=True)
        channels_first = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
        embeddings = rewrite_tower(clip, "image", preprocessing)(channels_first)

    assert (embeddings - expected).abs().max() <= 1e-5
    assert (expected[0] - expected[1]).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("mean", "std"), [((0.485, 0.456, 0.406), INSIDE.std), (INSIDE.mean[::-1], INSIDE.std), (INSIDE.mean, (1, 1, 1))]
)
def test_twin_other_statistics_show(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    """The comparison above would catch ImageNet's mean, channels in the wrong order, and a forgotten deviation."""
    expected = normalise(_levels(), INSIDE.mean, INSIDE.std)

    floats = _inside(PixelsIn(nn.Identity(), mean, std))

    assert not (np.abs(floats - expected) <= ROUNDINGS * np.abs(expected)).all()


def test_mean_0_and_deviation_1_leave_one_operation() -> None:
    """A model that expects pixels / 255 pays for nothing else."""
    module = PixelsIn(nn.Identity(), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    traced = torch.jit.trace(module, torch.zeros(1, 3, 4, 4, dtype=torch.uint8))

    kinds = [node.kind() for node in traced.graph.nodes()]
    assert "aten::div" in kinds
    assert not {"aten::sub", "aten::mul"} & set(kinds)


def test_the_tower_takes_pixels_only_where_the_record_says_so() -> None:
    """And its notes name the rewrite."""
    clip = tiny_clip()

    assert rewrite_tower(clip, "image", INSIDE).applied[-1] == "R10 pixels in"
    assert "R10 pixels in" not in rewrite_tower(clip, "image").applied
    assert "R10 pixels in" not in rewrite_tower(clip, "text", INSIDE).applied
