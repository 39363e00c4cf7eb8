"""Find stages and runtimes: built-in ones by their file, third-party ones by their entry point.

A third-party package declares `[project.entry-points."mcconvert.stages"]` and `"mcconvert.runtimes"`, each entry a
module with the names of the contract. Its stage module may name a target YAML in `TARGET_CONFIG` (a path); the
target then appears in `mcconvert targets` like a built-in one.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import cast

from converter.errors import McconvertError, MissingDependencyError, UsageError, nearest
from converter.records import Recipe
from converter.runtimes import Runtime
from converter.stages import Stage

STAGE_NAMES = ("FORMAT", "ACCEPTS", "REQUIRES", "Options", "convert")
RUNTIME_NAMES = ("FORMAT", "REQUIRES", "open_runner")


def stage_names() -> tuple[str, ...]:
    """Every stage that can be named in a target YAML."""
    return tuple(sorted({*_built_in("stages", "to_*.py"), *_entry_points("mcconvert.stages")}))


def runtime_names() -> tuple[str, ...]:
    """Every format that has a runtime."""
    return tuple(sorted({*_built_in("runtimes", "*.py"), *_entry_points("mcconvert.runtimes")}))


@cache
def load_stage(name: str) -> Stage:
    """The stage module of that name.

    Raises:
        UsageError: no such stage.
        McconvertError: the module does not fulfil the contract.
    """
    return cast("Stage", _load("stage", name, stage_names(), "mcconvert.stages", "stages", STAGE_NAMES))


def unsupported(stage_name: str, recipe: Recipe) -> str:
    """Why a stage cannot follow a recipe; empty where it can, or where the stage does not say."""
    asked = getattr(load_stage(stage_name), "unsupported", None)
    return str(asked(recipe)) if asked is not None else ""


@cache
def load_runtime(fmt: str) -> Runtime:
    """The runtime module of that format.

    Raises:
        UsageError: no such runtime.
        McconvertError: the module does not fulfil the contract.
    """
    return cast("Runtime", _load("runtime", fmt, runtime_names(), "mcconvert.runtimes", "runtimes", RUNTIME_NAMES))


def extra_targets() -> dict[str, Path]:
    """Target YAMLs that third-party stages bring, by target name."""
    found = {}
    for name in _entry_points("mcconvert.stages"):
        config = getattr(load_stage(name), "TARGET_CONFIG", None)
        if config is not None:
            found[Path(config).stem] = Path(config)
    return found


def versions(distributions: Iterable[str]) -> dict[str, str]:
    """Installed versions of those distributions.

    Raises:
        MissingDependencyError: one is not installed.
    """
    found = {}
    for name in distributions:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError as error:
            message = f"{name} is not installed"
            raise MissingDependencyError(message) from error
    return found


def missing(distributions: Iterable[str]) -> list[str]:
    """Those of the distributions that are not installed."""
    absent = []
    for name in distributions:
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            absent.append(name)
    return absent


def _load(kind: str, name: str, known: Sequence[str], group: str, room: str, contract: Sequence[str]) -> ModuleType:
    if name not in known:
        message = f"unknown {kind} '{name}'; {nearest(name, known)}"
        raise UsageError(message)
    points = _entry_points(group)
    module = points[name].load() if name in points else importlib.import_module(f"converter.{room}.{name}")
    lacking = [one for one in contract if not hasattr(module, one)]
    if lacking:
        message = f"{kind} '{name}' ({module.__name__}) lacks {', '.join(lacking)}: see converter/{room}/__init__.py"
        raise McconvertError(message)
    return cast("ModuleType", module)


def _built_in(room: str, pattern: str) -> list[str]:
    folder = Path(__file__).parent.parent / room
    return [path.stem for path in folder.glob(pattern) if _is_plugin(path)]


def _is_plugin(path: Path) -> bool:
    """A plugin defines the contract's FORMAT; modules that only serve one (a decoder, say) do not."""
    return path.stem != "__init__" and "\nFORMAT" in path.read_text(encoding="utf-8")


@cache
def _entry_points(group: str) -> dict[str, importlib.metadata.EntryPoint]:
    return {point.name: point for point in importlib.metadata.entry_points(group=group)}
