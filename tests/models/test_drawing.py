"""A drawing shows what the scene says, always the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from converter.models.drawing import CANVAS, RGB, draw
from converter.models.scenes import COLOURS, SHAPES, TEXTURES, Kind, Scene

SCENE = Scene(kind=Kind("circle", "red", "plain"), count=1, position="left", background="white", seed=7)


def test_the_same_scene_is_the_same_image() -> None:
    """And another seed moves and shades it."""
    assert np.array_equal(_pixels(SCENE), _pixels(SCENE))
    assert not np.array_equal(_pixels(SCENE), _pixels(replace(SCENE, seed=8)))


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        ("left", (0.24, 0.5)),
        ("right", (0.76, 0.5)),
        ("top", (0.5, 0.24)),
        ("bottom", (0.5, 0.76)),
        ("middle", (0.5, 0.5)),
    ],
)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_objects_are_where_the_caption_says(position: str, expected: tuple[float, float], count: int) -> None:
    """Their common centre, as shares of the image."""
    rows, columns = np.nonzero(_objects(replace(SCENE, position=position, count=count)))

    assert np.allclose((columns.mean() / CANVAS, rows.mean() / CANVAS), expected, atol=0.03)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("position", ["left", "top", "middle"])
def test_there_are_as_many_objects_as_the_caption_says(position: str, count: int) -> None:
    """Counted as runs of object along the line on which they stand."""
    objects = _objects(replace(SCENE, position=position, count=count))
    along = objects.any(axis=1 if position == "left" else 0).astype(int)

    assert (np.diff(along, prepend=0) == 1).sum() == count


@pytest.mark.parametrize("colour", [name for name in COLOURS if name != "white"])
def test_plain_objects_have_their_colour(colour: str) -> None:
    """Nearest to it of all colours."""
    scene = replace(SCENE, kind=Kind("square", colour, "plain"))
    seen = _pixels(scene)[_objects(scene)].mean(axis=0)

    assert min(RGB, key=lambda name: float(np.abs(seen - np.asarray(RGB[name])).sum())) == colour


def test_no_two_shapes_and_no_two_textures_look_alike() -> None:
    """At least a twentieth of an object's area differs; the twin is a shape and itself."""
    shapes = [_objects(replace(SCENE, kind=Kind(shape, "red", "plain"))) for shape in SHAPES]
    textures = [_pixels(replace(SCENE, kind=Kind("circle", "red", texture))).sum(axis=2) for texture in TEXTURES]

    assert _differ(shapes) and _differ(textures)
    assert not _differ([shapes[0], shapes[0]])


def _differ(images: list[np.ndarray]) -> bool:
    area = np.pi * (0.15 * CANVAS) ** 2
    pairs = [(a, b) for index, a in enumerate(images) for b in images[:index]]
    return all((a != b).sum() > area / 20 for a, b in pairs)


def _pixels(scene: Scene) -> np.ndarray:
    return np.asarray(draw(scene))


def _objects(scene: Scene) -> np.ndarray:
    """Where the image is not its background, whose colour is in the corner."""
    pixels = _pixels(scene).astype(int)
    return np.abs(pixels - pixels[0, 0]).sum(axis=2) > 30
