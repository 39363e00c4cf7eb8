"""The frozen records of `mcconvert advise`: which file to ship, by which figures, and what these rest on.

Beside `converter.records`, whose rules hold here too. Choosing is left to `advice`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from converter.benchmarked import Timing
from converter.records import Interval, Precision, Tower

PlatformName = Literal["ios", "android", "web", "server-cpu", "server-gpu", "edge"]
Preference = Literal["speed", "size", "fidelity", "ease"]


@dataclass(frozen=True, kw_only=True)
class PlatformFormat:
    """One format that a platform runs: by what, and how that gets there. `source` is where this is documented."""

    runtime: str
    why: str
    source: str
    own: bool = False


@dataclass(frozen=True, kw_only=True)
class Platform:
    """Facts of one platform, as configs/platforms.yaml gives them."""

    title: str
    systems: tuple[str, ...]
    measure: str
    formats: Mapping[str, PlatformFormat]
    near: tuple[str, ...] = ()
    open_batch: bool = False


@dataclass(frozen=True, kw_only=True)
class EaseFact:
    """One thing that makes a file easy to use there, and whether it was seen to hold."""

    name: str
    holds: bool


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A file that PASSED and runs there, with all figures that it may be chosen by.

    `latency_ms` is from the benchmark that the advice rests on, `rounds_ms` its rounds; where there is no benchmark,
    `proof_ms` is what single calls took during the proof.
    """

    step_id: str
    path: str
    sha256: str
    format: str
    precision: Precision
    size_bytes: int
    centred_cosine_min: float | None = None
    top_k: float | None = None
    top_k_interval: Interval | None = None
    latency_ms: Timing | None = None
    rounds_ms: tuple[float, ...] = ()
    proof_ms: float | None = None
    peak_rss_bytes: int | None = None
    ease: tuple[EaseFact, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A file that cannot be shipped there, and why."""

    step_id: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Basis:
    """The benchmark that times come from. `kind` says how its machine is to the platform: `own`, `near` or `other`."""

    file: str
    created: str
    machine: str
    kind: Literal["own", "near", "other"]
    stale: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TowerAdvice:
    """One tower's file to ship. `decided_by` says in words why it is the winner and not the runner-up."""

    tower: Tower
    winner: Candidate | None
    runner_up: Candidate | None
    decided_by: str
    basis: Basis | None
    left_out: tuple[LeftOut, ...]
    not_measured: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Advice:
    """The whole answer. `together` tells of both towers' files used with one index."""

    model: str
    trained: bool
    platform: PlatformName
    preference: Preference
    towers: tuple[TowerAdvice, ...]
    together: tuple[str, ...]
    caveats: tuple[str, ...]
    measure: tuple[str, ...]
    runtimes: Mapping[str, str] = field(default_factory=dict)
