"""The search on a bench whose best answer is known: noise that adds up, costs that add up."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from converter.quantization.budget import parse_budget
from converter.quantization.groups import groups_of_layers
from converter.quantization.search import Ended, search
from converter.records import Recipe
from converter.searched import Figures, Group, Tried

NOISE = {"a": 0.30, "b": 0.02, "c": 0.10, "d": 0.001, "e": 0.05, "f": 0.0}
COST = {"a": 0.02, "b": 0.10, "c": 0.30, "d": 0.01, "e": 0.02, "f": 0.05}
BASE = Recipe(
    name="static_w8a8", summary="s", precision="int8", weight_bits=8, activation_bits=8, sample_set="calibration"
)
GROUPS = groups_of_layers(f"{name}.fc" for name in NOISE)


@dataclass(kw_only=True)
class FakeBench:
    """Figures by arithmetic; `factors` are what a technique leaves of the noise."""

    factors: Mapping[str, float] = field(default_factory=dict)
    refused: frozenset[str] = frozenset()
    points: int = 1000
    measured: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def measure(self, recipe: Recipe, groups: Sequence[str], label: str, *, careful: bool = False) -> Tried:
        self.measured.append(label)
        tried = Tried(label=label, recipe=recipe, groups=tuple(groups))
        if any(name in self.refused for name in groups) or label in self.refused:
            return dataclasses.replace(tried, failed="no kernel")
        return dataclasses.replace(tried, figures=self.figures(recipe, groups))

    def figures(self, recipe: Recipe, groups: Sequence[str]) -> Figures:
        factor = math.prod(left for name, left in self.factors.items() if name in _changes(recipe))
        noise = factor * sum(NOISE[name] for name in NOISE if name not in groups) + 1e-6
        cost = 0.4 + sum(COST[name] for name in groups)
        cosine = 1 - noise / 2
        return Figures(
            centred_cosine_mean=cosine, centred_cosine_min=cosine, top_k=cosine, top1=cosine, kendall_tau=cosine,
            sqnr_db=-10 * math.log10(noise), size_ratio=cost, latency_ratio=cost,
        )  # fmt: skip

    def say(self, line: str) -> None:
        self.said.append(line)

    def time_left(self, share: float = 1.0) -> bool:
        return len(self.measured) < share * self.points


def _changes(recipe: Recipe) -> set[str]:
    """Techniques of a recipe, as `ranges mse`."""
    plain = dataclasses.replace(BASE, float_layers=recipe.float_layers)
    fields = [one.name for one in dataclasses.fields(Recipe)]
    return {f"{name} {getattr(recipe, name)}" for name in fields if getattr(recipe, name) != getattr(plain, name)}


def _search(budget: str, bench: FakeBench | None = None, groups: Sequence[Group] = GROUPS, **wanted: Any) -> Ended:
    return search(BASE, groups, parse_budget(budget), bench or FakeBench(), **{"techniques": False, **wanted})


def _best(least: float) -> float:
    """The lowest cost of all 64 sets that keep enough."""
    bench = FakeBench()
    every = itertools.chain.from_iterable(itertools.combinations(NOISE, count) for count in range(len(NOISE) + 1))
    figures = [bench.figures(BASE, groups) for groups in every]
    return min(one.latency_ratio for one in figures if one.centred_cosine_mean >= least)


@pytest.mark.parametrize("least", [0.80, 0.90, 0.93, 0.95, 0.98, 0.99])
def test_the_cheapest_set_is_found(least: float) -> None:
    """As good as trying all sets, in fewer points."""
    bench = FakeBench()
    ended = _search(f"centred_cosine_mean>={least}", bench)

    assert ended.chosen is not None
    assert ended.chosen.figures is not None
    assert ended.chosen.figures.centred_cosine_mean >= least
    assert ended.chosen.figures.latency_ratio == pytest.approx(_best(least))
    assert len(bench.measured) < 24


def test_a_plain_recipe_that_is_enough_is_taken_as_it_is() -> None:
    """One point to see it, one to measure it longer."""
    ended = _search("centred_cosine_mean>=0.5")

    assert ended.chosen is not None
    assert ended.chosen.recipe == BASE
    assert len(ended.tried) == 1


def test_an_impossible_budget_names_the_nearest() -> None:
    """No recipe meets it; the best one is the one that misses by least."""
    ended = _search("centred_cosine_mean>=0.99, latency_ratio<=0.45")

    assert ended.chosen is None
    assert ended.best is not None
    assert ended.best.figures is not None
    assert len(ended.tried) > len(GROUPS)


def test_costs_are_bounds_too() -> None:
    """The twin of the above: with room for it, the same accuracy is found."""
    assert _search("centred_cosine_mean>=0.99, latency_ratio<=0.95").chosen is not None


def test_the_closest_file_takes_what_fits() -> None:
    """All that a latency allows, the most worthwhile first, and what still fits behind one that does not."""
    ended = _search("latency_ratio<=0.56, closest")

    assert ended.chosen is not None
    assert set(ended.chosen.groups) == {"a", "e", "b", "d"}


def test_techniques_come_first_and_stay_where_they_help() -> None:
    """What halves the noise is kept; what does nothing or is refused is not."""
    bench = FakeBench(
        factors={"ranges mse": 0.5, "ranges percentile": 0.4, "round_weights gptq": 0.99},
        refused=frozenset({"smooth 0.5"}),
    )
    ended = _search("centred_cosine_mean>=0.96", bench, techniques=True)

    assert ended.chosen is not None
    assert ended.chosen.recipe.ranges == "percentile"
    assert ended.chosen.recipe.round_weights == "nearest"
    assert bench.said == ["kept: ranges mse", "kept: ranges percentile"]
    assert [one.failed for one in ended.tried if one.label == "smooth 0.5"] == ["no kernel"]


def test_ranges_are_not_tried_where_there_are_none() -> None:
    """Activations quantized as they come have no ranges to choose."""
    bench = FakeBench()
    dynamic = dataclasses.replace(BASE, sample_set=None)

    search(dynamic, GROUPS, parse_budget("centred_cosine_mean>=0.96"), bench)

    assert not [label for label in bench.measured if label.startswith("ranges")]


def test_a_group_that_cannot_stay_in_float_is_left_out() -> None:
    """The search goes on without it."""
    ended = _search("centred_cosine_mean>=0.90", FakeBench(refused=frozenset({"e"})))

    assert ended.chosen is not None
    assert "e" not in ended.chosen.groups
    assert [group.name for group in ended.groups if group.gained is None] == ["e"]


def test_a_search_out_of_time_says_so() -> None:
    """With what it has: three points are not enough for anything."""
    ended = _search("centred_cosine_mean>=0.95", FakeBench(points=3))

    assert ended.stopped_early
    assert ended.chosen is None
    assert ended.best is not None


def test_measuring_groups_leaves_time_to_join_them() -> None:
    """Twelve points are enough for six groups and what follows; with seven, what was measured is used."""
    ended = _search("centred_cosine_mean>=0.90", FakeBench(points=12))

    assert ended.chosen is not None
    assert [group.gained is None for group in ended.groups].count(True) == 0
    ended = _search("centred_cosine_mean>=0.85", FakeBench(points=7))
    assert ended.chosen is not None
    assert [group.gained is None for group in ended.groups].count(True) > 0


def test_no_file_at_all_ends_at_once() -> None:
    """Where the plain recipe cannot be made, nothing else is tried."""
    ended = _search("centred_cosine_mean>=0.9", FakeBench(refused=frozenset({"every layer quantized"})))

    assert (ended.chosen, ended.best, len(ended.tried)) == (None, None, 1)
