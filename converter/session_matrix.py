"""What the jobs of a CI matrix are: one for each part of a run, with the arguments that make just that part."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from converter.pipeline.parts import only, parts_of
from converter.records import Tower
from converter.session import Prepared, Request

ELSEWHERE = ("out", "force", "part")
"""Fields of a request that are no part of a job's arguments: where it writes and what it repeats, each job says."""


@dataclass(frozen=True, kw_only=True)
class MatrixJob:
    """One job. `args` is what to pass to mcconvert, quoted for a POSIX shell; `folder` is the model's, below --out.

    `cache_key` changes when any step of the job has to be made or proven again.
    """

    name: str
    model: str
    target: str
    tower: Tower
    rows: tuple[str, ...]
    folder: str
    args: str
    cache_key: str


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """What a CI service's `strategy.matrix` takes."""

    include: tuple[MatrixJob, ...]


def matrix_of(request: Request, prepared: Prepared) -> Matrix:
    """A job for each target and tower that the request selects: those that would run, and no other."""
    return Matrix(include=tuple(_job(request, prepared, part) for part in parts_of(prepared.steps)))


def arguments_of(request: Request) -> list[str]:
    """The request as the options that give it, but for `ELSEWHERE`."""
    given = {one.name: getattr(request, one.name) for one in dataclasses.fields(request)}
    found = dict(_tower(given.pop("towers")))
    found |= {OPTIONS.get(name, f"--{name.replace('_', '-')}"): value for name, value in given.items()
              if name not in ELSEWHERE}  # fmt: skip
    return [f"{option}={one}" for option, values in found.items() for one in _each(values)]


OPTIONS: Mapping[str, str] = {"targets": "--target", "quants": "--quant", "settings": "--set"}


def _job(request: Request, prepared: Prepared, part: str) -> MatrixJob:
    steps = only(prepared.steps, part)
    target, _, _ = part.partition("/")
    rows = [step for step in steps if step.requested and step.target == target]
    return MatrixJob(
        name=part.replace("/", "-"), model=prepared.spec.id, target=target, tower=rows[0].tower,
        rows=tuple(step.row for step in rows), folder=prepared.workspace.model,
        args=shlex.join([*arguments_of(request), f"--part={part}"]), cache_key=prepared.planner.static_key(steps),
    )  # fmt: skip


def _tower(towers: Sequence[Tower]) -> Iterator[tuple[str, str]]:
    if towers:
        yield "--tower", "both" if len(towers) > 1 else towers[0]


def _each(value: object) -> Sequence[object]:
    """The values of an option: none, one, or one for each time it was given."""
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)
