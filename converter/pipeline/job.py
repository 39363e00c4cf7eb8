"""What passes between the pipeline and a step's own process, as JSON files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from converter.explained import Explanation, Order
from converter.records import Artifact, ModelSpec, ParityReport, Step, Weights
from converter.searched import Found, SearchOrder

JOB = "job.json"
OUTCOME = "outcome.json"


@dataclass(frozen=True, kw_only=True)
class ReferenceFiles:
    """Absolute paths of what the reference step made: inputs, embeddings, rewritten tower."""

    samples: str
    embeddings: str
    sample_set: str
    tower: Artifact


@dataclass(frozen=True, kw_only=True)
class Job:
    """One step's work. All paths are absolute; `folder` is where results are written, `ranges` where the ranges of
    activations are kept for other steps.

    `make` builds an artifact and proves it, `prove` only runs and compares one that exists (`artifact`), `explain`
    looks for where it parts from the reference, as `order` says, `task` only runs one. `search`
    looks for what the step's recipe must leave in float.
    """

    kind: Literal["make", "prove", "explain", "task", "search"]
    step: Step
    folder: str
    threads: int
    ranges: str | None = None
    spec: ModelSpec | None = None
    weights: Weights | None = None
    images: str | None = None
    calibration_images: str | None = None
    calibration_captions: str | None = None
    parent: Artifact | None = None
    parent_candidate: str | None = None
    artifact: Artifact | None = None
    reference: ReferenceFiles | None = None
    order: Order | None = None
    search: SearchOrder | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the process has to say. `error` is empty when all went well; its `exit_code` is the run's then."""

    error: str = ""
    exit_code: int = 0
    artifact: Artifact | None = None
    vs_reference: ParityReport | None = None
    vs_parent: ParityReport | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, float] = field(default_factory=dict)
    explanation: Explanation | None = None
    found: Found | None = None
