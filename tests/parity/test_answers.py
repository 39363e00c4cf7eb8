"""Agreement of classifiers' answers is counted as by hand, and broken outputs are seen."""

from __future__ import annotations

import numpy as np
import pytest

from converter.errors import ParityError
from converter.parity.answers import accuracy, agreement

ANSWERS = np.random.default_rng(0).normal(size=(20, 12)).astype(np.float32)
NAMES = [f"{index}.png" for index in range(20)]


def test_equal_answers_agree() -> None:
    """In all of them, which of 20 images is no proof for all images."""
    found = agreement(ANSWERS, ANSWERS.copy(), NAMES)

    assert (found.top1.value, found.top5.value, found.max_abs) == (1.0, 1.0, 0.0)
    assert found.top1.interval == (pytest.approx(0.025 ** (1 / 20)), 1.0)


def test_each_changed_answer_counts() -> None:
    """Two images of twenty whose largest output was moved to its end: four of their first five stay."""
    changed = ANSWERS.copy()
    for row in (3, 8):
        changed[row, changed[row].argmax()] = -9.0
    found = agreement(ANSWERS, changed, NAMES)

    assert found.top1.value == pytest.approx(0.9)
    assert found.top5.value == pytest.approx(1 - 2 * (1 / 5) / 20)
    assert found.centred_cosine_min < 0.9


def test_outputs_of_any_shape_are_compared() -> None:
    """A feature map is flattened."""
    assert agreement(ANSWERS.reshape(20, 3, 2, 2), ANSWERS.reshape(20, 3, 2, 2), NAMES).top1.value == 1.0


def test_views_of_one_photograph_count_once() -> None:
    """Ten views of two photographs each are two groups."""
    names = [f"{index // 10}#{index}" for index in range(20)]

    assert agreement(ANSWERS, ANSWERS, names).groups == 2


def test_nan_is_counted() -> None:
    """And is no answer."""
    broken = ANSWERS.copy()
    broken[0] = np.nan
    found = agreement(ANSWERS, broken, NAMES)

    assert found.nonfinite == 12
    assert found.centred_cosine_min < 0.9


def test_a_file_that_answers_the_same_to_all_proves_nothing() -> None:
    """Whatever is compared with it."""
    with pytest.raises(ParityError, match="answers the same to all 20 images"):
        agreement(np.ones((20, 12)), ANSWERS, NAMES)


def test_accuracy_is_the_share_of_right_labels() -> None:
    """Of both sides, and their difference with a range on both sides of it."""
    labels = ANSWERS.argmax(axis=1)
    changed = ANSWERS.copy()
    changed[0, labels[0]] = -9.0
    found = accuracy(ANSWERS, changed, labels)

    assert (found.given.value, found.quantized.value) == (1.0, pytest.approx(0.95))
    assert found.lost.value == pytest.approx(0.05)
    assert found.lost.interval[0] <= 0.05 <= found.lost.interval[1]


def test_labels_beyond_the_classes_are_refused() -> None:
    """More folders than the file has outputs."""
    with pytest.raises(ParityError, match=r"tells 12 classes apart, and one of the images has the label 12"):
        accuracy(ANSWERS, ANSWERS, np.full(20, 12))
