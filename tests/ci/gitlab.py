"""Run a GitLab pipeline on this machine: its jobs by stages, each in a fresh checkout, its scripts in a real shell."""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.ci.machine import Ran, bash, checkout, environment

RESERVED = ("stages", "variables", "default", "workflow", "include")
VARIABLE = re.compile(r"\$(\w+)")


@dataclass(frozen=True, kw_only=True)
class Job:
    """A finished job: where it ran, and what it printed."""

    folder: Path
    ran: Ran


def run_pipeline(pipeline: Mapping[str, Any], base: Path, **variables: str) -> dict[str, Job]:
    """Every job by its name, those of a matrix as `job: [a, b]`. A failure ends the pipeline after its stage."""
    ended: dict[str, Job] = {}
    jobs = {name: spec for name, spec in pipeline.items() if name not in RESERVED}
    for stage in pipeline["stages"]:
        for name, spec in jobs.items():
            known = {**pipeline.get("variables", {}), **variables}
            if spec["stage"] == stage and _rules_let(spec, known):
                for label, chosen in _matrix(name, spec):
                    ended[label] = _run(label, spec, pipeline, base, {**known, **chosen}, ended)
        if any(job.ran.code for job in ended.values()):
            break
    return ended


def _matrix(name: str, spec: Mapping[str, Any]) -> list[tuple[str, dict[str, str]]]:
    found = []
    for block in spec.get("parallel", {}).get("matrix", []):
        for values in itertools.product(*block.values()):
            found.append((f"{name}: [{', '.join(values)}]", dict(zip(block, values, strict=True))))
    return found or [(name, {})]


def _rules_let(spec: Mapping[str, Any], variables: Mapping[str, str]) -> bool:
    """Only rules of the form `$A && $B` are known here."""
    rules = [rule["if"].split(" && ") for rule in spec.get("rules", [])]
    return not rules or any(all(variables.get(one.removeprefix("$")) for one in rule) for rule in rules)


def _run(
    label: str, spec: Mapping[str, Any], pipeline: Mapping[str, Any], base: Path, variables: Mapping[str, str],
    ended: Mapping[str, Job],
) -> Job:  # fmt: skip
    folder = base / "jobs" / re.sub(r"\W+", "-", label)  # a colon would end an entry of PATH
    work = folder / "work"
    work.mkdir(parents=True)
    checkout(work)
    cache = _cache(spec, variables, base)
    if cache and cache.exists():
        shutil.copytree(cache, work, dirs_exist_ok=True)
    for need in spec.get("needs", []):
        for other in [one for one in ended if one == need or one.startswith(f"{need}: ")]:
            shutil.copytree(base / "artifacts" / other, work, dirs_exist_ok=True, copy_function=shutil.copyfile)
    lines = [*pipeline["default"].get("before_script", []), *spec["script"]]
    ran = bash("\n".join(lines), ["-eo", "pipefail"], folder=work, env={**environment(folder), **variables})
    if ran.code == 0:
        _keep(spec.get("artifacts", {}).get("paths", []), work, base / "artifacts" / label)
    if cache:
        _keep(spec["cache"]["paths"], work, cache)
    return Job(folder=work, ran=ran)


def _cache(spec: Mapping[str, Any], variables: Mapping[str, str], base: Path) -> Path | None:
    if "cache" not in spec:
        return None
    return base / "caches" / VARIABLE.sub(lambda found: variables[found[1]], spec["cache"]["key"])


def _keep(paths: list[str], work: Path, place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    for path in paths:
        if (work / path).is_dir():
            shutil.copytree(work / path, place / path, dirs_exist_ok=True)
        elif (work / path).exists():
            shutil.copyfile(work / path, place / path)
