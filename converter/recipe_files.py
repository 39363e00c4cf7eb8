"""Recipes that lie outside of the package: `--quant path/to/recipe.yaml`, or a row's `recipe: path/to/recipe.yaml`.

A file's name is the recipe's name. A name that begins with a tower's, as in `image_mixed.yaml`, is for that tower
alone: it names that tower's layers. Given by --quant, a recipe becomes a row of every target that can follow it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converter.errors import UsageError, nearest
from converter.records import TOWERS, Recipe, Tower

if TYPE_CHECKING:
    from converter.config import Config, RowConfig

ENDINGS = (".yaml", ".yml")
Unsupported = Callable[[str, Recipe], str]
"""(stage, recipe) -> why the stage cannot follow the recipe; empty where it can."""
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
_OURS = ("name", "calibration_path")
"""Fields that a recipe file does not set: its own name says the one, the run the other."""


def is_recipe_file(name: object) -> bool:
    """Whether a recipe is named by its file."""
    return isinstance(name, str) and name.lower().endswith(ENDINGS)


def recipe_name(file: str | Path) -> str:
    """What the recipe in that file is called."""
    return Path(file).stem


def take_recipe_files(
    tree: dict[str, Any], files: Iterable[str], read: Callable[[Path], Mapping[str, Any]], mistakes: list[str]
) -> None:
    """Put `files`, and those that rows of the tree name, among the tree's recipes; rows name them by name then."""
    shipped, taken = set(tree["recipes"]), dict[str, Path]()
    for file in files:
        _take(tree, file, "--quant", read, shipped, taken, mistakes)
    for target, spec in tree["targets"].items():
        rows = spec.get("rows") if isinstance(spec, Mapping) else None
        for name, row in rows.items() if isinstance(rows, Mapping) else ():
            if isinstance(row, dict) and is_recipe_file(row.get("recipe")):
                crumb = f"targets.{target}.rows.{name}.recipe"
                row["recipe"] = _take(tree, row["recipe"], crumb, read, shipped, taken, mistakes)


def add_rows(config: Config, files: Iterable[str], targets: Sequence[str], unsupported: Unsupported) -> Config:
    """The configuration with a row for each recipe file in each target that can follow it.

    Raises:
        UsageError: none of `targets` (all where it is empty) can; each says why.
    """
    from converter.config import RowChoice

    rows, choices = {target: dict(spec.rows) for target, spec in config.targets.items()}, dict(config.rows)
    for name in dict.fromkeys(map(recipe_name, files)):
        reasons = {}
        for target in config.targets:
            row, reasons[target] = row_for(config, target, config.recipes[name], unsupported)
            if row is not None:
                rows[target][name] = row
                choices[f"{target}/{name}"] = RowChoice()
        wanted = [target for target in targets if target in reasons] or list(reasons)
        if all(reasons[target] for target in wanted):
            lines = [f"{target}: {reasons[target]}" for target in wanted]
            message = "\n  ".join([f"no target can follow recipe '{name}':", *lines])
            raise UsageError(message)
    return dataclasses.replace(
        config, rows=choices,
        targets={name: dataclasses.replace(one, rows=rows[name]) for name, one in config.targets.items()},
    )  # fmt: skip


def row_for(config: Config, target: str, recipe: Recipe, unsupported: Unsupported) -> tuple[RowConfig | None, str]:
    """A row that follows the recipe, made after the target's own row of that recipe or precision; or why there is none.

    Its tolerances and its bound on size are those of that row.
    """
    reason = f"it has no {recipe.precision} row that a recipe makes"
    for row in _nearest_rows(config, target, recipe):
        reason = unsupported(row.stage, recipe)
        if not reason:
            tower, rest = _tower_and_rest(recipe.name)
            return dataclasses.replace(
                row, recipe=recipe.name, summary=recipe.summary, file=f"{{tower}}_{rest}{_ending(row.file)}",
                towers=(tower,) if tower else row.towers,
            ), ""  # fmt: skip
    return None, reason


def _nearest_rows(config: Config, target: str, recipe: Recipe) -> list[RowConfig]:
    rows = config.targets[target].rows
    names = [name for name, row in rows.items() if row.recipe is not None and row.precision == recipe.precision]
    names.sort(key=lambda name: (rows[name].recipe != recipe.name, name != recipe.precision))
    return [rows[name] for name in names]


def _tower_and_rest(name: str) -> tuple[Tower | None, str]:
    found: Tower | None = next((tower for tower in TOWERS if name.startswith(f"{tower}_")), None)
    return found, name.removeprefix(f"{found}_") if found else name


def _ending(file: str) -> str:
    return "." + file.partition(".")[2]


def _take(
    tree: dict[str, Any], file: str, crumb: str, read: Callable[[Path], Mapping[str, Any]], shipped: set[str],
    taken: dict[str, Path], mistakes: list[str],
) -> str:  # fmt: skip
    path, name = Path(file).expanduser(), recipe_name(file)
    if not path.is_file():
        near = [other.name for other in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        mistakes.append(f"{crumb}: {file}: no such file; {nearest(path.name, near)}")
    elif not _NAME.fullmatch(name):
        mistakes.append(f"{crumb}: {file}: a recipe's file name is its name: letters, digits, '_', '-' and '.'")
    elif name in shipped or taken.get(name, path.resolve()) != path.resolve():
        other = taken.get(name, "the recipe of that name which ships")
        mistakes.append(f"{crumb}: {file}: its name is that of {other}; rename one")
    else:
        read_in = dict(read(path))
        mistakes.extend(f"{file}: {key}: not set in a recipe file; leave it out" for key in _OURS if key in read_in)
        tree["recipes"][name] = {"name": name} | {key: value for key, value in read_in.items() if key not in _OURS}
        taken[name] = path.resolve()
        return name
    tree["recipes"].setdefault(name, {"name": name, "summary": "", "precision": "int8", "weight_bits": 8})
    return name
