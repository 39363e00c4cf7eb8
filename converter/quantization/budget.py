"""What a quantized file must keep and may cost, read from the command line or from YAML.

    centred_cosine_mean>=0.97, top_k>=0.98, as fast as possible

The metrics are those of the tolerances, and the two costs: `size_ratio` and `latency_ratio`, shares of the float32
file's. YAML says the same as a mapping: `bounds: {centred_cosine_mean: 0.97, top_k: 0.98}` and `objective: fastest`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from converter.errors import ConfigError, nearest
from converter.parsing import parse
from converter.searched import COSTS, METRICS, Bound, Budget, Metric, Objective

ALIASES: Mapping[str, Metric] = {"recall@5": "top_k", "recall@1": "top1", "tau": "kendall_tau", "sqnr": "sqnr_db"}
OBJECTIVES: Mapping[str, Objective] = {
    "fastest": "fastest", "as fast as possible": "fastest", "smallest": "smallest",
    "as small as possible": "smallest", "closest": "closest", "as close as possible": "closest",
}  # fmt: skip
EXAMPLE = "centred_cosine_mean>=0.97, top_k>=0.98, as fast as possible"
_BOUND = re.compile(r"^(?P<name>[\w@]+)\s*(?P<sign>>=|<=|==|=|>|<)\s*(?P<limit>\S+)$")
_SIGNS = {True: ("<=", "<"), False: (">=", ">")}


@dataclass(frozen=True, kw_only=True)
class _File:
    """A budget as YAML."""

    bounds: Mapping[str, float] = field(default_factory=dict)
    objective: Objective = "fastest"


def parse_budget(text: str) -> Budget:
    """A budget in words.

    Raises:
        ConfigError: all that is wrong with it.
    """
    mistakes: list[str] = []
    bounds, objectives = [], []
    for part in filter(None, (one.strip() for one in re.split(r"[,;]|\band\b", text))):
        if " ".join(part.lower().split()) in OBJECTIVES:
            objectives.append(OBJECTIVES[" ".join(part.lower().split())])
        else:
            bounds += _bound(part, mistakes)
    if len(set(objectives)) > 1:
        mistakes.append(f"--budget: it asks for {' and '.join(dict.fromkeys(objectives))}; one objective decides")
    return _checked(bounds, objectives[0] if objectives else "fastest", "--budget", mistakes)


def budget_of(tree: Mapping[str, Any], crumb: str) -> Budget:
    """A budget as YAML has it; `crumb` is the file's name.

    Raises:
        ConfigError: all that is wrong with it.
    """
    mistakes: list[str] = []
    read = parse(_File, tree, crumb, mistakes)
    if mistakes:
        raise ConfigError(mistakes)
    bounds = []
    for name, limit in read.bounds.items():
        metric = _metric(name, f"{crumb}.bounds", mistakes)
        bounds += [Bound(metric=metric, limit=limit)] if metric else []
    return _checked(bounds, read.objective, crumb, mistakes)


def _bound(part: str, mistakes: list[str]) -> list[Bound]:
    found = _BOUND.match(part)
    if found is None:
        words = [*METRICS, *ALIASES, *OBJECTIVES]
        mistakes.append(f"--budget: {part!r} is neither a bound nor an objective; {nearest(part, words)} ({EXAMPLE})")
        return []
    metric = _metric(found["name"], "--budget", mistakes)
    if metric is None:
        return []
    if found["sign"] not in _SIGNS[metric in COSTS]:
        side = "a cost: at most is what can be asked, <=" if metric in COSTS else "kept: at least can be asked, >="
        mistakes.append(f"--budget: {part!r}: {metric} is {side}")
    try:
        return [Bound(metric=metric, limit=float(found["limit"]))]
    except ValueError:
        mistakes.append(f"--budget: {part!r}: {found['limit']!r} is not a number")
        return []


def _metric(name: str, crumb: str, mistakes: list[str]) -> Metric | None:
    metric = ALIASES.get(name.lower(), name.lower())
    if metric in METRICS:
        return metric
    mistakes.append(f"{crumb}: unknown metric '{name}'; {nearest(name, [*METRICS, *ALIASES])}")
    return None


def _checked(bounds: Iterable[Bound], objective: Objective, crumb: str, mistakes: list[str]) -> Budget:
    budget = Budget(bounds=tuple(dict.fromkeys(bounds)), objective=objective)
    mistakes += (one for bound in budget.bounds for one in _impossible(bound, crumb))
    named = [bound.metric for bound in budget.bounds]
    for metric in dict.fromkeys(one for one in named if named.count(one) > 1):
        mistakes.append(f"{crumb}: {metric} is bounded {named.count(metric)} times, by different numbers; keep one")
    if not mistakes:
        mistakes += _idle(budget, crumb)
    if mistakes:
        raise ConfigError(mistakes)
    return budget


def _impossible(bound: Bound, crumb: str) -> list[str]:
    if bound.metric in COSTS:
        fits, expected = bound.limit > 0, "a share of the float32 file's above 0"
    elif bound.metric == "sqnr_db":
        fits, expected = -200 <= bound.limit <= 200, "decibels between -200 and 200"
    else:
        fits, expected = -1 <= bound.limit <= 1, "at most 1"
    return [] if fits else [f"{crumb}: {bound}: no file can do that; expected {expected}"]


def _idle(budget: Budget, crumb: str) -> list[str]:
    """A budget that any file meets, or that float32 meets best, asks nothing."""
    kept = [bound for bound in budget.bounds if bound.metric not in COSTS]
    if budget.objective == "closest" and len(kept) == len(budget.bounds):
        return [f"{crumb}: nothing is closer than the float32 file itself; say what it may cost, as latency_ratio<=0.6"]
    if budget.objective != "closest" and not kept:
        return [f"{crumb}: it does not say what must be kept, and any wrong file is small and fast; as in '{EXAMPLE}'"]
    return []
