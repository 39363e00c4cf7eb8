"""Scores are those that a hand count gives, and every way of losing the task is seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from converter.parity.task import Answers, answers, keep, missed, score
from converter.pipeline.task import read_bounds

KINDS, PER_KIND, PROMPTS, WIDTH = 12, 5, 3, 24
COUNT = KINDS * PER_KIND
Rows = np.ndarray[Any, Any]


def _unit(rows: Rows) -> Rows:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def towers() -> tuple[Rows, Rows, Rows]:
    """(images, texts, kinds): images lie near their captions, and both near their kind's prompts."""
    generator = np.random.default_rng(0)
    kinds = np.tile(np.arange(KINDS), PER_KIND)
    centres = _unit(generator.normal(size=(KINDS, WIDTH)))
    captions = _unit(centres[kinds] + 0.15 * generator.normal(size=(COUNT, WIDTH)))
    images = _unit(captions + 0.03 * generator.normal(size=(COUNT, WIDTH)))
    prompts = np.repeat(centres, PROMPTS, axis=0)
    return images, np.concatenate([captions, prompts]), kinds


def _answers(towers: tuple[Rows, Rows, Rows], *, image_noise: float = 0.0, seed: int = 1) -> Answers:
    images, texts, kinds = towers
    noise = image_noise * np.random.default_rng(seed).normal(size=images.shape)
    return answers(_unit(images + noise).astype(np.float32), texts, kinds)


def test_a_model_that_knows_gets_everything(towers: tuple[Rows, Rows, Rows]) -> None:
    """All shares are 1, each with an interval that what was seen does not exclude."""
    scores = score(_answers(towers))

    assert scores.zero_shot.value == scores.image_to_text_at_5.value == 1.0
    assert 0.6 < scores.zero_shot.interval[0] < 1.0


def test_one_wrong_answer_is_one_wrong_answer(towers: tuple[Rows, Rows, Rows]) -> None:
    """An image that stands where another's caption is: found by nobody who asks for it."""
    images, texts, kinds = towers
    moved = images.copy()
    moved[0] = texts[1]
    scores = score(answers(moved, texts, kinds))

    assert scores.zero_shot.value == pytest.approx(1 - 1 / COUNT)
    assert scores.image_to_text_at_1.value == pytest.approx(1 - 1 / COUNT)


def test_a_file_that_says_the_same_of_everything_gets_what_guessing_gets(towers: tuple[Rows, Rows, Rows]) -> None:
    """Ties are nobody's order: with all scores equal, each recall is its chance level."""
    images, texts, kinds = towers
    scores = score(answers(np.ones_like(images), np.ones_like(texts), kinds))

    assert scores.zero_shot.value == pytest.approx(1 / KINDS)
    assert scores.text_to_image_at_5.value == pytest.approx(5 / COUNT)


def test_a_file_that_gives_nan_gets_no_more(towers: tuple[Rows, Rows, Rows]) -> None:
    """What is not a number is 0, which scores everything alike."""
    images, texts, kinds = towers

    assert score(answers(np.full_like(images, np.nan), texts, kinds)).zero_shot.value < 0.2


def test_the_same_answers_lose_nothing(towers: tuple[Rows, Rows, Rows]) -> None:
    """And the range of what was lost lies on both sides of nothing."""
    reference = _answers(towers)
    kept = keep(reference, reference, 5)

    assert (kept.zero_shot_lost.value, kept.recall_kept, kept.image_to_text_top_k.value) == (0.0, 1.0, 1.0)
    assert kept.image_to_text_tau.value == pytest.approx(1.0)
    assert kept.zero_shot_lost.interval[0] < 0 < kept.zero_shot_lost.interval[1]
    assert missed(kept, read_bounds()) == ()


def test_noise_is_seen_where_every_answer_is_still_right(towers: tuple[Rows, Rows, Rows]) -> None:
    """Top-5, order and centred cosine fall before the first wrong answer."""
    kept = keep(_answers(towers), _answers(towers, image_noise=0.02), 5)

    assert kept.zero_shot_lost.value == 0.0
    assert kept.image_to_text_top_k.value < 1.0
    assert kept.image_to_text_tau.value < 0.99
    assert kept.image_centred_cosine < 0.999
    assert kept.text_centred_cosine == pytest.approx(1.0)


def test_a_broken_file_misses_every_bound(towers: tuple[Rows, Rows, Rows]) -> None:
    """The twin: images in another order. Each failure gives its figure and its bound."""
    images, texts, kinds = towers
    kept = keep(_answers(towers), answers(np.roll(images, 7, axis=0), texts, kinds), 5)

    failures = missed(kept, read_bounds())

    assert [failure.split()[0] for failure in failures] == ["zero_shot_lost", "recall_kept", "centred_cosine_mean"]
    assert "is above 0.01" in failures[0]
    assert "is below 0.98" in failures[1]
