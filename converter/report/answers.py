"""What the consistency matrix says of one pair of files, in sentences."""

from __future__ import annotations

import math

from converter.agreement import RankAgreement, TowerPair, ZeroShotPair
from converter.records import Tower

THINGS = {"image": "photos", "text": "captions"}


def tower_answer(pair: TowerPair, tower: Tower) -> str:
    """One pair's retrieval; a shared index is the worse of the two ways to share it."""
    ranking, k = pair.ranking, five(pair.ranking.k)
    mixed = min(pair.mixed_of_one, pair.mixed_of_other)
    return (
        f"{pair.one} and {pair.other}: same {k} {THINGS[tower]}, in any order, for {_same(ranking, 'queries')}; "
        f"{percent(ranking.top_k_strict)} % of the {k} shared; scores differ by up to {ranking.score_diff_max:.2g}; "
        f"{percent(mixed)} % where they share an index"
    )


def zero_shot_answer(pair: ZeroShotPair) -> str:
    """One pair's labels: what both say of an image, and probabilities where the model has them."""
    captions, images, chances = pair.captions, pair.images, pair.probability_diff_max
    best = round(captions.top1_strict * captions.queries)
    return (
        f"{pair.one} and {pair.other}: same best caption for {best} of {captions.queries} images; "
        f"same {five(captions.k)} captions for {_same(captions, 'images')}; "
        f"same {five(images.k)} images for {_same(images, 'captions')}"
        + (f"; probabilities differ by up to {chances:.2g}" if chances is not None else "")
    )


def five(k: int) -> str:
    """A small number as a word."""
    return {1: "one", 2: "two", 3: "three", 4: "four", 5: "five"}.get(k, str(k))


def percent(share: float) -> str:
    """In tenths of a percent, rounded down: 100 means all."""
    tenths = math.floor(round(share * 1000, 6))  # 7 of 10 queries' five: 7 / 10 / 5 * 1000 is 139.99999999999997
    return "100" if tenths == 1000 else f"{tenths / 10:.1f}"


def _same(ranking: RankAgreement, things: str) -> str:
    """61 of 64 things, and how many more when scores closer than the tie margin have no order."""
    forgiven = f" ({ranking.same} with scores within {ranking.tie_margin:g} taken for ties)"
    said = f"{ranking.same_strict} of {ranking.queries} {things}"
    return said + (forgiven if ranking.same > ranking.same_strict else "")
