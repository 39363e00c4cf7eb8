"""Configuration and selection -> the steps of a run, parents first.

Every tower begins with the step `<tower>/pytorch/reference`: it builds the PyTorch model, stores the reference
embeddings and writes the rewritten tower that the other stages start from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from converter.config import Config, RowChoice
from converter.errors import ConfigError, McconvertError, UsageError, nearest
from converter.parsing import parse
from converter.pipeline.plugins import load_stage, unsupported
from converter.records import ModelSpec, Step, Tolerance, Tower

REFERENCE_STAGE = "reference"
REFERENCE_TOLERANCES = (
    Tolerance(metric="centred_cosine_min", limit=0.999999, why="rewrites change the order of float32 sums only"),
    Tolerance(metric="max_abs", limit=1e-5, why="unit-length float32 outputs after about 200 folded layers"),
    Tolerance(metric="top_k", limit=1.0, why="no swap beyond rounding"),
    Tolerance(metric="stress_cosine_min", limit=0.9999, why="folded layers move noise on seeded S1 by 1 - 2.8e-6"),
)
REFERENCE_TIE_MARGIN = 1e-5
"""Two scores of unit vectors that lie closer than the largest difference allowed above cannot be ordered."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What the user asked for; empty means the pipeline's own rows."""

    targets: tuple[str, ...] = ()
    quants: tuple[str, ...] = ()
    from_pipeline: bool = False


def reference_id(tower: Tower) -> str:
    """The id of the step that makes a tower's reference."""
    return f"{tower}/pytorch/{REFERENCE_STAGE}"


def build_steps(config: Config, spec: ModelSpec, selection: Selection, *, trained: bool) -> list[Step]:
    """The steps of a run: what was selected and everything that it is made from or measured against.

    Raises:
        UsageError: an unknown target or precision, or nothing was selected.
        ConfigError: a row is its own ancestor, or its file name is none.
    """
    rows = select_rows(config, selection)
    towers = [tower for tower in config.towers if tower in spec.towers]
    steps: dict[str, Step] = {}
    mistakes: list[str] = []
    for tower in towers:
        for row_id, choice in rows.items():
            if tower in config.row(row_id).towers:
                _add(config, tower, row_id, choice, steps, mistakes, trained=trained)
    if mistakes:
        raise ConfigError(dict.fromkeys(mistakes))
    if not steps:
        message = "nothing to do: the selection has no row for the chosen towers; see 'mcconvert targets'"
        raise UsageError(message)
    return list(steps.values())


def select_rows(config: Config, selection: Selection) -> dict[str, RowChoice]:
    """The rows that were asked for, with how each is taken.

    A row that the user names with --target or --quant is required, whatever the default pipeline says of it.

    Raises:
        UsageError: an unknown target or precision, or a combination that no target has.
    """
    if not selection.targets and not selection.quants:
        return dict(config.rows)
    _check_names(config, selection)
    every = {f"{target}/{row}": RowChoice() for target, one in config.targets.items() for row in one.rows}
    universe = dict(config.rows) if selection.from_pipeline else every
    chosen = {name: choice for name, choice in universe.items() if _matches(config, name, selection)}
    if not chosen:
        have = ", ".join(sorted({f"{name.partition('/')[0]}: {config.row(name).precision}" for name in universe}))
        message = "\n  ".join([f"no target has that precision; available are {have}", *_reasons(config, selection)])
        raise UsageError(message)
    return chosen


def _reasons(config: Config, selection: Selection) -> list[str]:
    """What the stages of the chosen targets say about the recipes that were asked for."""
    wanted = [one for one in config.recipes.values() if {one.name, one.precision} & set(selection.quants)]
    stages = {target: {row.stage for row in config.targets[target].rows.values()} for target in selection.targets}
    asked = [(target, stage, one) for target, names in stages.items() for stage in names for one in wanted]
    return sorted({f"{target}: {why}" for target, stage, one in asked if (why := unsupported(stage, one))})


def quant_names(config: Config) -> list[str]:
    """Everything that --quant takes: precisions, recipes and row names."""
    rows = [(name, row) for target in config.targets.values() for name, row in target.rows.items()]
    names = {row.precision for _, row in rows} | {row.recipe for _, row in rows if row.recipe}
    return sorted({*names, *(name for name, _ in rows)})


def _check_names(config: Config, selection: Selection) -> None:
    for target in selection.targets:
        if target != "all" and target not in config.targets:
            message = f"unknown target '{target}'; {nearest(target, config.targets)} ('mcconvert targets' lists them)"
            raise UsageError(message)
    known = quant_names(config)
    for quant in selection.quants:
        if quant != "all" and quant not in known:
            message = f"unknown precision '{quant}'; {nearest(quant, known)} ('mcconvert targets' lists them)"
            raise UsageError(message)


def _matches(config: Config, row_id: str, selection: Selection) -> bool:
    target, _, name = row_id.partition("/")
    row = config.row(row_id)
    in_target = not selection.targets or "all" in selection.targets or target in selection.targets
    wanted = set(selection.quants)
    in_quant = not wanted or "all" in wanted or bool(wanted & {row.precision, row.recipe, name})
    return in_target and in_quant


def _add(
    config: Config, tower: Tower, row_id: str, choice: RowChoice | None, steps: dict[str, Step],
    mistakes: list[str], *, trained: bool, path: tuple[str, ...] = (),
) -> None:  # fmt: skip
    """Add a row's step after the steps that it needs. `choice` is None for a row that nobody asked for."""
    step_id = f"{tower}/{row_id}"
    if row_id in path:
        mistakes.append(f"targets: {' -> '.join((*path, row_id))} is a circle of parents")
        return
    if step_id in steps:
        if choice is not None and not steps[step_id].requested:
            steps[step_id] = _step(config, tower, row_id, choice, mistakes, trained=trained)
        return
    row = config.row(row_id)
    if row.parent == "pytorch":
        steps.setdefault(reference_id(tower), _reference_step(config, tower))
    else:
        _add(config, tower, row.parent, None, steps, mistakes, trained=trained, path=(*path, row_id))
    if row.size is not None:
        _add(config, tower, row.size.relative_to, None, steps, mistakes, trained=trained, path=(*path, row_id))
    steps[step_id] = _step(config, tower, row_id, choice, mistakes, trained=trained)


def _reference_step(config: Config, tower: Tower) -> Step:
    return Step(
        id=reference_id(tower), stage=REFERENCE_STAGE, tower=tower, target="pytorch", row=REFERENCE_STAGE,
        precision="fp32", parent=None, file_name=f"{tower}.pt", tolerances=REFERENCE_TOLERANCES,
        tie_margin=REFERENCE_TIE_MARGIN, limits=config.step_limits(),
    )  # fmt: skip


def _step(
    config: Config, tower: Tower, row_id: str, choice: RowChoice | None, mistakes: list[str], *, trained: bool
) -> Step:
    target, _, name = row_id.partition("/")
    row = config.row(row_id)
    bounds = config.targets[target].tolerances[row.tolerances]
    tolerances = bounds.trained if trained or bounds.seeded is None else bounds.seeded
    if row.size is not None:
        tolerances = (*tolerances, Tolerance(metric="size_ratio", limit=row.size.at_most, why=row.size.why))
    file_name = row.file.replace("{tower}", tower)
    if file_name != Path(file_name).name or "{tower}" not in row.file:
        mistakes.append(
            f"targets.{target}.rows.{name}.file: expected a plain file name with {{tower}}, found {row.file!r}"
        )
    taken = choice or RowChoice()
    return Step(
        id=f"{tower}/{row_id}", stage=row.stage, tower=tower, target=target, row=name, precision=row.precision,
        parent=reference_id(tower) if row.parent == "pytorch" else f"{tower}/{row.parent}",
        file_name=file_name, options=dict(row.options),
        recipe=config.recipes[row.recipe] if row.recipe else None, tolerances=tolerances, tie_margin=bounds.tie_margin,
        size_reference=f"{tower}/{row.size.relative_to}" if row.size else None, requested=choice is not None,
        required=taken.required, not_required_because=taken.reason, limits=config.step_limits(),
    )  # fmt: skip


def option_mistakes(stage_name: str, options: Mapping[str, object], crumb: str) -> list[str]:
    """What is wrong with a row's stage or with the options given to it."""
    mistakes: list[str] = []
    try:
        stage = load_stage(stage_name)
    except McconvertError as error:
        return [f"{crumb}.stage: {error}"]
    parse(stage.Options, options, f"{crumb}.options", mistakes)
    return mistakes


def chain(steps: Sequence[Step]) -> dict[str, tuple[str, ...]]:
    """For each step, the ids of those that must end before it."""
    return {step.id: tuple(dict.fromkeys(one for one in (step.parent, step.size_reference) if one)) for step in steps}
