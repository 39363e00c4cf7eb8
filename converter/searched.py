"""The frozen records of `mcconvert quantize`: what a recipe must keep, what was tried, what was found.

Beside `converter.records`, whose rules hold here too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from converter.records import Recipe

Objective = Literal["fastest", "smallest", "closest"]
Metric = Literal[
    "centred_cosine_mean", "centred_cosine_min", "top_k", "top1", "kendall_tau", "sqnr_db", "size_ratio",
    "latency_ratio",
]  # fmt: skip
METRICS: tuple[Metric, ...] = Metric.__args__  # type: ignore[attr-defined]
COSTS: tuple[Metric, ...] = ("size_ratio", "latency_ratio")
"""At most; all others are at least."""


@dataclass(frozen=True, kw_only=True)
class Bound:
    """One metric with what it must reach: at most for costs, at least for all others."""

    metric: Metric
    limit: float

    def __str__(self) -> str:
        return f"{self.metric} {'<=' if self.metric in COSTS else '>='} {self.limit:g}"


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a recipe must keep and what it may cost; among those that do, the objective decides."""

    bounds: tuple[Bound, ...]
    objective: Objective = "fastest"

    def __str__(self) -> str:
        return ", ".join([*map(str, self.bounds), self.objective])


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What one file measured against the float32 file: embeddings on held-out samples, bytes, seconds.

    `size_ratio` and `latency_ratio` are shares of the float32 file's. `parts` counts the pieces that the runtime's
    delegate took the graph in, 0 where the runner does not count.
    """

    centred_cosine_mean: float
    centred_cosine_min: float
    top_k: float
    top1: float
    kendall_tau: float
    sqnr_db: float
    size_ratio: float
    latency_ratio: float
    parts: int = 0


@dataclass(frozen=True, kw_only=True)
class Tried:
    """One recipe that was tried, and what came of it: figures, or in words why there are none."""

    label: str
    recipe: Recipe
    groups: tuple[str, ...] = ()
    figures: Figures | None = None
    failed: str = ""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Layers that stay in float together, and the patterns that name them in a recipe.

    `gained` is the share of the whole noise that goes when they alone stay in float, `costs` what that adds to
    `latency_ratio`; both are known once the search measured them.
    """

    name: str
    layers: tuple[str, ...]
    patterns: tuple[str, ...]
    gained: float | None = None
    costs: float | None = None


@dataclass(frozen=True, kw_only=True)
class SearchOrder:
    """What is asked of a search. `only` are patterns: groups that fit none stay quantized.

    `techniques` is whether ranges, equalisation and the like are tried before layers. `seconds` is when it stops with
    the best found so far. `cache` is the folder of the points that were measured.
    """

    budget: Budget
    cache: str
    only: tuple[str, ...] = ()
    techniques: bool = True
    seconds: float = 1800.0


@dataclass(frozen=True, kw_only=True)
class Found:
    """The end of a search. `chosen` meets the budget; without one, `best` misses it by least.

    `judged_on` says in words which samples were judged, `reused` how many points were measured by an earlier run.
    """

    budget: Budget
    chosen: Tried | None
    best: Tried | None
    tried: tuple[Tried, ...]
    groups: tuple[Group, ...]
    judged_on: str
    executed_by: str
    seconds: float
    reused: int = 0
    stopped_early: bool = False


def value_of(figures: Figures, metric: Metric) -> float:
    """One figure by its name."""
    return float(getattr(figures, metric))


def miss(bound: Bound, figures: Figures) -> float:
    """By how much a bound is missed; 0 where it is met. A figure that is not a number misses by everything."""
    value = value_of(figures, bound.metric)
    over = value - bound.limit if bound.metric in COSTS else bound.limit - value
    return over if over > 0 else 0.0 if over <= 0 else float("inf")


def misses(budget: Budget, figures: Figures) -> tuple[tuple[Bound, float], ...]:
    """The bounds that are missed, each with by how much."""
    found = ((bound, miss(bound, figures)) for bound in budget.bounds)
    return tuple((bound, by) for bound, by in found if by > 0)
