"""The frozen records of `matrix.json`: how far the files of one model agree with each other, every pair of them.

Beside `converter.records`, whose rules hold here too. Measuring is left to `parity.matrix`, running the files to
`pipeline.matrix`, showing it to `report.matrix`.
"""

from __future__ import annotations

from dataclasses import dataclass

from converter.records import Tower

REFERENCE = "pytorch"
"""The name of the side that is the unmodified PyTorch model."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """One side of a comparison: the PyTorch reference, or a row such as coreml/fp16.

    `status` is the verdict on the file by itself, empty for the reference; `tie_margin` that of its tolerances;
    `nonfinite` how many of its values are NaN or infinite, which count as 0.
    Where folders are compared, a row that several of them have is named `coreml/fp16 @ FOLDER`.
    """

    name: str
    target: str
    folder: str
    executed_by: str
    status: str = ""
    tie_margin: float = 0.0
    nonfinite: int = 0


@dataclass(frozen=True, kw_only=True)
class RankAgreement:
    """Two rankings of one gallery for the same queries; every figure is the same with the sides swapped.

    `top1` and `top_k` forgive ties: what one side returns counts as right when its score on the other side is at least
    that side's best (k-th best) less `tie_margin`; the worse of both directions. `*_strict` forgive nothing: the same
    best item, the share of the k best of one that the other returns too, the first of equal ones first. `same` counts
    the queries with the same k in any order, `same_strict` without forgiving. `kendall_tau` is tau-b over the whole
    gallery, the mean over queries.
    """

    queries: int
    gallery: int
    k: int
    tie_margin: float
    top1: float
    top1_strict: float
    top_k: float
    top_k_strict: float
    same: int
    same_strict: int
    kendall_tau: float
    score_diff_max: float


@dataclass(frozen=True, kw_only=True)
class TowerPair:
    """Two files of one tower, each sample a query against all others.

    Centred cosines are taken after subtracting the mean of all rows of both sides. `mixed_of_one` answers whether an
    index can be shared: queries embedded by `other` against the gallery embedded by `one`, as the share of the k best
    of `one` alone that are found, ties forgiven as in `ranking.top_k`; `mixed_of_other` is the other way round.
    """

    one: str
    other: str
    centred_cosine_min: float
    centred_cosine_mean: float
    worst_sample: str
    ranking: RankAgreement
    mixed_of_one: float
    mixed_of_other: float


@dataclass(frozen=True, kw_only=True)
class TowerMatrix:
    """Every pair of one tower's files; the first side is the reference."""

    tower: Tower
    sample_set: str
    sides: tuple[Side, ...]
    pairs: tuple[TowerPair, ...]


@dataclass(frozen=True, kw_only=True)
class ZeroShotSide:
    """Both towers of one row. `right_caption` and `right_image` are the shares of images and captions whose best match
    is the right one, where the samples tell which is.
    """

    name: str
    target: str
    tie_margin: float
    right_caption: float | None = None
    right_image: float | None = None


@dataclass(frozen=True, kw_only=True)
class ZeroShotPair:
    """Two rows, all images against all captions: captions ranked for each image, images for each caption.

    `probability_diff_max` is the largest difference of a caption's probability, a softmax over all captions with the
    model's logit scale; None where the model has none.
    """

    one: str
    other: str
    captions: RankAgreement
    images: RankAgreement
    probability_diff_max: float | None


@dataclass(frozen=True, kw_only=True)
class ZeroShotMatrix:
    """Every pair of rows that have both towers; `alone` names the rows that have one only.

    `images` and `captions` are how many of each there are.
    """

    images: int
    captions: int
    sides: tuple[ZeroShotSide, ...]
    pairs: tuple[ZeroShotPair, ...]
    alone: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A file that takes no part, and why."""

    step_id: str
    folder: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """The whole of `matrix.json`."""

    model: str
    trained: bool
    k: int
    towers: tuple[TowerMatrix, ...]
    zero_shot: ZeroShotMatrix | None
    left_out: tuple[LeftOut, ...]
