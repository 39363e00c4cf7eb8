"""The frozen records of a build: which invocation made a model's files, from what, and when.

Beside `converter.records`, whose rules hold here too. They hold no path, no name of a user and none of a machine.
Writing them as a statement, and reading them back, is left to `publishing.provenance`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

How = Literal["built", "cache", "kept", "release"]
"""How a file came into a folder: built by that invocation, taken by it from the cache of finished steps (by a key made
of all that the file depends on), kept from a run that no statement tells of, or written when a release was staged."""


@dataclass(frozen=True, kw_only=True)
class Material:
    """One thing that went into a build. `digest` maps an algorithm (sha256, gitCommit) to a hexadecimal value."""

    name: str
    digest: Mapping[str, str]
    uri: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a file comes from. `sha256` is there once the file is a plain one that a statement names."""

    how: How
    invocation: str = ""
    sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class Build:
    """One invocation of an export. Times are in UTC, as 2026-01-31T12:00:00Z.

    `origins` are by path, relative to the model's folder: of a plain file, or of a folder for all files in it.
    `earlier` are the builds that made what this one only kept; they have no `earlier` of their own.
    """

    parameters: Mapping[str, Any]
    settings: Mapping[str, Any]
    materials: tuple[Material, ...]
    tools: Mapping[str, str]
    invocation: str
    started: str
    finished: str
    origins: Mapping[str, Origin] = field(default_factory=dict)
    sbom_sha256: str = ""
    earlier: tuple[Build, ...] = ()
