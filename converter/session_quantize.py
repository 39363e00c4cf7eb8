"""One search from request to recipe: the float32 file by the ordinary run, the search, the recipe's file, the verdict.

The search judges on calibration samples that ranges are not taken from; the ordinary run then judges the recipe that
was written on the parity samples, which the search never saw.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from converter.config import Config, RowConfig
from converter.errors import ConversionError, ParityError, UsageError, nearest
from converter.files import write_atomically
from converter.pipeline.cache import Cache, Entry
from converter.pipeline.plugins import unsupported
from converter.pipeline.quantize import search_recipe
from converter.pipeline.run import Finished, RunReport, Started
from converter.pipeline.steps import chain, reference_id
from converter.quantization.recipes import mode_of
from converter.quantization.writing import recipe_yaml
from converter.recipe_files import is_recipe_file, recipe_name, row_for
from converter.records import Recipe, StageResult, Step, Tower
from converter.searched import COSTS, Budget, Found, SearchOrder
from converter.session import Prepared, Request, export, prepare, read_config, threads_of

COUNTED = ("size_ratio", "centred_cosine_mean", "centred_cosine_min", "top_k", "top1", "kendall_tau", "sqnr_db")


@dataclass(frozen=True, kw_only=True)
class SearchRequest:
    """What the user asked for. `request` is about model, weights, towers and folders; `name` is the recipe's."""

    request: Request
    target: str
    recipe: str
    budget: Budget
    budget_text: str
    only: tuple[str, ...] = ()
    techniques: bool = True
    minutes: float = 60.0
    name: str = ""
    file: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Searched:
    """One tower's end. `file` is None where no recipe meets the budget; `judged` is the verdict on parity samples.

    `missed` says in words which bounds the parity samples do not confirm.
    """

    tower: Tower
    found: Found
    file: str | None
    plot: str
    judged: StageResult | None = None
    missed: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What is searched, settled before anything runs: the recipe, the row that follows it, the run of its parent."""

    wanted: SearchRequest
    config: Config
    recipe: Recipe
    row: RowConfig
    prepared: Prepared


def settle(wanted: SearchRequest) -> Settled:
    """Check everything that can be checked without running.

    Raises:
        UsageError: an unknown target or recipe, one that the target cannot follow, or one with nothing to search.
    """
    config = read_config(dataclasses.replace(wanted.request, quants=(wanted.recipe,), targets=()))
    if wanted.target not in config.targets:
        message = f"unknown target '{wanted.target}'; {nearest(wanted.target, config.targets)}"
        raise UsageError(message)
    name = recipe_name(wanted.recipe) if is_recipe_file(wanted.recipe) else wanted.recipe
    if name not in config.recipes:
        message = f"unknown recipe '{name}'; {nearest(name, config.recipes)}"
        raise UsageError(message)
    recipe = config.recipes[name]
    if mode_of(recipe) == "float16":
        message = f"recipe '{name}' stores float16 weights and computes in float: there is no layer to leave in float"
        raise UsageError(message)
    row, reason = row_for(config, wanted.target, recipe, unsupported)
    if row is None:
        message = f"{wanted.target} cannot follow recipe '{name}': {reason}"
        raise UsageError(message)
    target, _, parent = row.parent.partition("/")
    request = dataclasses.replace(wanted.request, targets=(target,), quants=(parent,))
    prepared = prepare(request)
    steps = _needed(prepared.steps, row.parent)
    return Settled(
        wanted=wanted, config=config, recipe=recipe, row=row, prepared=dataclasses.replace(prepared, steps=steps)
    )


def run_search(
    settled: Settled, started: Started, finished: Finished, said: Callable[[str], None]
) -> Iterator[Searched]:
    """Every tower's search, one after the other; the file of a recipe is written before it is judged.

    Raises:
        ConversionError: the float32 file could not be made.
        ParityError: the float32 file is not the model.
    """
    report = export(settled.prepared, started, finished)
    for tower in dict.fromkeys(step.tower for step in settled.prepared.steps):
        if tower in settled.row.towers:
            yield _search(settled, tower, report, (started, finished), said)


def recipe_path(settled: Settled, tower: Tower) -> Path:
    """Where the recipe of that tower is written."""
    wanted = settled.wanted
    if wanted.file is not None:
        return wanted.file
    name = wanted.name or f"mixed_{settled.recipe.name.removeprefix(f'{tower}_').removeprefix('mixed_')}"
    return settled.prepared.workspace.folder / "recipes" / f"{tower}_{name}.yaml"


def _needed(steps: Sequence[Step], row_id: str) -> tuple[Step, ...]:
    """The steps of that row, and what these are made from."""
    before = chain(steps)
    waiting, needed = [step.id for step in steps if step.id == f"{step.tower}/{row_id}"], set[str]()
    while waiting:
        needed.add(waiting[-1])
        waiting.extend(before[waiting.pop()])
    return tuple(step for step in steps if step.id in needed)


def _search(
    settled: Settled, tower: Tower, report: RunReport, shown: tuple[Started, Finished], said: Callable[[str], None]
) -> Searched:
    cache, wanted = settled.prepared.planner.cache, settled.wanted
    parent, root = _float32(settled, tower, report), report.entries[reference_id(tower)]
    order = SearchOrder(
        budget=wanted.budget, cache=str(cache.root / "search"), only=wanted.only, techniques=wanted.techniques,
        seconds=wanted.minutes * 60,
    )  # fmt: skip
    step = _step(settled, tower, cache, root)
    file = recipe_path(settled, tower)
    artifact = dataclasses.replace(parent.artifact, path=str(cache.path(parent)))
    found = search_recipe(step, artifact, order, said, threads=threads_of(settled.prepared.config))
    searched = Searched(tower=tower, found=found, file=None, plot=str(file.with_suffix(".png")))
    if found.chosen is None:
        return searched
    write_atomically(file, recipe_yaml(found, _heading(settled, tower, file)))
    said(f"written: {file}; now judged on the parity samples")
    judged = _judge(settled, tower, file, shown)
    missed = _missed(wanted.budget, judged)
    write_atomically(file, recipe_yaml(found, _heading(settled, tower, file), judged))
    return dataclasses.replace(searched, file=str(file), judged=judged, missed=missed)


def _float32(settled: Settled, tower: Tower, report: RunReport) -> Entry:
    step_id = f"{tower}/{settled.row.parent}"
    result = next((one for one in report.results if one.step_id == step_id), None)
    if report.interrupted:
        raise KeyboardInterrupt
    if result is None or step_id not in report.entries:
        message = f"{step_id} was not made: {result.reason if result else 'it has no such tower'}"
        error = ConversionError(message)
        error.exit_code = result.exit_code if result and result.exit_code else error.exit_code
        raise error
    if result.status != "PASSED":
        message = f"{step_id} is not the model, so nothing can be judged against it: {'; '.join(result.failures)}"
        raise ParityError(message)
    return report.entries[step_id]


def _step(settled: Settled, tower: Tower, cache: Cache, root: Entry) -> Step:
    """The step that the recipe's row will be, with the calibration samples at hand."""
    row, target, name = settled.row, settled.wanted.target, settled.recipe.name
    bounds = settled.config.targets[target].tolerances[row.tolerances]
    return Step(
        id=f"{tower}/{target}/{name}", stage=row.stage, tower=tower, target=target, row=name, precision=row.precision,
        parent=f"{tower}/{row.parent}", file_name=row.file.replace("{tower}", tower), options=dict(row.options),
        recipe=dataclasses.replace(settled.recipe, calibration_path=str(cache.path(root, "calibration"))),
        tie_margin=bounds.tie_margin, limits=settled.config.step_limits(),
    )  # fmt: skip


def _judge(settled: Settled, tower: Tower, file: Path, shown: tuple[Started, Finished]) -> StageResult | None:
    """The verdict of the ordinary run on the file that the written recipe gives."""
    request = dataclasses.replace(
        settled.wanted.request, towers=(tower,), targets=(settled.wanted.target,), quants=(str(file),), force=False
    )
    report = export(prepare(request), *shown)
    if report.interrupted:
        raise KeyboardInterrupt
    return next((one for one in report.results if one.step_id.endswith(f"/{recipe_name(file)}")), None)


def _missed(budget: Budget, judged: StageResult | None) -> tuple[str, ...]:
    """The bounds that the parity samples do not confirm; latency is not measured there."""
    report = judged.vs_reference if judged else None
    if judged is None or report is None or report.ranking is None:
        reason = judged.reason if judged else "there is no such step"
        return (f"the ordinary run made no verdict: {reason}",)
    seen = {name: getattr(report.outputs[0], name, None) for name in COUNTED}
    seen |= {name: getattr(report.ranking, name) for name in ("top_k", "top1", "kendall_tau")}
    seen["size_ratio"] = judged.size_ratio
    found = []
    for bound in budget.bounds:
        value = seen.get(bound.metric)
        over = 0.0 if value is None else (value - bound.limit) * (1 if bound.metric in COSTS else -1)
        if over > 0:
            found.append(f"{bound}: {value:.4f}, missed by {over:.4f}")
    return tuple(found)


def _heading(settled: Settled, tower: Tower, file: Path) -> Sequence[str]:
    """The commands of the file's first lines: what found it, what uses it."""
    wanted, request = settled.wanted, settled.wanted.request
    model = ["--model", settled.prepared.spec.id]
    given = {"--weights": request.weights, "--calibration": request.calibration_images,
             "--calibration-captions": request.calibration_captions}  # fmt: skip
    model += [str(word) for name, value in given.items() if value for word in (name, value)]
    model += [word for setting in request.settings for word in ("--set", setting)]
    only = [word for pattern in wanted.only for word in ("--only", pattern)]
    plain = [] if wanted.techniques else ["--no-techniques"]
    search = ["mcconvert", "quantize", *model, "--tower", tower, "--target", wanted.target, "--recipe",
              wanted.recipe, *only, *plain, "--budget", wanted.budget_text]  # fmt: skip
    use = ["mcconvert", *model, "--tower", tower, "--target", wanted.target, "--quant", file.name]
    return f"{settled.prepared.spec.title}, {tower} tower", shlex.join(search), shlex.join(use)
