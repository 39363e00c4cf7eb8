"""A captioned set of scenes: what the bundled model was trained on, is judged on, and is calibrated with.

A scene is a few equal objects somewhere on a background: "two striped red stars on the left, blue background". Its
kind is shape, colour and texture. A fifth of all kinds is held out from training, such that every pair of two of the
three is still seen there: who knows a held-out kind has put it together. `converter.models.drawing` makes the pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, product
from typing import NamedTuple

import numpy as np

SHAPES = ("circle", "square", "triangle", "star", "heart", "ring", "cross", "diamond", "crescent", "arrow")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white", "black")
TEXTURES = ("plain", "striped", "dotted", "checked")
POSITIONS = ("left", "right", "top", "bottom", "middle")
BACKGROUNDS = ("gray", "white", "black", "blue", "green", "yellow", "shaded", "noisy")
NUMBERS = ("one", "two", "three")

PARITY_IMAGES = 64
PARITY_CAPTIONS = 256
HELD_OUT_EVERY = 5
FAMILY = 4
"""Training scenes come in families: one scene, and three that differ from it in one property each."""
SEEDS = {"training": 1, "held-out": 2, "parity": 3, "calibration": 4}

FULL_PHRASINGS = (
    "{objects} {place}, {background} background",
    "{background} background with {objects} {place}",
    "a picture of {objects} {place} of a {background} background",
    "{place}: {objects}, {background} background",
)
"""All six properties; two scenes that differ have different captions in each."""
PARTIAL_PHRASINGS = ("{objects}", "a picture of {objects}", "{objects} {place}", "{objects}, {background} background")
KIND_PROMPTS = ("{kind}", "a picture of a {kind}", "one {kind}", "two {kinds}", "three {kinds}")
PARTIAL_SHARE = 0.15
"""Of training captions: enough to understand prompts that leave something out."""


class Kind(NamedTuple):
    """What the objects of a scene are."""

    shape: str
    colour: str
    texture: str


@dataclass(frozen=True, kw_only=True)
class Scene:
    """All that a drawing depends on; `seed` rules what a caption does not say (exact places, sizes, shades)."""

    kind: Kind
    count: int
    position: str
    background: str
    seed: int

    @property
    def description(self) -> tuple[Kind, int, str, str]:
        """All that a caption says."""
        return self.kind, self.count, self.position, self.background


def kinds(*, held_out: bool) -> tuple[Kind, ...]:
    """The kinds that training never draws, or those that it draws, always in the same order."""
    return tuple(kind for kind in map(Kind._make, product(SHAPES, COLOURS, TEXTURES)) if is_held_out(kind) == held_out)


def is_held_out(kind: Kind) -> bool:
    """A Latin square: at most one texture of each shape in each colour, and so for the other pairs."""
    row = SHAPES.index(kind.shape) + 2 * COLOURS.index(kind.colour) + 3 * TEXTURES.index(kind.texture)
    return row % HELD_OUT_EVERY == 0


def training_scenes(seed: int = SEEDS["training"]) -> Iterator[Scene]:
    """Without end, in families of `FAMILY` neighbours; no kind is a held-out one."""
    generator, among = np.random.default_rng(seed), kinds(held_out=False)
    while True:
        scene = _draw_scene(generator, among)
        yield scene
        for _ in range(FAMILY - 1):
            yield _neighbour(scene, generator)


def held_out_scenes(seed: int = SEEDS["held-out"]) -> Iterator[Scene]:
    """Scenes of held-out kinds, no two of the same description; each kind comes once before any comes again."""
    return _distinct(seed, kinds(held_out=True))


def parity_scenes() -> list[Scene]:
    """The 64 images that files are judged on, each of another held-out kind."""
    return list(islice(held_out_scenes(SEEDS["parity"]), PARITY_IMAGES))


def parity_captions() -> tuple[str, ...]:
    """The 256 captions that files are judged on, of different scenes of held-out kinds, in all full phrasings."""
    return _captions(held_out_scenes(SEEDS["parity"]), PARITY_CAPTIONS)


def calibration_scenes(count: int) -> list[Scene]:
    """The first `count` scenes to calibrate quantization with, all of kinds that training draws."""
    return list(islice(_distinct(SEEDS["calibration"], kinds(held_out=False)), count))


def calibration_captions(count: int) -> tuple[str, ...]:
    """Captions to calibrate with, none of which is a parity caption."""
    return _captions(_distinct(SEEDS["calibration"], kinds(held_out=False)), count)


def caption(scene: Scene, phrasing: int = 0) -> str:
    """All six properties in words, in one of the `FULL_PHRASINGS`."""
    return _say(FULL_PHRASINGS[phrasing % len(FULL_PHRASINGS)], scene)


def training_caption(scene: Scene, generator: np.random.Generator) -> str:
    """Any phrasing, now and then one that leaves something out."""
    phrasings = PARTIAL_PHRASINGS if generator.random() < PARTIAL_SHARE else FULL_PHRASINGS
    return _say(phrasings[int(generator.integers(len(phrasings)))], scene)


def prompts(kind: Kind) -> tuple[str, ...]:
    """What to ask a zero-shot classifier of kinds for: a class's embedding is the mean of these."""
    return tuple(prompt.format(kind=_name(kind, 1), kinds=_name(kind, 2)) for prompt in KIND_PROMPTS)


def words() -> tuple[str, ...]:
    """Texts that hold every word of every caption and prompt, however it is put together."""
    background, kind, kind_prompts = BACKGROUNDS[0], kinds(held_out=False)[0], KIND_PROMPTS
    plurals = tuple(_name(Kind(shape, COLOURS[0], TEXTURES[0]), 2) for shape in SHAPES)
    scene = Scene(kind=kind, count=1, position=POSITIONS[0], background=background, seed=0)
    phrases = tuple(_say(phrasing, scene) for phrasing in (*FULL_PHRASINGS, *PARTIAL_PHRASINGS))
    prompted = tuple(prompt.format(kind=SHAPES[0], kinds=SHAPES[0]) for prompt in kind_prompts)
    places = tuple(_place(position) for position in POSITIONS)
    return (*SHAPES, *plurals, *COLOURS, *TEXTURES, *places, *BACKGROUNDS, *NUMBERS, *phrases, *prompted)


def _distinct(seed: int, among: Sequence[Kind]) -> Iterator[Scene]:
    generator = np.random.default_rng(seed)
    seen = set()
    while True:
        for index in generator.permutation(len(among)):
            scene = _draw_scene(generator, (among[int(index)],))
            if scene.description not in seen:
                seen.add(scene.description)
                yield scene


def _draw_scene(generator: np.random.Generator, among: Sequence[Kind]) -> Scene:
    kind = among[int(generator.integers(len(among)))]
    return Scene(
        kind=kind,
        count=int(generator.integers(1, len(NUMBERS) + 1)),
        position=_pick(POSITIONS, generator),
        background=_pick([name for name in BACKGROUNDS if name != kind.colour], generator),
        seed=int(generator.integers(2**31)),
    )


def _neighbour(scene: Scene, generator: np.random.Generator) -> Scene:
    """The scene with one property changed, and drawn anew."""
    while True:
        other = _draw_scene(generator, (scene.kind,))
        if changed := _change(scene, other, generator):
            return changed


def _change(scene: Scene, other: Scene, generator: np.random.Generator) -> Scene | None:
    """Nothing where the change would leave training's kinds, change nothing, or hide objects in the background."""
    match int(generator.integers(6)):
        case 0:
            changed = replace(scene, count=other.count)
        case 1:
            changed = replace(scene, position=other.position)
        case 2:
            changed = replace(scene, background=other.background)
        case 3:
            changed = replace(scene, kind=scene.kind._replace(shape=_pick(SHAPES, generator)))
        case 4:
            changed = replace(scene, kind=scene.kind._replace(colour=_pick(COLOURS, generator)))
        case _:
            changed = replace(scene, kind=scene.kind._replace(texture=_pick(TEXTURES, generator)))
    hidden = changed.background == changed.kind.colour
    if hidden or is_held_out(changed.kind) or changed.description == scene.description:
        return None
    return replace(changed, seed=other.seed)


def _captions(scenes: Iterator[Scene], count: int) -> tuple[str, ...]:
    return tuple(caption(scene, index) for index, scene in enumerate(islice(scenes, count)))


def _say(phrasing: str, scene: Scene) -> str:
    objects = f"{NUMBERS[scene.count - 1]} {_name(scene.kind, scene.count)}"
    return phrasing.format(objects=objects, place=_place(scene.position), background=scene.background)


def _place(position: str) -> str:
    return f"in the {position}" if position == "middle" else f"at the {position}"


def _name(kind: Kind, count: int) -> str:
    plural = "" if count == 1 else "es" if kind.shape == "cross" else "s"
    return f"{kind.texture} {kind.colour} {kind.shape}{plural}"


def _pick(among: Sequence[str], generator: np.random.Generator) -> str:
    return among[int(generator.integers(len(among)))]
