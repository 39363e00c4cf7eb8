"""Decide for each step whether it runs, is measured again, or is reused, and say why."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from converter.errors import MissingDependencyError
from converter.models.building import FAMILIES, source_of
from converter.models.memory import files_sha256, user_cache
from converter.pipeline.cache import Cache, Entry, Ingredients, Last, difference, key_of
from converter.pipeline.plugins import load_runtime, load_stage, missing, versions
from converter.pipeline.sources import NEUTRAL, source_hash
from converter.pipeline.steps import REFERENCE_STAGE, reference_id
from converter.records import Action, ModelSpec, PlannedStep, Step, Tower, Weights, to_json

REFERENCE_REQUIRES = (
    "torch", "torchvision", "timm", "open-clip-torch", "numpy", "pillow", "scikit-image", "tokenizers",
)  # fmt: skip
PROOF_REQUIRES = ("numpy",)
PROOF_SOURCES = ("converter.pipeline.prove", "converter.parity.compare", "converter.models.samples")
PROOF_NEUTRAL = tuple(name for name in NEUTRAL if name != "converter.parity")


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do with one step now that its parent is known. `entry` is there for `verify` and `reuse`."""

    action: Action
    reason: str
    key: str
    ingredients: Ingredients
    proof_key: str
    proof_ingredients: Ingredients
    entry: Entry | None = None


@dataclass(frozen=True, kw_only=True)
class Planner:
    """Everything that a decision depends on, beside the step and its parent."""

    cache: Cache
    spec: ModelSpec
    weights: Weights
    force: bool = False
    images: str | None = None
    calibration_images: str | None = None
    calibration_captions: str | None = None

    def decide(self, step: Step, parent: Entry | None, root: Entry | None, *, fresh: bool = True) -> Decision:
        """The decision for a step whose parent (None for the reference step) is in the cache.

        `fresh` is whether --force still applies: not once the step has run.
        """
        ingredients = self._ingredients(step, parent, root)
        key = key_of(ingredients)
        proof_ingredients = self._proof_ingredients(step, root)
        proof_key = key_of({**proof_ingredients, "artifact": key})
        entry = self.cache.load(key)
        action, reason = self._choose(step, ingredients, key, entry, proof_key, proof_ingredients, fresh=fresh)
        return Decision(
            action=action, reason=reason, key=key, ingredients=ingredients, proof_key=proof_key,
            proof_ingredients=proof_ingredients, entry=entry if action in ("reuse", "verify") else None,
        )  # fmt: skip

    def static_key(self, steps: Sequence[Step]) -> str:
        """The address of all that can be known before the first step runs: what a cache between runs goes by."""
        keys = {step.id: key_of({**self._proof_ingredients(step, None), **self._ingredients(step, None, None)})
                for step in steps}  # fmt: skip
        return key_of({"model": self.spec.id, **keys})

    def _choose(
        self, step: Step, ingredients: Ingredients, key: str, entry: Entry | None, proof_key: str,
        proof_ingredients: Ingredients, *, fresh: bool,
    ) -> tuple[Action, str]:  # fmt: skip
        last = self.cache.last(self.spec.id, step.id)
        if self.force and fresh:
            return "run", "--force"
        if entry is None and self.cache.damaged(key):
            return "run", "its files in the cache were changed or cut off"
        if entry is None:
            return "run", difference(last.ingredients if last else None, ingredients)
        if entry.proof.key != proof_key:
            return "verify", difference(last.proof_ingredients if last else None, proof_ingredients)
        if last is not None and last.tolerances != tolerances_of(step):
            return "reuse", "tolerances changed: judged again"
        if last is not None and last.ingredients != ingredients:
            return "reuse", "made before with these same inputs"
        return "reuse", "nothing changed"

    def _ingredients(self, step: Step, parent: Entry | None, root: Entry | None) -> Ingredients:
        if step.parent is None:
            return self._reference_ingredients(step)
        stage = load_stage(step.stage)
        found = {
            "stage source": source_hash(_module_name(stage)),
            "parent": parent.artifact.sha256 if parent else "",
            "file name": step.file_name,
        }
        found |= {f"option {name}": json.dumps(value) for name, value in step.options.items()}
        if step.recipe is not None:
            found["recipe"] = to_json(step.recipe).decode()
            if step.recipe.sample_set and root:
                found["calibration data"] = root.file_hashes["calibration"]
        return found | versions(stage.REQUIRES)

    def _reference_ingredients(self, step: Step) -> Ingredients:
        return {
            "reference source": source_hash("converter.pipeline.reference", _REFERENCE_NEUTRAL),
            "model source": source_hash(FAMILIES[source_of(self.spec)[0]]),
            "model": _facts_of(self.spec, step.tower),
            "tower": step.tower,
            "weights": self.weights.sha256,
            "images": fingerprint(self.images) if step.tower == "image" else "",
            "calibration images": fingerprint(self.calibration_images) if step.tower == "image" else "",
            "calibration captions": fingerprint(self.calibration_captions) if step.tower == "text" else "",
        } | versions(REFERENCE_REQUIRES)

    def _proof_ingredients(self, step: Step, root: Entry | None) -> Ingredients:
        found = {name: source_hash(name, PROOF_NEUTRAL) for name in PROOF_SOURCES} | versions(PROOF_REQUIRES)
        found["tie_margin"] = str(step.tie_margin)
        if step.parent is None:
            return found
        runtime = load_runtime(load_stage(step.stage).FORMAT)
        found["runtime source"] = source_hash(_module_name(runtime))
        if root is not None:
            found["samples"] = root.file_hashes["samples"]
            found["reference embeddings"] = root.file_hashes["reference"]
        return found | versions(runtime.REQUIRES)


_REFERENCE_NEUTRAL = tuple(name for name in NEUTRAL if name != "converter.pipeline") + tuple(
    f"converter.pipeline.{name}" for name in ("job", "prove", "files", "plugins", "cache")
)


def make_plan(steps: Sequence[Step], planner: Planner) -> list[PlannedStep]:
    """What a run would do, parents first. A step below one that runs cannot be decided yet and is planned to run."""
    entries: dict[str, Entry | None] = {}
    planned = []
    for step in steps:
        parent = entries.get(step.parent) if step.parent else None
        if step.parent and parent is None:
            planned.append(PlannedStep(step=step, key=None, action="run", reason=f"after {step.parent}"))
            entries[step.id] = None
            continue
        decision = planner.decide(step, parent, entries.get(reference_id(step.tower)))
        entries[step.id] = decision.entry
        planned.append(PlannedStep(step=step, key=decision.key, action=decision.action, reason=decision.reason))
    return planned


def check_dependencies(steps: Sequence[Step], extras: Mapping[str, str]) -> None:
    """Refuse before anything runs when a distribution is missing.

    Raises:
        MissingDependencyError: one line for each target, with the command that installs its extra.
    """
    lines = {}
    for step in steps:
        if step.stage == REFERENCE_STAGE:
            continue
        stage = load_stage(step.stage)
        absent = missing({*stage.REQUIRES, *load_runtime(stage.FORMAT).REQUIRES})
        if absent:
            extra = extras.get(step.target, step.target)
            lines[step.target] = f"{step.target} needs {', '.join(sorted(absent))}: pip install 'mcconvert[{extra}]'"
    if lines:
        raise MissingDependencyError("\n".join(lines.values()))


def tolerances_of(step: Step) -> str:
    """The step's bounds as text, to notice that they changed."""
    return to_json(list(step.tolerances)).decode()


def last_of(decision: Decision, step: Step) -> Last:
    """What to remember of a step that ended well."""
    return Last(
        ingredients=decision.ingredients,
        proof_ingredients=decision.proof_ingredients,
        tolerances=tolerances_of(step),
    )


def _facts_of(spec: ModelSpec, tower: Tower) -> str:
    """What the YAML says that a tower depends on: how images are prepared is nothing to a text tower."""
    facts = msgspec.to_builtins(spec)
    if tower == "text":
        del facts["preprocessing"]
    return json.dumps(facts)


def fingerprint(place: str | None) -> str:
    """Names and bytes of a folder's files, or of one file, wherever it lies and however old it is; empty for neither.

    Raises:
        OSError: a file cannot be read.
    """
    if not place:
        return ""
    root = Path(place)
    files = sorted(path for path in root.rglob("*") if path.is_file()) if root.is_dir() else [root]
    names = [(path.relative_to(root) if path != root else Path(path.name)).as_posix() for path in files]
    return key_of({"folder": json.dumps(list(zip(names, files_sha256(files, user_cache()), strict=True)))})


def _module_name(module: object) -> str:
    return str(getattr(module, "__name__", ""))
