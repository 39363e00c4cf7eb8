"""What a run tells of itself, for the documents beside its manifest: asked for what, made from what, when.

Nothing that it gives holds a path of this machine.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import platform
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converter import __version__
from converter.build import Build, Material, Origin
from converter.config import DEFAULT_PIPELINE, configs_dir
from converter.manifest import Manifest
from converter.models.weights import KEYWORDS
from converter.pipeline.plugins import extra_targets
from converter.pipeline.run import RunReport
from converter.pipeline.steps import reference_id
from converter.publishing.provenance import continued, is_current, write_provenance
from converter.publishing.versions import in_utc
from converter.recipe_files import is_recipe_file, recipe_name
from converter.records import StageResult, Step, Weights, to_json

if TYPE_CHECKING:
    from converter.session import Prepared

CALIBRATION, SAMPLES = "calibration", "samples"
_PATH = re.compile(r"(?<![\w/\\.~])(?:~[\w-]*|\.{1,2}|[A-Za-z]:)?[/\\][^\s\"',\]}]*")
"""A path that is absolute, or begins at the home folder, here or above."""


def now() -> str:
    """The time in UTC, to the second."""
    return in_utc(datetime.datetime.now(datetime.UTC))


def document(prepared: Prepared, report: RunReport, manifest: Manifest, started: str) -> None:
    """Write the SBOM, the statement and the checksums, after the manifest and with the folder held.

    A run that built nothing leaves documents alone that are true of the files: they tell who built these.
    """
    folder = prepared.workspace.folder
    origins = _origins(prepared, report)
    if all(one.how != "built" for one in origins.values()) and is_current(folder, manifest):
        return
    build = Build(
        parameters=build_parameters(prepared), settings=_settings(prepared),
        materials=tuple(build_materials(prepared, report)),
        tools={"mcconvert": __version__, "python": platform.python_version()}, invocation=prepared.invocation,
        started=started, finished=now(),
        origins={path: dataclasses.replace(one, invocation=prepared.invocation) for path, one in origins.items()},
    )  # fmt: skip
    write_provenance(folder, manifest, continued(build, folder, manifest))


def build_parameters(prepared: Prepared) -> dict[str, Any]:
    """What the user asked for, and what stood for what was left open."""
    request, config = prepared.request, prepared.config
    return {
        "model": prepared.spec.id,
        "weights": config.weights if config.weights in KEYWORDS else "file",
        "towers": list(config.towers),
        "input": config.input,
        "targets": list(request.targets),
        "quants": [recipe_name(name) if is_recipe_file(name) else name for name in request.quants],
        "pipeline": request.config.stem if request.config else DEFAULT_PIPELINE,
        "settings": [without_path(one) for one in request.settings],
        "images": "own" if request.images else "built-in",
        "calibrationImages": "own" if request.calibration_images else "built-in",
        "calibrationCaptions": "own" if request.calibration_captions else "built-in",
        "force": request.force,
    }


def build_materials(prepared: Prepared, report: RunReport) -> Iterator[Material]:
    """Everything that went in, by hash: code, YAML files, weights, samples to judge and to calibrate on."""
    from converter.publishing.source import source_materials

    yield from source_materials()
    for name, path in sorted(_configs(prepared).items()):
        yield Material(name=f"configs/{name}", digest={"sha256": hashlib.sha256(path.read_bytes()).hexdigest()})
    yield from _recipes_elsewhere(prepared)
    yield _weights(prepared.weights)
    for tower in prepared.config.towers:
        entry = report.entries.get(reference_id(tower))
        for label in (SAMPLES, CALIBRATION):
            if entry is not None and label in entry.file_hashes:
                yield Material(name=f"{label}/{tower}", digest={"sha256": entry.file_hashes[label]})


def without_path(setting: str) -> str:
    """A --set with no more than the names of the files that its value holds."""
    key, equals, value = setting.partition("=")
    if "/" in value and Path(value).exists():
        return f"{key}{equals}{Path(value).name}"
    return f"{key}{equals}{_PATH.sub(lambda found: Path(found[0]).name, value)}"


def new_invocation() -> str:
    """A name for one run that says nothing of the machine."""
    return uuid.uuid4().urn


def _origins(prepared: Prepared, report: RunReport) -> dict[str, Origin]:
    """How this run came to each file that it gave a name, by the path that the manifest gives.

    A parent that nobody asked for gets none: a file of that name, if there is one, is of an earlier run.
    """
    found: dict[str, Origin] = {}
    steps = {step.id: step for step in prepared.steps}
    for result in report.results:
        step = steps[result.step_id]
        if result.artifact is not None and (result.requested or step.parent is None):
            origin = Origin(how="built" if _built(step, result) else "cache")
            found |= dict.fromkeys(_paths(step), origin)
    return found


def _built(step: Step, result: StageResult) -> bool:
    """Whether the step's process made the file: a reference that is measured again is made again too."""
    return result.action == "run" or (result.action == "verify" and step.parent is None)


def _paths(step: Step) -> tuple[str, ...]:
    if step.id != reference_id(step.tower):
        return (f"{step.target}/{step.file_name}",)
    names = ("{}.pt", "{}_samples.npz", "{}_embeddings.npz")
    tokenizer = ("tokenizer.json",) if step.tower == "text" else ()
    return (*(f"reference/{name.format(step.tower)}" for name in names), *tokenizer)


def _settings(prepared: Prepared) -> dict[str, Any]:
    from converter.session import threads_of

    limits = prepared.config.limits
    return {
        "jobs": prepared.config.jobs, "threads": threads_of(prepared.config),
        "minutes": limits.minutes, "memoryGib": limits.memory_gib,
    }  # fmt: skip


def _configs(prepared: Prepared) -> dict[str, Path]:
    """Every YAML that took part, by its name in a checkout's `configs`; one of the user's by its own name."""
    folder, request = configs_dir(), prepared.request
    brought = extra_targets()
    names = {step.target for step in prepared.steps}
    found = {f"targets/{name}.yaml": brought.get(name, folder / "targets" / f"{name}.yaml") for name in names}
    found[f"models/{prepared.spec.id}.yaml"] = folder / "models" / f"{prepared.spec.id}.yaml"
    for recipe in {step.recipe.name for step in prepared.steps if step.recipe}:
        found[f"recipes/{recipe}.yaml"] = folder / "recipes" / f"{recipe}.yaml"
    for file in filter(is_recipe_file, request.quants):
        found[f"recipes/{recipe_name(file)}.yaml"] = Path(file).expanduser()
    pipeline = request.config or folder / "pipelines" / f"{DEFAULT_PIPELINE}.yaml"
    found[f"pipelines/{pipeline.name}"] = pipeline
    return {name: path for name, path in found.items() if path.is_file()}


def _recipes_elsewhere(prepared: Prepared) -> Iterator[Material]:
    """Recipes that no file of `_configs` holds: a row of the user's pipeline may name its own."""
    known = {Path(name).stem for name in _configs(prepared) if name.startswith("recipes/")}
    recipes = {step.recipe.name: step.recipe for step in prepared.steps if step.recipe}
    for name in sorted(set(recipes) - known):
        content = to_json(dataclasses.replace(recipes[name], calibration_path=None))
        facts = {"of": "the recipe as read, as JSON"}
        yield Material(name=f"recipes/{name}", digest={"sha256": hashlib.sha256(content).hexdigest()}, facts=facts)


def _weights(weights: Weights) -> Material:
    facts: dict[str, Any] = {"kind": weights.kind, "trained": weights.trained}
    facts |= {"revision": weights.revision} if weights.revision else {}
    facts |= {"seed": weights.seed} if weights.seed is not None else {}
    facts |= {"file": Path(weights.path).name} if weights.path else {}
    return Material(name="weights", digest={"sha256": weights.sha256}, facts=facts)
