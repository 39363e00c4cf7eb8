"""What a sample set can tell apart: cautions beside a verdict that passes, in words. Pure Python, as verdicts are.

A bound below 1 on a ranking figure speaks of queries in general, of which the set is a sample. Where no failure is seen
among n independent queries, a share of failures up to 3/n is still likely (the rule of three: Hanley & Lippman-Hand,
If nothing goes wrong, is everything all right?, JAMA 249, 1983, 1743-1745). So a set of fewer than 3 / (1 - limit)
cannot tell a perfect file from one below the limit. A bound of 1 speaks of the set itself, and needs no caution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from converter.records import Interval, RankingParity, Tolerance

RULE_OF_THREE = 3
SHARES = ("top1", "top_k")
"""Means of successes; a rank correlation is none, and the rule of three says nothing of it."""


def cautions_of(ranking: RankingParity, tolerances: Sequence[Tolerance]) -> tuple[str, ...]:
    """Why a ranking bound that is met is not proven for other queries; empty where it is."""
    found = []
    for bound in tolerances:
        interval = _intervals(ranking).get(bound.metric)
        if interval is None or bound.limit >= 1:
            continue
        seen = getattr(ranking, bound.metric)
        if seen >= bound.limit:
            found += [*_wide(bound, seen, interval), *_small(bound, ranking)]
    return tuple(found)


def needed_queries(limit: float) -> int:
    """How many independent queries can show that a share is at least `limit`, 0.95 needing 60."""
    return math.ceil(RULE_OF_THREE / (1 - Fraction(repr(limit))))


def _intervals(ranking: RankingParity) -> dict[str, Interval | None]:
    return {
        "top1": ranking.top1_interval,
        "top_k": ranking.top_k_interval,
        "kendall_tau": ranking.kendall_tau_interval,
    }


def _wide(bound: Tolerance, seen: float, interval: Interval) -> list[str]:
    low, high = interval
    if low >= bound.limit or seen == 1.0:  # without a failure, the rule of three decides
        return []
    return [
        f"{bound.metric} {seen:.3f} meets {bound.limit:.12g}, but other samples may give anything in "
        f"[{low:.3f}, {high:.3f}] and miss it"
    ]


def _small(bound: Tolerance, ranking: RankingParity) -> list[str]:
    needed = needed_queries(bound.limit)
    if bound.metric not in SHARES or ranking.groups >= needed:
        return []
    what = "queries" if ranking.groups == ranking.queries else "photographs"
    return [
        f"{ranking.groups} {what} are too few to tell a perfect file from one whose {bound.metric} is below "
        f"{bound.limit:.12g}; that takes {needed}"
    ]
