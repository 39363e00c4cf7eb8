"""Find which layers stay in float: as few as a budget asks for, the cheapest ones first.

Rules:

1. The plain recipe is measured. If it meets the budget, the search is over.
2. What costs no time in the finished file is tried first: other ranges, bias correction, equalisation, rounding by a
   layer's output. Each is kept where it takes away a share of the noise that measuring alone does not explain.
3. Each group of layers is left in float by itself: how much noise goes, and what it costs in milliseconds (bytes,
   where the smallest file is asked for) over the plain file, whose latency is measured longer. Noise adds up, since
   the errors of different layers hardly correlate.
4. Groups are taken in the order of noise gained over cost, 1, 2, 4, 8 ... of them until the budget is met; bisection
   finds the smallest number. Where the closest file is asked for, it finds the largest number that the costs allow.
5. Each group of that set is put back, the dearest first, and stays back where the budget is still met. Where the
   closest file is asked for, what still fits is added instead.
6. The best few are measured again, longer; the best of these is taken, and of those that cost the same, the closest.

What is measured, and how, is the bench's: this module knows no format.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from converter.quantization.recipes import mode_of
from converter.records import Recipe
from converter.searched import COSTS, Budget, Figures, Group, Metric, Tried, miss, misses, value_of

WORTH_KEEPING = 0.95
"""A technique is kept where no more than this share of the noise is left: 0.2 dB."""
ALONE_SHARE = 0.7
"""Of the time, how much rule 3 may take."""
FINALISTS = 3
NAMED = 2
"""How many groups a label names."""
LATENCY_FLOOR = 0.01
SIZE_FLOOR = 0.0005
"""Costs below these, as shares of the float32 file's, count as these: they cannot be told from nothing."""
STATIC_TECHNIQUES: tuple[tuple[Mapping[str, Any], ...], ...] = (
    ({"ranges": "mse"}, {"ranges": "percentile"}, {"ranges": "entropy"}),
)
TECHNIQUES: tuple[tuple[Mapping[str, Any], ...], ...] = (
    ({"round_weights": "gptq"},),
    ({"smooth": 0.5},),
)


class Bench(Protocol):
    """What a search needs of the world."""

    def measure(self, recipe: Recipe, groups: Sequence[str], label: str, *, careful: bool = False) -> Tried:
        """Make a file by the recipe and measure it; `careful` measures latency for longer."""
        ...

    def say(self, line: str) -> None:
        """Progress."""
        ...

    def time_left(self, share: float = 1.0) -> bool:
        """Whether another point may be begun: less than that share of the time has passed."""
        ...


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What a search came to; `chosen` is None where nothing meets the budget."""

    chosen: Tried | None
    best: Tried | None
    tried: tuple[Tried, ...]
    groups: tuple[Group, ...]
    stopped_early: bool


def search(base: Recipe, groups: Sequence[Group], budget: Budget, bench: Bench, *, techniques: bool = True) -> Ended:
    """Carry out the rules above. Groups come back with what each gained and cost, as far as it was measured."""
    run = _Run(budget=budget, bench=bench, groups=list(groups))
    plain = run.measure(base, (), "every layer quantized")
    if plain.figures is None:
        return run.end()
    recipe = base
    if techniques and not run.done(plain):
        recipe = run.try_techniques(base, plain)
    if not run.enough():
        run.find_layers(recipe)
    return run.end()


@dataclass(kw_only=True)
class _Run:
    budget: Budget
    bench: Bench
    groups: list[Group]
    tried: dict[str, Tried] = field(default_factory=dict)

    def measure(self, recipe: Recipe, groups: Sequence[Group], label: str, *, careful: bool = False) -> Tried:
        patterns = tuple(pattern for group in self.groups if group in groups for pattern in group.patterns)
        asked = dataclasses.replace(recipe, float_layers=(*recipe.float_layers, *patterns))
        key = str(asked)
        if key not in self.tried or careful:
            names = tuple(group.name for group in self.groups if group in groups)
            self.tried[key] = self.bench.measure(asked, names, label, careful=careful)
        return self.tried[key]

    def done(self, tried: Tried) -> bool:
        """Rule 1: nothing is left to gain."""
        return self.budget.objective != "closest" and self._meets(tried)

    def enough(self) -> bool:
        return any(self.done(one) for one in self.tried.values())

    def try_techniques(self, base: Recipe, plain: Tried) -> Recipe:
        """Rule 2."""
        recipe, noise = base, _noise(plain)
        static = STATIC_TECHNIQUES if mode_of(base) == "static" else ()
        for choices in (*static, *TECHNIQUES):
            for changes in choices:
                if not self.bench.time_left() or all(getattr(recipe, name) == changes[name] for name in changes):
                    continue
                label = ", ".join(f"{name} {value}" for name, value in changes.items())
                tried = self.measure(dataclasses.replace(recipe, **changes), (), label)
                if tried.figures is not None and _noise(tried) < WORTH_KEEPING * noise:
                    recipe, noise = tried.recipe, _noise(tried)
                    self.bench.say(f"kept: {label}")
        return recipe

    def find_layers(self, recipe: Recipe) -> None:
        """Rules 3 to 5."""
        plain = self.measure(recipe, (), "every layer quantized", careful=True)
        ordered = self._ordered(recipe, plain)
        if self.budget.objective == "closest":
            count = self._bisect(recipe, ordered, lambda tried: not self._affordable(tried)) - 1
        else:
            count = self._bisect(recipe, ordered, self._meets_kept)
        if self.budget.objective == "closest":
            self._fill(recipe, ordered, count)
        elif 0 < count <= len(ordered):
            self._put_back(recipe, ordered[:count])

    def end(self) -> Ended:
        """Rule 6."""
        chosen = self._finalist()
        measured = [one for one in self.tried.values() if one.figures is not None]
        best = chosen or min(measured, key=self._distance, default=None)
        return Ended(
            chosen=chosen, best=best, tried=tuple(self.tried.values()), groups=tuple(self.groups),
            stopped_early=not self.bench.time_left(),
        )  # fmt: skip

    def _ordered(self, recipe: Recipe, plain: Tried) -> list[Group]:
        """Rule 3. Groups that could not be measured, or whose turn did not come, are left out."""
        found = []
        for index, group in enumerate(self.groups):
            if not self.bench.time_left(ALONE_SHARE):
                self.bench.say(f"{len(self.groups) - index} groups were not tried alone, for want of time")
                break
            alone = self.measure(recipe, (group,), _in_float((group,)))
            if alone.figures is not None and plain.figures is not None:
                cost = value_of(alone.figures, self._cost) - value_of(plain.figures, self._cost)
                gained = 1 - _noise(alone) / _noise(plain)
                self.groups[index] = dataclasses.replace(group, gained=gained, costs=cost)
                found.append(self.groups[index])
        return sorted(found, key=lambda one: (one.gained or 0.0) / max(one.costs or 0.0, self._floor), reverse=True)

    def _bisect(self, recipe: Recipe, ordered: Sequence[Group], reached: Callable[[Tried], bool]) -> int:
        """Rule 4: the smallest number of first groups for which `reached` holds; one more than there are for none."""
        low, high, step = 0, len(ordered) + 1, 1
        while high - low > 1 and self.bench.time_left():
            count = min(low + step, len(ordered)) if high > len(ordered) else (low + high) // 2
            tried = self.measure(recipe, ordered[:count], _in_float(ordered[:count]))
            if reached(tried):
                high = count
            else:
                low, step = count, step * 2
        return high

    def _put_back(self, recipe: Recipe, taken: Sequence[Group]) -> None:
        """Rule 5."""
        kept = list(taken)
        for group in sorted(taken, key=lambda one: one.costs or 0.0, reverse=True):
            without = [one for one in kept if one != group]
            if without and self.bench.time_left():
                tried = self.measure(recipe, without, _in_float(without))
                kept = without if self._meets_kept(tried) else kept

    def _fill(self, recipe: Recipe, ordered: Sequence[Group], count: int) -> None:
        """Rule 5 where the closest file is asked for: what still fits after the first that does not."""
        kept = list(ordered[:count])
        for group in ordered[count + 1 :]:
            if (group.gained or 0.0) > 0 and self.bench.time_left():
                tried = self.measure(recipe, [*kept, group], _in_float([*kept, group]))
                kept = [*kept, group] if self._affordable(tried) else kept

    def _finalist(self) -> Tried | None:
        """Latency is noisy: the first few of those that keep enough are measured longer, whatever they cost."""
        keeping = sorted((one for one in self.tried.values() if self._meets_kept(one)), key=self._rank)[:FINALISTS]
        again = [self.bench.measure(one.recipe, one.groups, one.label, careful=True) for one in keeping]
        self.tried |= {str(one.recipe): one for one in again}
        meeting = sorted((one for one in again if self._meets(one)), key=self._rank)
        if not meeting or self.budget.objective == "closest":
            return meeting[0] if meeting else None
        least = self._rank(meeting[0])[1]
        return min((one for one in meeting if self._rank(one)[1] <= least + self._floor), key=_noise)

    @property
    def _cost(self) -> Metric:
        bounded = [bound.metric for bound in self.budget.bounds if bound.metric in COSTS]
        if self.budget.objective == "closest":
            return "latency_ratio" if "latency_ratio" in bounded else "size_ratio"
        return "size_ratio" if self.budget.objective == "smallest" else "latency_ratio"

    @property
    def _floor(self) -> float:
        return SIZE_FLOOR if self._cost == "size_ratio" else LATENCY_FLOOR

    def _meets(self, tried: Tried) -> bool:
        return tried.figures is not None and not misses(self.budget, tried.figures)

    def _meets_kept(self, tried: Tried) -> bool:
        """The bounds on what must be kept, whatever it costs."""
        return tried.figures is not None and self._missed(tried.figures, costs=False) == 0

    def _affordable(self, tried: Tried) -> bool:
        return tried.figures is not None and self._missed(tried.figures, costs=True) == 0

    def _missed(self, figures: Figures, *, costs: bool) -> float:
        return sum(miss(bound, figures) for bound in self.budget.bounds if (bound.metric in COSTS) == costs)

    def _distance(self, tried: Tried) -> float:
        """How far a point is from the budget: all misses, each as a share of its bound."""
        figures = tried.figures
        missed = misses(self.budget, figures) if figures is not None else ()
        return sum(by / max(abs(bound.limit), 1e-9) for bound, by in missed)

    def _rank(self, tried: Tried) -> tuple[float, float]:
        """Costs that are too high come last; else the objective decides."""
        if tried.figures is None:
            return float("inf"), float("inf")
        wanted = _noise(tried) if self.budget.objective == "closest" else value_of(tried.figures, self._cost)
        return self._missed(tried.figures, costs=True), wanted


def _in_float(groups: Sequence[Group]) -> str:
    named = ", ".join(group.name for group in groups[:NAMED])
    more = f" and {len(groups) - NAMED} more groups" if len(groups) > NAMED else ""
    return f"{named}{more} in float"


def _noise(tried: Tried) -> float:
    """Energy of the difference over energy of what tells inputs apart."""
    return 10 ** (-tried.figures.sqnr_db / 10) if tried.figures is not None else float("inf")
