"""What a pair of towers gets right on captioned images of known kinds, and what it keeps of the reference's answers.

Queries of one kind succeed and fail together, so intervals draw whole kinds (`parity.intervals`). A query whose own
item ties with others for the last place is credited with its chance among them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from converter.accuracy import Kept, Scores, Share
from converter.parity.intervals import intervals, share_interval
from converter.parity.metrics import row_cosines
from converter.parity.scores import finite, gallery, scores_of
from converter.parity.tau import query_taus
from converter.records import Tolerance

Rows = npt.NDArray[Any]
HIGHER_IS_WORSE = ("zero_shot_lost",)
TAU_QUERIES = 144
"""Counting pairs takes the square of the gallery for each query: of 720 queries, the first two of each kind are asked
for their whole order."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The answers of a pair of towers: (n, d) images and captions, image i belonging to caption i, and their scores.

    `chosen` are (n, kinds) zero-shot scores, `kinds` the right kind of each image.
    """

    images: Rows
    captions: Rows
    scores: Rows
    chosen: Rows
    kinds: npt.NDArray[np.intp]


def answers(images: Rows, texts: Rows, kinds: npt.NDArray[np.intp]) -> Answers:
    """From (n, d) images, (n + kinds * prompts, d) texts (captions, then each kind's prompts) and each image's kind.

    A kind's embedding is the mean of its prompts', scaled to length 1.
    """
    images, texts = finite(images), finite(texts)
    captions, asked = texts[: len(images)], texts[len(images) :]
    classes = asked.reshape(int(kinds.max()) + 1, -1, asked.shape[1]).mean(axis=1)
    lengths = np.linalg.norm(classes, axis=1, keepdims=True)
    classes = np.divide(classes, lengths, out=np.zeros_like(classes), where=lengths > 0)
    return Answers(
        images=images, captions=captions, scores=scores_of(images, gallery(captions)),
        chosen=scores_of(images, gallery(classes)), kinds=kinds,
    )  # fmt: skip


def score(given: Answers) -> Scores:
    """What is right, each with its interval."""
    figures = _right(given)
    return Scores(**dict(zip(_NAMES, _shares(figures, given.kinds), strict=True)))


def keep(reference: Answers, given: Answers, k: int) -> Kept:
    """What is left of the reference's answers."""
    ref, cand = _right(reference), _right(given)
    agreed = [_agreement(a, b, k) for a, b in _directions(reference, given)]
    taus = [query_taus(a[:TAU_QUERIES], b[:TAU_QUERIES]) for a, b in _directions(reference, given)]
    kept = [*_shares(agreed, given.kinds), *_shares(taus, given.kinds[:TAU_QUERIES])]
    return Kept(
        zero_shot_lost=_difference(ref[0], cand[0], given.kinds),
        recall_kept=min(float(cand[at].mean() / max(ref[at].mean(), 1e-12)) for at in (2, 4)),
        image_to_text_top_k=kept[0], text_to_image_top_k=kept[1],
        image_to_text_tau=kept[2], text_to_image_tau=kept[3],
        image_centred_cosine=_centred_cosine(reference.images, given.images),
        text_centred_cosine=_centred_cosine(reference.captions, given.captions),
    )  # fmt: skip


def missed(kept: Kept, tolerances: Iterable[Tolerance]) -> tuple[str, ...]:
    """Every bound that does not hold, with its figures; the worse of two towers or directions counts."""
    found = {
        "zero_shot_lost": kept.zero_shot_lost.value,
        "recall_kept": kept.recall_kept,
        "top_k": min(kept.image_to_text_top_k.value, kept.text_to_image_top_k.value),
        "centred_cosine_mean": min(kept.image_centred_cosine, kept.text_centred_cosine),
    }
    return tuple(
        f"{one.metric} {found[one.metric]:.4f} is {'above' if one.metric in HIGHER_IS_WORSE else 'below'} {one.limit:g}"
        for one in tolerances
        if not _holds(found[one.metric], one)
    )


_NAMES = ("zero_shot", "image_to_text_at_1", "image_to_text_at_5", "text_to_image_at_1", "text_to_image_at_5")


def _right(given: Answers) -> list[Rows]:
    """(n,) credit of each query, in the order of `_NAMES`."""
    own = np.arange(len(given.scores))
    forth, back = given.scores, given.scores.T
    return [_credit(given.chosen, given.kinds, 1), *(_credit(side, own, k) for side in (forth, back) for k in (1, 5))]


def _credit(scores: Rows, own: npt.NDArray[np.intp], k: int) -> Rows:
    """The chance of each query's own item to be among the first k, ties in any order."""
    mine = np.take_along_axis(scores, own[:, None], axis=1)
    above, level = (scores > mine).sum(axis=1), (scores == mine).sum(axis=1)
    chance: Rows = np.clip((k - above) / level, 0.0, 1.0)
    return chance


def _agreement(reference: Rows, candidate: Rows, k: int) -> Rows:
    """For each query, the share of the reference's first k that are among the candidate's; exact ties are forgiven."""
    right = reference >= np.partition(reference, -k, axis=1)[:, -k, None]
    first = np.argsort(-candidate, axis=1, kind="stable")[:, :k]
    share: Rows = np.take_along_axis(right, first, axis=1).mean(axis=1)
    return share


def _directions(one: Answers, other: Answers) -> Sequence[tuple[Rows, Rows]]:
    return (one.scores, other.scores), (np.ascontiguousarray(one.scores.T), np.ascontiguousarray(other.scores.T))


def _shares(figures: Sequence[Rows], groups: npt.NDArray[np.intp]) -> list[Share]:
    _, groups = np.unique(groups, return_inverse=True)
    bounds = intervals(np.stack(figures), groups)
    count = int(groups.max()) + 1
    return [
        Share(value=float(one.mean()), interval=share_interval(bound, one, count))
        for one, bound in zip(figures, bounds, strict=True)
    ]


def _difference(one: Rows, other: Rows, groups: npt.NDArray[np.intp]) -> Share:
    """What the other lacks of one's mean. Where no query differs, one of them may still be the better by chance."""
    (bound,) = intervals((one - other)[None], groups)
    _, unseen = share_interval(bound, np.zeros(1), int(groups.max()) + 1)
    return Share(value=float((one - other).mean()), interval=bound if (one != other).any() else (-unseen, unseen))


def _centred_cosine(reference: Rows, candidate: Rows) -> float:
    mean = reference.mean(axis=0)
    return float(row_cosines(reference - mean, candidate - mean).mean())


def _holds(value: float, tolerance: Tolerance) -> bool:
    return value <= tolerance.limit if tolerance.metric in HIGHER_IS_WORSE else value >= tolerance.limit
