"""Stress samples are what they are called, at every size, and each can be embedded."""

from __future__ import annotations

import numpy as np
import pytest

from converter.models.stress import COLOURS, count_stress, stress_pixels, stress_tokens
from converter.records import ModelSpec


@pytest.mark.parametrize("size", [64, 224, 256])
def test_images_are_what_their_names_say(size: int) -> None:
    """Even levels, one pixel, every level from left to right, pure colours only."""
    images = {name.removeprefix("stress/"): image for name, image in stress_pixels(size).items()}

    assert all(image.shape == (size, size, 3) and image.dtype == np.uint8 for image in images.values())
    assert [set(images[name].ravel()) for name in ("black", "white", "grey")] == [{0}, {255}, {128}]
    assert np.count_nonzero(images["hot_pixel"].any(axis=2)) == 1
    assert {tuple(map(int, pixel)) for pixel in images["colours"].reshape(-1, 3)} == set(COLOURS)
    assert len(np.unique(images["noise"])) == 256
    assert (images["gradient"][0, 0, 0], images["gradient"][0, -1, 0]) == (0, 255)
    assert (np.diff(images["gradient"].astype(int), axis=1) >= 0).all()


def test_texts_are_what_their_names_say(spec: ModelSpec) -> None:
    """Each has an end token, for the tower reads its result there; ids stay within the vocabulary."""
    rows = {name.removeprefix("stress/"): row for name, row in stress_tokens(spec).items()}

    assert all(row.shape == (77,) and row.dtype == np.int32 for row in rows.values())
    assert all((row == spec.end_token).sum() == 1 for row in rows.values())
    assert all(row.min() >= 0 and row.max() == spec.end_token for row in rows.values())
    assert rows["empty"][:3].tolist() == [spec.start_token, spec.end_token, spec.pad_token]
    assert rows["end_only"][:2].tolist() == [spec.end_token, spec.pad_token]
    assert len(set(rows["one_word"][1:-1])) == 1
    assert rows["random"][-1] == rows["rare"][-1] == rows["one_word"][-1] == spec.end_token
    assert rows["random"].std() > 10_000
    assert rows["rare"][1:-1].min() > 49_000
    assert np.count_nonzero(rows["emoji"]) > 20


def test_they_are_always_the_same(spec: ModelSpec) -> None:
    """Noise and random tokens are seeded, or no reference could be stored."""
    one, two = (stress_pixels(64) | stress_tokens(spec) for _ in range(2))

    assert all(np.array_equal(one[name], two[name]) for name in one)


def test_only_the_last_names_are_counted() -> None:
    """A name that begins so among ordinary ones is an ordinary one."""
    assert count_stress(["a", "stress/x", "b", "stress/black", "stress/white"]) == 2
    assert count_stress(["stress/black"]) == 1
    assert count_stress(["a"]) == count_stress([]) == 0
