"""What the run of a benchmark and its workers say to each other, a line of JSON each.

A worker reads one `Job`, answers with `Opened` or `Failed`, and then answers every `Turn` with `Took` and every `Ask`
with `Peak`, until its standard input ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from converter.records import Artifact, ModelSpec, Tower, Weights


class Job(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What to open: a file, or the unmodified model where `artifact` is None.

    `samples` is the tower's file of stored samples. `cores` are the processors that the worker keeps to; empty where
    the system has no such thing.
    """

    tower: Tower
    artifact: Artifact | None = None
    spec: ModelSpec | None = None
    weights: Weights | None = None
    samples: str
    threads: int
    cores: tuple[int, ...] = ()
    warmup: int


class Opened(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The file is open and warm. `load_ms` is the time of opening it, its library imported before."""

    executed_by: str
    load_ms: float


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The worker cannot go on, in words."""

    why: str


class Turn(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Run `calls` times with `batch` inputs each, after one call that is not measured. `sample` is the first input."""

    calls: int
    batch: int = 1
    sample: int = 0


class Took(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Milliseconds of each call."""

    milliseconds: tuple[float, ...]


class Ask(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A question."""

    what: Literal["peak"] = "peak"


class Peak(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The most resident memory so far beyond what the process held before opening; None where it is not known."""

    rss_bytes: int | None


type Answer = Opened | Failed | Took | Peak


@dataclass(frozen=True, kw_only=True)
class Lost:
    """A worker that died or hangs, in words."""

    why: str
