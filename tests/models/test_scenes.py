"""Scenes are described in full, held-out kinds stay out of training, and the sample sets share nothing."""

from __future__ import annotations

from itertools import batched, combinations, islice

import numpy as np
import pytest

from converter.models.scenes import (
    BACKGROUNDS,
    FAMILY,
    FULL_PHRASINGS,
    SHAPES,
    Kind,
    Scene,
    calibration_captions,
    calibration_scenes,
    caption,
    held_out_scenes,
    is_held_out,
    kinds,
    parity_captions,
    parity_scenes,
    prompts,
    training_caption,
    training_scenes,
    words,
)
from converter.models.tokenizer import tokenize
from converter.records import ModelSpec

SCENE = Scene(kind=Kind("star", "red", "striped"), count=2, position="left", background="blue", seed=0)


def test_a_caption_says_all_six_properties() -> None:
    """In words that a person would use, and one thing is one thing."""
    one = Scene(kind=Kind("cross", "white", "plain"), count=1, position="middle", background="noisy", seed=0)

    assert caption(SCENE) == "two striped red stars at the left, blue background"
    assert caption(one, 1) == "noisy background with one plain white cross in the middle"


def test_training_never_draws_a_held_out_kind() -> None:
    """Neither as a family's first scene nor as a neighbour; a fifth of all kinds is held out."""
    drawn = {scene.kind for scene in islice(training_scenes(), 8000)}

    assert not any(map(is_held_out, drawn))
    assert drawn == set(kinds(held_out=False))
    assert (len(kinds(held_out=True)), len(drawn)) == (72, 288)


@pytest.mark.parametrize("pair", list(combinations(range(3), 2)))
def test_every_pair_of_a_held_out_kind_is_seen_in_training(pair: tuple[int, int]) -> None:
    """What is tested is putting together, not words or looks that training never met."""
    seen = {(kind[pair[0]], kind[pair[1]]) for kind in kinds(held_out=False)}

    assert {(kind[pair[0]], kind[pair[1]]) for kind in kinds(held_out=True)} <= seen


def test_a_family_differs_in_one_property_each() -> None:
    """The hard negatives of the contrastive loss; and no object vanishes in a background of its own colour."""
    for first, *others in batched(islice(training_scenes(), 400 * FAMILY), FAMILY):
        for other in others:
            same = [a == b for a, b in zip(_properties(first), _properties(other), strict=True)]
            assert same.count(False) == 1
            assert other.background != other.kind.colour


def test_seeds_rule_the_scenes() -> None:
    """The same again, and others from another seed."""
    first, again, other = (list(islice(training_scenes(seed), 50)) for seed in (1, 1, 2))

    assert first == again
    assert first != other


def test_parity_captions_are_distinct_and_of_held_out_scenes() -> None:
    """256 texts of 256 scenes, so that no ranking has to choose between two names of one scene."""
    described = {scene.description for scene in islice(held_out_scenes(3), 256)}

    assert len(set(parity_captions())) == len(described) == 256
    assert len({scene.kind for scene in parity_scenes()}) == 64
    assert all(is_held_out(scene.kind) for scene in parity_scenes())


def test_calibration_shares_no_kind_with_parity() -> None:
    """A file is not judged on what it was calibrated on."""
    calibration = calibration_scenes(300)

    assert len({scene.description for scene in calibration}) == 300
    assert not {scene.kind for scene in calibration} & {scene.kind for scene in parity_scenes()}
    assert not set(calibration_captions(300)) & set(parity_captions())


def test_all_tokens_of_all_captions_are_stored(spec: ModelSpec) -> None:
    """Whatever training and judging say is made of the words whose embeddings the weights file keeps."""
    generator = np.random.default_rng(0)
    said = [training_caption(scene, generator) for scene in islice(training_scenes(), 400)]
    asked = [prompt for kind in kinds(held_out=True)[::4] for prompt in prompts(kind)]

    stored = set(tokenize(words(), spec).ravel().tolist())

    assert set(tokenize([*said, *asked, *parity_captions()], spec).ravel().tolist()) <= stored
    assert not set(tokenize(["a photo of a cat"], spec).ravel().tolist()) <= stored


def test_the_longest_caption_fits_the_short_context_of_training(spec: ModelSpec) -> None:
    """scripts/train_nano.py cuts texts to 24 tokens for most of the time."""
    long = [
        caption(Scene(kind=kind, count=3, position="middle", background=background, seed=0), phrasing)
        for kind in (Kind(shape, "purple", "checked") for shape in SHAPES)
        for background in BACKGROUNDS
        for phrasing in range(len(FULL_PHRASINGS))
    ]

    assert (tokenize(long, spec) == spec.end_token).argmax(axis=1).max() < 24


def _properties(scene: Scene) -> tuple[object, ...]:
    return *scene.kind, scene.count, scene.position, scene.background
