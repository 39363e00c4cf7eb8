"""A scene's pixels: objects from formulas, textures, backgrounds; the same scene gives the same image.

Drawn at twice the size that the bundled model takes and without smooth edges; the model's own resizing smooths them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from converter.models.scenes import Scene

if TYPE_CHECKING:
    from PIL.Image import Image

type Plane = npt.NDArray[np.float64]
type Mask = npt.NDArray[np.bool_]

CANVAS = 128
RGB = {
    "red": (215, 30, 35),
    "orange": (245, 135, 20),
    "yellow": (245, 225, 50),
    "green": (35, 150, 55),
    "blue": (40, 75, 210),
    "purple": (125, 45, 155),
    "pink": (250, 150, 195),
    "white": (245, 245, 245),
    "black": (18, 18, 18),
    "gray": (135, 135, 135),
}
SHADE = 15
"""How far a channel of an object or of a background may be from its colour's."""
CENTRES = {"left": (0.24, 0.5), "right": (0.76, 0.5), "top": (0.5, 0.24), "bottom": (0.5, 0.76), "middle": (0.5, 0.5)}
SPACING = {1: 0.0, 2: 0.4, 3: 0.31}
RADIUS = {1: (0.16, 0.22), 2: (0.145, 0.185), 3: (0.13, 0.15)}
"""Shares of the canvas: from one object's centre to the next's, and half an object's width."""
SHIFT = 0.02
TURN = 0.14
"""In radians: little, or a square would be a diamond."""
PERIOD = 13.0
"""Pixels from stripe to stripe, from dot to dot, and over two checks."""


def draw(scene: Scene) -> Image:
    """The scene as an RGB image of `CANVAS` pixels a side."""
    from PIL import Image

    generator = np.random.default_rng(scene.seed)
    canvas = _background(scene.background, generator)
    radius = generator.uniform(*RADIUS[scene.count]) * CANVAS
    colour = _shade(scene.kind.colour, generator)
    for centre in _centres(scene, generator):
        _put_object(canvas, scene, colour, centre * CANVAS, radius, generator)
    return Image.fromarray(canvas.round().clip(0, 255).astype(np.uint8))


def _background(name: str, generator: np.random.Generator) -> Plane:
    """(CANVAS, CANVAS, 3) in 0 to 255."""
    if name == "shaded":
        angle = generator.uniform(0, 2 * np.pi)
        rows, columns = np.mgrid[0:CANVAS, 0:CANVAS] / CANVAS - 0.5
        slope = columns * np.cos(angle) + rows * np.sin(angle)
        return np.repeat((130 + 150 * slope)[..., None], 3, axis=2)
    if name == "noisy":
        grains = generator.uniform(40, 220, (CANVAS // 4, CANVAS // 4, 1))
        return grains.repeat(4, axis=0).repeat(4, axis=1).repeat(3, axis=2)
    return np.tile(_shade(name, generator), (CANVAS, CANVAS, 1))


def _shade(name: str, generator: np.random.Generator) -> Plane:
    return np.asarray(RGB[name], np.float64) + generator.uniform(-SHADE, SHADE, 3)


def _centres(scene: Scene, generator: np.random.Generator) -> Plane:
    """(count, 2) as x and y: in a column at the left and the right, else in a row."""
    along = (np.arange(scene.count) - (scene.count - 1) / 2) * SPACING[scene.count]
    step = (0.0, 1.0) if scene.position in ("left", "right") else (1.0, 0.0)
    centres: Plane = np.asarray(CENTRES[scene.position]) + along[:, None] * np.asarray(step)
    return centres + generator.uniform(-SHIFT, SHIFT, centres.shape)


def _put_object(
    canvas: Plane, scene: Scene, colour: Plane, centre: Plane, radius: float, generator: np.random.Generator
) -> None:
    """Change the canvas where the object is; all formulas are in its own axes, from -1 to 1."""
    left, top = (max(int(value - radius - 1), 0) for value in centre)
    right, bottom = (min(int(value + radius + 2), CANVAS) for value in centre)
    rows, columns = np.mgrid[top:bottom, left:right] + 0.5
    x, y = (columns - centre[0]) / radius, (rows - centre[1]) / radius
    angle = generator.uniform(-TURN, TURN)
    x, y = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    inside = _shape(scene.kind.shape, x, y)
    second = _texture(scene.kind.texture, x * radius, y * radius, generator.uniform(0, PERIOD, 2))
    patch = canvas[top:bottom, left:right]
    patch[inside] = colour
    patch[inside & second] = _contrast(colour)


def _contrast(colour: Plane) -> Plane:
    """The second colour of a texture: darker, or lighter where the object is dark."""
    dark = colour @ np.array([0.299, 0.587, 0.114]) < 90
    return colour + 0.6 * (255 - colour) if dark else colour * 0.35


def _shape(name: str, x: Plane, y: Plane) -> Mask:
    """Where a shape is in the square from -1 to 1, y downwards."""
    distance = np.hypot(x, y)
    inside: dict[str, Any] = {
        "circle": lambda: distance < 0.92,
        "square": lambda: np.maximum(abs(x), abs(y)) < 0.82,
        "triangle": lambda: (y < 0.8) & (abs(x) < (y + 0.95) * 0.56),
        "star": lambda: _in_star(x, y),
        "heart": lambda: ((1.25 * x) ** 2 + (0.15 - 1.2 * y) ** 2 - 1) ** 3 < (1.25 * x) ** 2 * (0.15 - 1.2 * y) ** 3,
        "ring": lambda: (distance > 0.5) & (distance < 0.95),
        "cross": lambda: (np.minimum(abs(x), abs(y)) < 0.32) & (np.maximum(abs(x), abs(y)) < 0.92),
        "diamond": lambda: abs(x) / 0.75 + abs(y) < 1.0,
        "crescent": lambda: (distance < 0.95) & (np.hypot(x - 0.5, y) > 0.75),
        "arrow": lambda: ((abs(y) < 0.3) & (x > -0.95) & (x < 0.15)) | ((x >= 0.1) & (abs(y) < (0.98 - x) * 0.95)),
    }
    mask: Mask = inside[name]()
    return mask


def _in_star(x: Plane, y: Plane) -> Mask:
    """Five points: within a fifth of the circle, the side of the line from a point (1) to a notch (0.45)."""
    fifth = 2 * np.pi / 5
    turned = np.mod(np.arctan2(x, -y) + fifth / 2, fifth) - fifth / 2
    along, across = np.hypot(x, y) * np.cos(turned), np.hypot(x, y) * abs(np.sin(turned))
    notch_x, notch_y = 0.45 * np.cos(fifth / 2), 0.45 * np.sin(fifth / 2)
    inside: Mask = (along - 1) * notch_y - across * (notch_x - 1) < 0
    return inside


def _texture(name: str, x: Plane, y: Plane, phase: Plane) -> Mask:
    """Where the second colour is; x and y in pixels of the canvas."""
    across, down = np.mod(x + phase[0], PERIOD) / PERIOD, np.mod(y + phase[1], PERIOD) / PERIOD
    second: dict[str, Mask] = {
        "plain": np.zeros(x.shape, bool),
        "striped": np.mod(across + down, 1.0) < 0.5,
        "dotted": np.hypot(across - 0.5, down - 0.5) < 0.3,
        "checked": (across < 0.5) ^ (down < 0.5),
    }
    return second[name]
