"""YAML to records: models, targets, recipes and pipelines, with `--config` and `--set` laid over them.

Everything is read into one tree (`targets`, `recipes`, and the pipeline's own keys), overlays change that tree, and
only then is it parsed, so that a mistake anywhere is reported with its breadcrumb, all of them at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from converter.errors import ConfigError, UsageError, nearest
from converter.parsing import parse
from converter.recipe_files import take_recipe_files
from converter.records import TOWERS, InputKind, Limits, ModelSpec, Precision, Recipe, Tolerance, Tower
from converter.yaml_text import load_yaml

DEFAULT_PIPELINE = "export-all"
PLAIN_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,99}")
"""What may become the name of a file or folder: it has no separator and does not begin with a dot."""
OptionsCheck = Callable[[str, Mapping[str, Any], str], list[str]]


@dataclass(frozen=True, kw_only=True)
class SizeBound:
    """A file must be at most `at_most` times the size of the same tower's `relative_to` row."""

    relative_to: str
    """The row whose file it is held against, as `<target>/<row>`."""
    at_most: float
    """Share of that file's size, 1 for the same."""
    why: str
    """What was measured."""


@dataclass(frozen=True, kw_only=True)
class ToleranceSet:
    """Bounds for trained weights and, where these are harsher, for seeded ones."""

    trained: tuple[Tolerance, ...]
    """Bounds for trained weights."""
    seeded: tuple[Tolerance, ...] | None = None
    """Bounds for seeded weights; those for trained ones where it is left out."""
    tie_margin: float = 0.0
    """Difference of two reference scores below which their order is not held against a file."""
    tie_why: str = ""
    """What was measured."""


@dataclass(frozen=True, kw_only=True)
class RowConfig:
    """One kind of file of a target."""

    stage: str
    """The module of `converter/stages/` that makes it, or a stage from another package."""
    precision: Precision
    """What the file's numbers are called in names and tables."""
    parent: str
    """What it is made from: `pytorch`, or another row as `<target>/<row>`."""
    file: str
    """The file's name; `{tower}` stands for the tower."""
    tolerances: str
    """Which of the target's tolerance sets it is judged by."""
    summary: str = ""
    """What `mcconvert targets` says of it."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The stage's options, below."""
    recipe: str | None = None
    """How numbers are stored: the name of a recipe, or the YAML file of one."""
    size: SizeBound | None = None
    """How large the file may be."""
    towers: tuple[Tower, ...] = TOWERS
    """The towers that it is made of."""


@dataclass(frozen=True, kw_only=True)
class TargetConfig:
    """One target: its rows and their tolerances."""

    title: str
    """The format's name."""
    summary: str
    """Who takes it, and what its inputs are."""
    extra: str
    """The extra that installs its libraries, as in `mcconvert[onnx]`."""
    tolerances: Mapping[str, ToleranceSet]
    """Named sets of bounds; rows point at them."""
    rows: Mapping[str, RowConfig]
    """The files that it offers, by name: what `--quant` takes."""


@dataclass(frozen=True, kw_only=True)
class RowChoice:
    """How a pipeline takes a row. A row that is not required is shown and marked, and decides no exit code."""

    required: bool = True
    """Whether its failure is the run's."""
    reason: str = ""
    """Why it is not required."""


@dataclass(frozen=True, kw_only=True)
class LimitsConfig:
    """Limits of one step's process."""

    minutes: float = 30.0
    """Wall time before it is stopped."""
    memory_gib: float = 12.0
    """Resident memory of the process and its children, in GiB, before it is stopped."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """The whole configuration of a run."""

    targets: Mapping[str, TargetConfig]
    """Targets of `configs/targets/`, a file each; a pipeline may change them or add more."""
    recipes: Mapping[str, Recipe]
    """Recipes of `configs/recipes/`, a file each; a pipeline may change them or add more."""
    rows: Mapping[str, RowChoice]
    """The rows that are made when nothing is asked for, as `<target>/<row>`."""
    model: str = "mobileclip_s1"
    """What `--model` is, if it is not given."""
    weights: str = "auto"
    """What `--weights` is, if it is not given."""
    towers: tuple[Tower, ...] = TOWERS
    """The towers that are made if `--tower` is not given."""
    input: InputKind = "tensor"
    """What image files take: floats, or uint8 pixels (`--input`)."""
    threads: int = 2
    """Threads of each step and of each file that is run."""
    jobs: int = 1
    """Steps side by side (`--jobs`)."""
    limits: LimitsConfig = LimitsConfig()
    """What one step may use."""

    def step_limits(self) -> Limits:
        """The limits in the pipeline's units."""
        return Limits(seconds=self.limits.minutes * 60, memory_bytes=int(self.limits.memory_gib * 2**30))

    def row(self, row_id: str) -> RowConfig:
        """The row named `<target>/<row>`."""
        target, _, row = row_id.partition("/")
        return self.targets[target].rows[row]


def configs_dir() -> Path:
    """Where the YAML files are: beside the package in a checkout, inside it in an installed wheel."""
    packaged = Path(__file__).parent / "configs"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / "configs"


def load_config(
    pipeline: Path | None = None,
    settings: Sequence[str] = (),
    extra_targets: Mapping[str, Path] | None = None,
    check_options: OptionsCheck | None = None,
    recipe_files: Iterable[str] = (),
) -> Config:
    """Read the pipeline (default export-all), the targets and recipes, then lay `settings` (`a.b=value`) over them.

    `check_options(stage, options, breadcrumb)` gives the mistakes in a row's options; the stages know them.
    `recipe_files` are recipes beside those that ship; a row may name such a file too.

    Raises:
        ConfigError: anything is missing, unknown or of the wrong kind; all mistakes are listed.
    """
    source = pipeline or configs_dir() / "pipelines" / f"{DEFAULT_PIPELINE}.yaml"
    tree: dict[str, Any] = {
        "targets": {path.stem: read_yaml(path) for path in _yaml_files("targets")}
        | {name: read_yaml(path) for name, path in (extra_targets or {}).items()},
        "recipes": {path.stem: {"name": path.stem} | read_yaml(path) for path in _yaml_files("recipes")},
    }
    _merge(tree, read_yaml(source))
    mistakes: list[str] = []
    for setting in settings:
        _apply_setting(tree, setting, mistakes)
    take_recipe_files(tree, recipe_files, read_yaml, mistakes)
    config = parse(Config, tree, "", mistakes)
    _check_file_names(tree, mistakes)
    _check_references(tree, mistakes)
    if check_options is not None:
        _check_all_options(tree, check_options, mistakes)
    if mistakes:
        raise ConfigError(mistakes)
    return config


def load_models() -> dict[str, ModelSpec]:
    """Every model that has a YAML of its own, by id.

    Raises:
        ConfigError: a model's YAML is wrong.
    """
    mistakes: list[str] = []
    models = {path.stem: _model_in(path, mistakes) for path in _yaml_files("models")}
    if mistakes:
        raise ConfigError(mistakes)
    return models


def read_model(path: Path) -> ModelSpec:
    """The model that a YAML file describes; the file's name is its id.

    Raises:
        ConfigError: the YAML is wrong.
    """
    mistakes: list[str] = []
    model = _model_in(path, mistakes)
    if mistakes:
        raise ConfigError(mistakes)
    return model


def find_model(name: str, models: Mapping[str, ModelSpec]) -> ModelSpec:
    """The model of that id or alias.

    Raises:
        UsageError: no such model; the nearest name is offered.
    """
    names = {alias.lower(): spec for spec in models.values() for alias in (spec.id, *spec.aliases)}
    if name.lower() not in names:
        message = f"unknown model '{name}'; {nearest(name, models)} ('mcconvert models' lists them)"
        raise UsageError(message)
    return names[name.lower()]


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        ConfigError: the file cannot be read, is not YAML, or is not a mapping.
    """
    try:
        data = load_yaml(path.read_bytes())
    except OSError as error:
        raise ConfigError([f"{path}: {error.strerror or error}"]) from error
    except ValueError as error:
        raise ConfigError([f"{path}: this is not YAML as it is read here: {error}"]) from error
    if not isinstance(data, dict):
        raise ConfigError([f"{path}: expected a mapping of names to values, found {type(data).__name__}"])
    return data


def _model_in(path: Path, mistakes: list[str]) -> ModelSpec:
    crumb = f"models.{path.stem}"
    read = {"id": path.stem} | read_yaml(path)
    _check_plain(f"{crumb}.id", read["id"], mistakes)
    if read.get("bundled"):
        _check_plain(f"{crumb}.bundled", read["bundled"], mistakes)
    for key in ("hub_file", "revision"):
        name = PurePosixPath(str(read.get(key, "")))
        if name.is_absolute() or ".." in name.parts or "\0" in str(name):
            mistakes.append(f"{crumb}.{key}: {str(name)[:80]!r} leads out of the repository; expected a path inside")
    return parse(ModelSpec, read, crumb, mistakes)


def _yaml_files(room: str) -> Iterable[Path]:
    return sorted((configs_dir() / room).glob("*.yaml"))


def _merge(tree: dict[str, Any], overlay: Mapping[str, Any]) -> None:
    for name, value in overlay.items():
        if isinstance(value, Mapping) and isinstance(tree.get(name), dict):
            _merge(tree[name], value)
        else:
            tree[name] = value


def _apply_setting(tree: dict[str, Any], setting: str, mistakes: list[str]) -> None:
    key, equals, text = setting.partition("=")
    if not equals or not key:
        mistakes.append(f"--set {setting}: expected key=value, for example onnx.fp32.options.opset=17")
        return
    path = _full_path(tree, key.strip().split("."))
    node: Any = tree
    for depth, name in enumerate(path[:-1]):
        if name in ("options", "limits") and name not in node:
            node[name] = {}
        if isinstance(node, list):
            node = dict(enumerate(node))
        if name not in node or not isinstance(node[name], dict):
            crumb = ".".join(path[: depth + 1])
            mistakes.append(f"--set {key}: there is no '{crumb}'; {nearest(name, map(str, node))}")
            return
        node = node[name]
    try:
        node[path[-1]] = load_yaml(text)
    except ValueError as error:
        mistakes.append(f"--set {key}: the value {text[:80]!r} is not YAML: {error}")


def _full_path(tree: Mapping[str, Any], path: list[str]) -> list[str]:
    """`onnx.fp32.options.opset` is short for `targets.onnx.rows.fp32.options.opset`."""
    targets = tree["targets"]
    if path[0] in targets and len(path) > 1 and path[1] in (targets[path[0]].get("rows") or {}):
        return ["targets", path[0], "rows", *path[1:]]
    if path[0] in targets:
        return ["targets", *path]
    return path


def _check_file_names(tree: Mapping[str, Any], mistakes: list[str]) -> None:
    """Targets, rows and recipes name folders, logs and files."""
    for room in ("targets", "recipes"):
        for name in tree[room]:
            _check_plain(f"{room}.{name}", name, mistakes)
    for row_id, _ in _raw_rows(tree):
        target, _, name = row_id.partition("/")
        _check_plain(f"targets.{target}.rows.{name}", name, mistakes)


def _check_plain(crumb: str, name: object, mistakes: list[str]) -> None:
    if not PLAIN_NAME.fullmatch(str(name)):
        mistakes.append(f"{crumb}: {str(name)[:80]!r} names files: letters, digits, '_', '-' and '.', no folder")


def _check_references(tree: Mapping[str, Any], mistakes: list[str]) -> None:
    """Names that point at other names. Works on the raw tree, so that other mistakes do not hide these."""
    rows = dict(_raw_rows(tree))
    chosen = tree.get("rows")
    for name in chosen if isinstance(chosen, Mapping) else ():
        _check_name(f"rows.{name}", "row", name, rows, mistakes)
    for row_id, row in rows.items():
        target, _, name = row_id.partition("/")
        crumb = f"targets.{target}.rows.{name}"
        sets = tree["targets"][target].get("tolerances")
        known = [str(one) for one in sets] if isinstance(sets, Mapping) else []  # anything else is a mistake of its own
        _check_name(f"{crumb}.parent", "row", row.get("parent"), {"pytorch", *rows}, mistakes)
        _check_name(f"{crumb}.tolerances", "set", row.get("tolerances"), known, mistakes)
        _check_name(f"{crumb}.recipe", "recipe", row.get("recipe"), tree["recipes"], mistakes)
        size = row.get("size")
        if isinstance(size, Mapping):
            _check_name(f"{crumb}.size.relative_to", "row", size.get("relative_to"), rows, mistakes)


def _check_name(crumb: str, kind: str, name: object, known: Iterable[str], mistakes: list[str]) -> None:
    if isinstance(name, str) and name not in known:
        mistakes.append(f"{crumb}: unknown {kind} '{name}'; {nearest(name, known)}")


def _check_all_options(tree: Mapping[str, Any], check: OptionsCheck, mistakes: list[str]) -> None:
    for row_id, row in _raw_rows(tree):
        target, _, name = row_id.partition("/")
        stage, options = row.get("stage"), row.get("options", {})
        if isinstance(stage, str) and isinstance(options, Mapping):
            mistakes.extend(check(stage, options, f"targets.{target}.rows.{name}"))


def _raw_rows(tree: Mapping[str, Any]) -> Iterable[tuple[str, Mapping[str, Any]]]:
    for target, spec in tree["targets"].items():
        rows = spec.get("rows") if isinstance(spec, Mapping) else None
        for name, row in rows.items() if isinstance(rows, Mapping) else ():
            if isinstance(row, Mapping):
                yield f"{target}/{name}", row
