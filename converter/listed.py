"""The records of the catalogue, which reports print: a line of a listing, and what was proven of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from converter.records import Tower


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A line of a listing. `name` is what --model takes; `refused` says why the text tower or all of it is left out."""

    name: str
    title: str
    towers: tuple[Tower, ...]
    size: int
    weights: str
    license: str
    refused: str = ""


@dataclass(frozen=True, kw_only=True)
class Proven:
    """What an earlier run of a model's files proved: on which weights, when, and the verdict of each step by its id."""

    weights: str
    date: str
    rows: Mapping[str, str]
