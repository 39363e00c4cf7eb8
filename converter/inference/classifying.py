"""Zero-shot classification: how well each label, put into words, fits an image, as probabilities over the labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from converter.errors import UsageError
from converter.inference import Skipped, Space, Vectors, unit
from converter.inference.embedding import Embedded, text_vectors

TEMPLATE = "a photo of a {}"
PLACE = "{}"
ENSEMBLE = "ensemble"


@dataclass(frozen=True, kw_only=True)
class Guess:
    """One label of one image, with its probability by each model."""

    label: str
    probabilities: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Guesses:
    """One image's labels, the first model's most probable one first."""

    name: str
    guesses: tuple[Guess, ...]


@dataclass(frozen=True, kw_only=True)
class Classified:
    """The images in the order given; `columns` names the models that probabilities are listed by."""

    columns: tuple[str, ...]
    images: tuple[Guesses, ...]
    skipped: tuple[Skipped, ...]


def prompts(labels: Sequence[str], template: str) -> list[str]:
    """Each label put into the template's `{}`.

    Raises:
        UsageError: the template has no `{}`, a label is there twice, or there are fewer than two.
    """
    if PLACE not in template:
        message = f"--template '{template}' has no {PLACE} for the label; for example '{TEMPLATE}'"
        raise UsageError(message)
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice or len(labels) < 2:
        seen = f"'{twice[0]}' is there twice" if twice else f"there {'is 1' if labels else 'are none'}"
        message = f"probabilities are shared among labels, so two different ones or more are needed: {seen}"
        raise UsageError(message)
    return [template.replace(PLACE, label) for label in labels]


def label_vectors(space: Space, labels: Sequence[str], templates: Sequence[str], batch: int) -> Vectors:
    """(labels, embed_dim): each label's mean over the templates, scaled to length 1.

    Raises:
        UsageError: as for `prompts`.
    """
    return unit(np.mean([_in_batches(space, prompts(labels, template), batch) for template in templates], axis=0))


def probabilities(images: Vectors, labels: Vectors, logit_scale: float) -> npt.NDArray[np.float64]:
    """(images, labels): softmax of `logit_scale` times the cosines, rows that add up to 1."""
    scores = logit_scale * (images.astype(np.float64) @ labels.astype(np.float64).T)
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: npt.NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return shares


def classify(
    spaces: Sequence[Space], embedded: Embedded, labels: Sequence[str], vectors: Sequence[Vectors], *, ensemble: bool
) -> Classified:
    """Judge embedded images by the labels' vectors of each space; with `ensemble`, by the mean probability.

    Raises:
        UsageError: a model has no logit scale.
    """
    columns = [space.name for space in spaces]
    shares = [
        probabilities(np.stack([row.vectors[index] for row in embedded.rows]), vectors[index], _scale(space))
        for index, space in enumerate(spaces)
    ]
    if ensemble:
        columns, shares = [ENSEMBLE], [np.mean(shares, axis=0)]
    images = [_guesses(row.name, labels, [share[index] for share in shares]) for index, row in enumerate(embedded.rows)]
    return Classified(columns=tuple(columns), images=tuple(images), skipped=embedded.skipped)


def best(classified: Classified, count: int) -> Classified:
    """The same with the first `count` labels of each image."""
    images = [replace(image, guesses=image.guesses[:count]) for image in classified.images]
    return replace(classified, images=tuple(images))


def _guesses(name: str, labels: Sequence[str], shares: Sequence[npt.NDArray[np.float64]]) -> Guesses:
    order = np.argsort(-shares[0], kind="stable")
    guesses = [Guess(label=labels[i], probabilities=tuple(float(share[i]) for share in shares)) for i in order]
    return Guesses(name=name, guesses=tuple(guesses))


def _in_batches(space: Space, texts: Sequence[str], batch: int) -> Vectors:
    return np.concatenate([text_vectors(space, texts[i : i + batch]) for i in range(0, len(texts), batch)])


def _scale(space: Space) -> float:
    if space.model.logit_scale is None:
        message = f"{space.name} states no logit_scale, so its cosines make no probabilities; export its text tower too"
        raise UsageError(message)
    return space.model.logit_scale
