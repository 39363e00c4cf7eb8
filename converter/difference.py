"""The frozen records of what changed between two manifests of one model.

Beside `converter.records`, whose rules hold here too. Comparing is left to `publishing.diff`, showing to `report.diff`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Sense = Literal["better", "worse", "neither"]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure of parity, before and after."""

    name: str
    old: float
    new: float
    sense: Sense
    significant: bool = False


@dataclass(frozen=True, kw_only=True)
class Change:
    """One fact that is another one now; `worse` when something that was promised is promised no longer."""

    name: str
    old: str
    new: str
    worse: bool = False


@dataclass(frozen=True, kw_only=True)
class FileChange:
    """What became of one file. `bytes` are None where it is there on one side only."""

    step_id: str
    path: str
    kind: Literal["added", "removed", "changed", "same"]
    old_bytes: int | None
    new_bytes: int | None
    figures: tuple[Figure, ...] = ()
    changes: tuple[Change, ...] = ()
    broken: str = ""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Everything; `broken` says what got worse that was promised."""

    model: str
    files: tuple[FileChange, ...]
    changes: tuple[Change, ...]
    broken: tuple[str, ...]
