"""A larger held-out set of drawn scenes, to measure what files know rather than how close their numbers are.

It shares no scene with training, calibration or parity: kinds are held-out ones, seeds are its own, and whatever a
parity caption describes is left out. Each image comes with its caption, no caption fits two images, and every kind has
as many images as any other.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from converter.models.scenes import (
    FULL_PHRASINGS,
    Scene,
    caption,
    held_out_scenes,
    kinds,
    parity_captions,
    prompts,
)
from converter.records import ModelSpec, Preprocessing

SEED = 5
IMAGES_PER_KIND = 10
"""720 images: one of them is 0.14 points of zero-shot accuracy, and the interval of 88 % is 2.5 points to each side."""


def task_scenes(per_kind: int = IMAGES_PER_KIND) -> tuple[Scene, ...]:
    """`per_kind` scenes of each held-out kind, always the same."""
    judged = set(parity_captions())
    wanted = per_kind * len(kinds(held_out=True))
    found: list[Scene] = []
    taken: Counter[object] = Counter()
    for scene in held_out_scenes(SEED):
        if len(found) == wanted:
            break
        if taken[scene.kind] < per_kind and not judged & set(_phrased(scene)):
            taken[scene.kind] += 1
            found.append(scene)
    return tuple(found)


def task_texts(scenes: tuple[Scene, ...]) -> tuple[str, ...]:
    """The caption of each scene, in every phrasing in turn; after them the zero-shot prompts of each held-out kind."""
    captions = (caption(scene, index) for index, scene in enumerate(scenes))
    return (*captions, *(prompt for kind in kinds(held_out=True) for prompt in prompts(kind)))


def write_task_images(scenes: tuple[Scene, ...], preprocessing: Preprocessing, path: Path) -> None:
    """The drawn scenes as a sample file (`converter.models.samples`), without stress samples."""
    from converter.models.drawing import draw
    from converter.models.preprocessing import prepare

    mean, std = (np.asarray(values, np.float64) for values in (preprocessing.mean, preprocessing.std))
    names = np.asarray([caption(scene) for scene in scenes])
    inside = np.asarray(preprocessing.inside_graph)
    pixels = prepare(map(draw, scenes), preprocessing)
    np.savez(path, pixels=pixels, mean=mean, std=std, names=names, inside_graph=inside)


def write_task_texts(scenes: tuple[Scene, ...], spec: ModelSpec, path: Path) -> None:
    """Captions and prompts as a sample file."""
    from converter.models.tokenizer import tokenize

    texts = task_texts(scenes)
    np.savez(path, tokens=tokenize(texts, spec), names=np.asarray(texts))


def _phrased(scene: Scene) -> list[str]:
    return [caption(scene, phrasing) for phrasing in range(len(FULL_PHRASINGS))]
