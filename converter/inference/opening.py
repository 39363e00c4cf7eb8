"""From what a user named to opened spaces: files, folders, and the PyTorch model, side by side."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, replace

from converter.config import load_config
from converter.errors import UsageError
from converter.inference import Compute, RuntimeOf, Say, Space
from converter.inference.choosing import choose
from converter.inference.files import open_files
from converter.inference.pytorch import open_pytorch
from converter.models.catalog import find
from converter.records import Tower


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What to open. The PyTorch model is used when `model` or `weights` names it, or when there is no file."""

    files: tuple[str, ...] = ()
    model: str | None = None
    weights: str | None = None
    towers: tuple[Tower, ...]
    compute: Compute


def open_spaces(wanted: Wanted, runtime_of: RuntimeOf, say: Say, stack: ExitStack) -> list[Space]:
    """All spaces, each with another name, in the order given, PyTorch last; they stay open as long as `stack`.

    Every file is chosen and hashed before any is loaded. `say` is told what executes each.

    Raises:
        UsageError: a file, model or device is not there.
        ParityError: a file is not the one that was proven.
        WeightsError: the weights cannot be had.
        ConversionError: a file cannot be loaded.
    """
    choices = [choose(named, wanted.towers, runtime_of, say) for named in wanted.files]
    spaces = [open_files(choice, runtime_of, wanted.compute, stack) for choice in choices]
    if wanted.model or wanted.weights or not choices:
        spaces.append(_pytorch(wanted, say, stack))
    spaces = _told_apart(spaces, [str(choice.folder) for choice in choices])
    for space in spaces:
        for executed_by, towers in _by_executor(space).items():
            say(f"{space.name}: {' and '.join(towers)} by {executed_by}")
    return spaces


def untrained(spaces: list[Space]) -> str:
    """A warning that names the spaces without trained weights; empty where all are trained."""
    names = [space.name for space in spaces if not space.model.trained]
    if not names:
        return ""
    return (
        f"{', '.join(names)}: the weights are NOT TRAINED. The vectors are numbers without meaning: what lies near "
        "what is chance, and so is every label. Trained weights: mcconvert --weights FILE, or --weights hub."
    )


def _pytorch(wanted: Wanted, say: Say, stack: ExitStack) -> Space:
    from converter.models.weights import resolve

    spec = find(wanted.model or load_config().model)
    asked = wanted.weights or "auto"
    weights = resolve(spec, asked)
    if asked == "auto" and weights.notice:  # it says why there are no trained ones
        say(weights.notice)
    return open_pytorch(spec, weights, wanted.towers, wanted.compute, stack)


def _told_apart(spaces: list[Space], folders: list[str]) -> list[Space]:
    """Files of the same row in two folders get their folder's name too.

    Raises:
        UsageError: the same file was named twice.
    """
    counts = Counter(space.name for space in spaces)
    named = [
        replace(space, name=f"{space.name} in {folder}") if counts[space.name] > 1 else space
        for space, folder in zip(spaces, [*folders, "PyTorch"], strict=False)
    ]
    twice = [name for name, count in Counter(space.name for space in named).items() if count > 1]
    if twice:
        message = f"--with: {twice[0]} was named twice; name each file once"
        raise UsageError(message)
    return named


def _by_executor(space: Space) -> dict[str, list[Tower]]:
    executors: dict[str, list[Tower]] = {}
    for tower, executed_by in sorted(space.executed_by.items()):
        executors.setdefault(executed_by, []).append(tower)
    return executors
