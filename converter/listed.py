"""The records of the catalogue, which reports print: a line of a listing, and what was proven of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from converter.records import Tower


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A line of a listing. `name` is what --model takes; `refused` says why the text tower or all of it is left out.

    `parameters` holds millions a tower where they are known, `proven` names the targets whose files all passed.
    """

    name: str
    title: str
    towers: tuple[Tower, ...]
    size: int
    weights: str
    license: str
    refused: str = ""
    parameters: Mapping[Tower, float] = field(default_factory=dict)
    preprocessing: str = ""
    proven: str = ""


@dataclass(frozen=True, kw_only=True)
class Proven:
    """What an earlier run of a model's files proved: on which weights, and the verdict of each step by its id."""

    weights: str
    rows: Mapping[str, str]

    def targets(self) -> dict[str, tuple[int, int]]:
        """How many of a target's files passed, and how many there were."""
        verdicts: dict[str, list[str]] = {}
        for step, verdict in self.rows.items():
            verdicts.setdefault(step.split("/")[1] if step.count("/") == 2 else step, []).append(verdict)
        return {target: (sum(one == "PASSED" for one in seen), len(seen)) for target, seen in verdicts.items()}
