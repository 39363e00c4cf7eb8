"""One run from request to manifest: the only place that joins the pipeline with publishing.

`Request` is what a user can ask for; `prepare` turns it into steps and a planner, `export` carries them out.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from converter.config import Config, load_config
from converter.errors import UsageError
from converter.files import place
from converter.manifest import FileRef, Manifest, ManifestReference, MissingFile, TokenizerFile
from converter.models.catalog import find, why_no_text
from converter.pipeline.cache import Cache, Entry
from converter.pipeline.parts import only
from converter.pipeline.plan import Planner, check_dependencies, make_plan
from converter.pipeline.plugins import extra_targets, unsupported
from converter.pipeline.run import Finished, RunReport, RunSettings, Started, run_plan
from converter.pipeline.steps import Selection, build_steps, option_mistakes, quant_names, reference_id
from converter.pipeline.workspace import Workspace, workspace_of
from converter.publishing.manifest import entry_of, environment, merge, model_part, write_manifest
from converter.recipe_files import add_rows, is_recipe_file, recipe_name
from converter.records import InputKind, ModelSpec, PlannedStep, StageResult, Step, Tower, Weights
from converter.session_provenance import document, new_invocation, now


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asked for; None and empty mean the pipeline's own choice."""

    model: str | None = None
    weights: str | None = None
    towers: tuple[Tower, ...] = ()
    input: InputKind | None = None
    targets: tuple[str, ...] = ()
    quants: tuple[str, ...] = ()
    config: Path | None = None
    settings: tuple[str, ...] = ()
    out: Path = Path("artifacts")
    jobs: int | None = None
    force: bool = False
    images: Path | None = None
    calibration_images: Path | None = None
    calibration_captions: Path | None = None
    part: str | None = None


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Everything settled, nothing run yet. `left_out` says why a tower that was asked for is not there."""

    config: Config
    spec: ModelSpec
    weights: Weights
    steps: tuple[Step, ...]
    planner: Planner
    workspace: Workspace
    request: Request
    invocation: str
    left_out: str = ""


def read_config(request: Request) -> Config:
    """The configuration with the command line laid over it.

    Raises:
        ConfigError: mistakes in YAML or in --set, all of them.
        UsageError: no target can follow a recipe file of --quant.
    """
    files = [name for name in request.quants if is_recipe_file(name)]
    config = load_config(request.config, request.settings, extra_targets(), option_mistakes, files)
    without_row = [name for name in request.quants if name in config.recipes and name not in quant_names(config)]
    config = add_rows(config, [*files, *without_row], request.targets, unsupported)
    given = {
        "model": request.model, "weights": request.weights, "towers": request.towers, "input": request.input,
        "jobs": request.jobs,
    }  # fmt: skip
    return dataclasses.replace(config, **{name: value for name, value in given.items() if value})  # type: ignore[arg-type]


def prepare(request: Request) -> Prepared:
    """Settle model, weights and steps.

    Raises:
        UsageError: an unknown name, or nothing to do.
        MissingDependencyError: an extra is missing.
        WeightsError: the weights cannot be had.
    """
    from converter.models.weights import resolve

    config = read_config(request)
    _check_folder(request.images)
    for source in (request.calibration_images, request.calibration_captions):
        _check_source(source)
    spec = _with_input(find(config.model), config.input)
    left_out = why_no_text(spec) if "text" in config.towers else ""
    if left_out and "image" not in config.towers:
        raise UsageError(left_out)
    quants = tuple(recipe_name(name) if is_recipe_file(name) else name for name in request.quants)
    selection = Selection(targets=request.targets, quants=quants, from_pipeline=request.config is not None)
    extras = {name: target.extra for name, target in config.targets.items()}
    check_dependencies(build_steps(config, spec, selection, trained=True), extras)  # before weights are fetched
    weights = resolve(spec, config.weights)
    steps = build_steps(config, spec, selection, trained=weights.trained)
    steps = only(steps, request.part) if request.part else steps
    workspace = workspace_of(request.out, spec)
    planner = Planner(
        cache=Cache(workspace.cache_root), spec=spec, weights=weights, force=request.force,
        images=str(request.images.resolve()) if request.images else None,
        calibration_images=str(request.calibration_images.resolve()) if request.calibration_images else None,
        calibration_captions=str(request.calibration_captions.resolve()) if request.calibration_captions else None,
    )  # fmt: skip
    return Prepared(
        config=config, spec=spec, weights=weights, steps=tuple(steps), planner=planner, workspace=workspace,
        request=request, invocation=new_invocation(), left_out=left_out,
    )  # fmt: skip


def _with_input(spec: ModelSpec, kind: InputKind) -> ModelSpec:
    """The model whose image files take what the user asked for; every step's key depends on it."""
    if kind == "tensor":
        return spec
    pixels = dataclasses.replace(spec.preprocessing, inside_graph=True, value_range=(0.0, 255.0))
    return dataclasses.replace(spec, preprocessing=pixels)


def plan(prepared: Prepared) -> list[PlannedStep]:
    """What `export` would do."""
    return make_plan(prepared.steps, prepared.planner)


def export(prepared: Prepared, started: Started, finished: Finished) -> RunReport:
    """Run the steps, give files their names, write the manifest and then what tells where they come from.

    Raises:
        UsageError: the output folder is in use or cannot be written.
    """
    workspace, begun = prepared.workspace, now()
    with workspace.locked():
        settings = RunSettings(
            jobs=prepared.config.jobs, threads=threads_of(prepared.config), logs=workspace.logs,
            place=workspace.place, started=started, finished=finished,
        )  # fmt: skip
        report = run_plan(prepared.steps, prepared.planner, settings)
        manifest = _write_manifest(prepared, report)
        if manifest is not None:
            document(prepared, report, manifest, begun)
    return report


def threads_of(config: Config) -> int:
    """Threads a step: no more in all than there are cores, for OpenMP threads that share one wait by spinning."""
    return max(1, min(config.threads, (os.cpu_count() or 1) // config.jobs))


def _check_folder(folder: Path | None) -> None:
    if folder is not None and not folder.is_dir():
        message = f"{folder}: not a folder of images"
        raise UsageError(message)


def _check_source(source: Path | None) -> None:
    if source is not None and not source.exists():
        message = f"{source}: nothing there to calibrate on"
        raise UsageError(message)


def _write_manifest(prepared: Prepared, report: RunReport) -> Manifest | None:
    steps = {step.id: step for step in prepared.steps}
    finished = [result for result in report.results if result.artifact is not None]
    listed = [result for result in finished if result.requested and steps[result.step_id].target != "pytorch"]
    if not finished:
        return None
    workspace = prepared.workspace
    towers = dict.fromkeys(step.tower for step in prepared.steps)
    roots = {tower: report.entries[reference_id(tower)] for tower in towers if reference_id(tower) in report.entries}
    references = [_reference(workspace, prepared.planner.cache, tower, root) for tower, root in roots.items()]
    tokenizer = _tokenizer(prepared, roots["text"]) if "text" in roots else None
    manifest = merge(
        workspace.folder,
        model_part(prepared.spec, prepared.weights, _logit_scale(roots), tokenizer),
        references,
        [entry_of(steps[result.step_id], result) for result in listed],
        environment(result.tool_versions for result in finished),
        [_missing(result) for result in report.results if result.requested and result.artifact is None],
    )
    write_manifest(workspace.manifest, manifest)
    return manifest


def _missing(result: StageResult) -> MissingFile:
    return MissingFile(step_id=result.step_id, status=result.status, required=result.required)


def _reference(workspace: Workspace, cache: Cache, tower: Tower, root: Entry) -> ManifestReference:
    """Put the reference's files beside the others, so that `verify` needs nothing else."""
    report = root.proof.vs_reference
    names = {"samples": f"{tower}_samples.npz", "reference": f"{tower}_embeddings.npz"}
    refs = {}
    for label, name in names.items():
        place(cache.path(root, label), workspace.folder / "reference" / name)
        size_bytes = cache.path(root, label).stat().st_size
        refs[label] = FileRef(path=f"reference/{name}", sha256=root.file_hashes[label], size_bytes=size_bytes)
    module = f"reference/{tower}.pt"
    place(cache.path(root), workspace.folder / module)
    return ManifestReference(
        tower=tower, sample_set=report.sample_set if report else "", samples=refs["samples"],
        embeddings=refs["reference"], module=dataclasses.replace(root.artifact, path=module),
    )  # fmt: skip


def _tokenizer(prepared: Prepared, root: Entry) -> TokenizerFile | None:
    """Put the text tower's tokenizer beside the manifest."""
    if "tokenizer" not in root.files:
        return None
    source, spec = prepared.planner.cache.path(root, "tokenizer"), prepared.spec
    place(source, prepared.workspace.tokenizer)
    return TokenizerFile(
        path=prepared.workspace.tokenizer.name, sha256=root.file_hashes["tokenizer"], size_bytes=source.stat().st_size,
        context_length=spec.context_length, start_token=spec.start_token, end_token=spec.end_token,
        pad_token=spec.pad_token, captions=int(root.facts["tokenizer_captions"]),
    )  # fmt: skip


def _logit_scale(roots: Mapping[Tower, Entry]) -> float | None:
    scales: Sequence[float] = [root.facts["logit_scale"] for root in roots.values() if "logit_scale" in root.facts]
    return scales[0] if scales else None
