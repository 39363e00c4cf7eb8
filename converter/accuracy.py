"""The frozen records of a task's result: how well files do what the model is for, beside how close their numbers are.

Beside `converter.records`, whose rules hold here too. Figures are `parity.task`'s, running is `pipeline.task`'s.
"""

from __future__ import annotations

from dataclasses import dataclass

from converter.records import Interval, Tolerance

REFERENCE = "pytorch"


@dataclass(frozen=True, kw_only=True)
class Share:
    """A share from 0 to 1, and within which range it may lie for other kinds of scenes, with 95 % confidence."""

    value: float
    interval: Interval


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What one pair of towers gets right.

    `zero_shot` is one of `TaskAccuracy.kinds`; a recall@k counts the queries whose own caption (or image) is among the
    first k of the gallery.
    """

    zero_shot: Share
    image_to_text_at_1: Share
    image_to_text_at_5: Share
    text_to_image_at_1: Share
    text_to_image_at_5: Share


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What is left of the reference's behaviour. Beside the scores, which forgive a change where both are right.

    `zero_shot_lost` is the difference of the two shares (0.01: a point), its interval that of the paired difference.
    `recall_kept` is recall@5 over the reference's, the smaller of both directions. `top_k` is the mean share of the
    reference's first 5 that are returned too, `kendall_tau` the mean over queries of both whole orders' agreement.
    """

    zero_shot_lost: Share
    recall_kept: float
    image_to_text_top_k: Share
    text_to_image_top_k: Share
    image_to_text_tau: Share
    text_to_image_tau: Share
    image_centred_cosine: float
    text_centred_cosine: float


@dataclass(frozen=True, kw_only=True)
class TaskSide:
    """One pair of towers: the rows that they are from ("tflite/int8"), what they score, and what they keep.

    The reference itself has nothing to keep. `failures` names every bound that was missed, with its figures.
    """

    image: str
    text: str
    scores: Scores
    kept: Kept | None = None
    failures: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The row, or both where they differ."""
        return self.image if self.image == self.text else f"{self.image}, text {self.text}"


@dataclass(frozen=True, kw_only=True)
class TaskAccuracy:
    """All pairs of one model's files on one set of images and captions, the reference first."""

    model: str
    images: int
    captions: int
    kinds: int
    k: int
    tolerances: tuple[Tolerance, ...]
    sides: tuple[TaskSide, ...]
