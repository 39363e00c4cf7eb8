"""Run a GitHub workflow on this machine: its jobs in order, each in a fresh folder, its `run:` steps in a real shell.

Of `uses:` only what our files use is there: a checkout, caches and artifacts as local folders, and our own action.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.ci.expressions import fill, holds, text_of
from tests.ci.machine import bash, checkout, environment, upload

SHELLS = {None: ["-e"], "bash": ["--noprofile", "--norc", "-eo", "pipefail"]}
Context = Mapping[str, Any]


@dataclass(kw_only=True)
class Service:
    """What outlives a job: caches and artifacts. `actions` counts hits of the cache."""

    base: Path
    hits: list[str] = field(default_factory=list)

    def restore(self, key: str, prefixes: list[str], place: Path) -> None:
        """Bring back the entry of that key, or else the newest whose key begins so."""
        kept = sorted((self.base / "caches").glob("*"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
        fitting = [path for one in [key, *prefixes] for path in kept if path.name.startswith(one)]
        if fitting:
            self.hits.append(fitting[0].name)
            shutil.copytree(fitting[0], place, dirs_exist_ok=True)

    def save(self, key: str, source: Path) -> None:
        """Keep a folder; what a key once kept does not change."""
        if source.exists() and not (self.base / "caches" / key).exists():
            shutil.copytree(source, self.base / "caches" / key)

    def artifact(self, name: str) -> Path:
        """Where the files of that name are."""
        return self.base / "artifacts" / name


@dataclass(kw_only=True)
class Job:
    """One job while it runs, and afterwards."""

    name: str
    folder: Path
    service: Service
    result: str = "success"
    outputs: dict[str, str] = field(default_factory=dict)
    log: str = ""
    env: dict[str, str] = field(default_factory=dict)

    @property
    def workspace(self) -> Path:
        """The folder that steps run in."""
        return self.folder / "work"

    @property
    def summary(self) -> str:
        """What the job wrote into its summary."""
        return (self.folder / "summary").read_text(encoding="utf-8")


def run_workflow(workflow: Mapping[str, Any], base: Path, **contexts: Context) -> dict[str, Job]:
    """Every job by its name, those of a matrix as `job (name)`; `contexts` are `github`, `inputs`, `vars`."""
    service = Service(base=base)
    ended: dict[str, Job] = {}
    needs: dict[str, dict[str, Any]] = {}
    for job_id, spec in workflow["jobs"].items():
        wanted = [spec["needs"]] if isinstance(spec.get("needs"), str) else spec.get("needs", [])
        context = {"github": {}, "inputs": {}, "vars": {}, **contexts, "needs": {one: needs[one] for one in wanted}}
        succeeded = all(needs[one]["result"] == "success" for one in wanted)
        if not holds(spec.get("if"), context, succeeded=succeeded):
            needs[job_id] = {"result": "skipped", "outputs": {}}
            continue
        context["env"] = {name: text_of(fill(value, context)) for name, value in workflow.get("env", {}).items()}
        jobs = [_job(job_id, spec, service, {**context, "matrix": one}) for one in _matrix(spec, context)]
        ended |= {job.name: job for job in jobs}
        needs[job_id] = {"result": (max(job.result == "failure" for job in jobs) and "failure") or "success",
                         "outputs": jobs[-1].outputs}  # fmt: skip
    return ended


def load(path: Path) -> Any:
    """A workflow or an action as its YAML says."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _matrix(spec: Mapping[str, Any], context: Context) -> list[dict[str, Any]]:
    strategy = spec.get("strategy")
    return list(fill(strategy["matrix"], context)["include"]) if strategy else [{}]


def _job(job_id: str, spec: Mapping[str, Any], service: Service, context: dict[str, Any]) -> Job:
    name = f"{job_id} ({context['matrix']['name']})" if context["matrix"] else job_id
    job = Job(name=name, folder=service.base / "jobs" / name, service=service)
    job.workspace.mkdir(parents=True)
    job.env = {**environment(job.folder), **context["env"]}
    steps = _run_steps(spec["steps"], job, context)
    job.outputs = {key: text_of(fill(value, {**context, "steps": steps})) for key, value in
                   spec.get("outputs", {}).items()}  # fmt: skip
    return job


def _run_steps(steps: list[dict[str, Any]], job: Job, context: Context) -> dict[str, Any]:
    """The `steps` context afterwards. A step that fails ends the job, but for steps that run always."""
    done: dict[str, Any] = {}
    for step in steps:
        here = {**context, "steps": done}
        if not holds(step.get("if"), here, succeeded=job.result == "success"):
            continue
        job.log += f"### {step.get('name') or step.get('uses') or step['run'].splitlines()[0]}\n"
        outputs, succeeded = (_used if "uses" in step else _shell)(step, job, here)
        if not succeeded:
            job.result = "failure"
        if "id" in step:
            done[step["id"]] = {"outputs": outputs}
    return done


def _shell(step: Mapping[str, Any], job: Job, context: Context) -> tuple[dict[str, str], bool]:
    files = {name: job.folder / name.lower().removeprefix("github_step_").removeprefix("github_")
             for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_PATH", "GITHUB_ENV")}  # fmt: skip
    for name, path in files.items():
        path.open("a" if name == "GITHUB_STEP_SUMMARY" else "w").close()
    env = job.env | {name: text_of(fill(value, context)) for name, value in step.get("env", {}).items()}
    env |= {name: str(path) for name, path in files.items()}
    ran = bash(fill(step["run"], context), SHELLS[step.get("shell")], folder=job.workspace, env=env)
    job.log += ran.log
    job.env |= _pairs(files["GITHUB_ENV"])
    for line in files["GITHUB_PATH"].read_text().splitlines():
        job.env["PATH"] = f"{line}:{job.env['PATH']}"
    return _pairs(files["GITHUB_OUTPUT"]), ran.code == 0


def _pairs(file: Path) -> dict[str, str]:
    lines = file.read_text(encoding="utf-8").splitlines()
    assert all("=" in line for line in lines), f"not NAME=VALUE: {lines}"
    return dict(line.split("=", 1) for line in lines)


def _used(step: Mapping[str, Any], job: Job, context: Context) -> tuple[dict[str, str], bool]:
    given = {name: text_of(fill(value, context)) for name, value in step.get("with", {}).items()}
    action, _, version = step["uses"].partition("@")
    if action == "./":
        return _composite(given, job, context)
    assert version == "v4", step["uses"]
    place = job.workspace / given.get("path", "")
    if action == "actions/checkout":
        checkout(job.workspace)
    elif action == "actions/cache/restore":
        job.service.restore(given["key"], given.get("restore-keys", "").split(), place)
    elif action == "actions/cache/save":
        job.service.save(given["key"], place)
    elif action == "actions/upload-artifact":
        assert not job.service.artifact(given["name"]).exists(), f"{given['name']} was uploaded before"
        upload(place, job.service.artifact(given["name"]))
        return {}, job.service.artifact(given["name"]).exists()
    else:
        assert action == "actions/download-artifact", action
        return {}, _download(given, job.service, place)
    return {}, True


def _download(given: Mapping[str, str], service: Service, place: Path) -> bool:
    if "name" in given:
        upload(service.artifact(given["name"]), place)
        return place.exists()
    for folder in (service.base / "artifacts").glob(given["pattern"]):
        upload(folder, place / folder.name)
    return True


def _composite(given: Mapping[str, str], job: Job, context: Context) -> tuple[dict[str, str], bool]:
    action = load(job.workspace / "action.yml")
    assert given.keys() <= action["inputs"].keys(), f"unknown inputs: {given.keys() - action['inputs'].keys()}"
    inputs = {name: given.get(name, text_of(one.get("default"))) for name, one in action["inputs"].items()}
    job.env["GITHUB_ACTION_PATH"] = str(job.workspace)
    steps = _run_steps(action["runs"]["steps"], job, {**context, "inputs": inputs})
    outputs = {name: text_of(fill(one["value"], {**context, "inputs": inputs, "steps": steps}))
               for name, one in action["outputs"].items()}  # fmt: skip
    return outputs, job.result == "success"
