"""Carry out a plan: independent steps side by side, each in its own process, each result cached as it comes."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from converter.errors import ConversionError, McconvertError, system_words
from converter.files import hash_path, stamps
from converter.parity.judge import judge
from converter.pipeline.cache import RANGES, Cache, Entry, Proof
from converter.pipeline.dispatch import dispatch
from converter.pipeline.job import Job, Outcome, ReferenceFiles
from converter.pipeline.plan import Decision, Planner, last_of
from converter.pipeline.process import MemoryMeter
from converter.pipeline.steps import chain, reference_id
from converter.records import Action, Artifact, StageResult, Status, Step

Started = Callable[[Step, str, str], None]
"""Called with (step, action, reason) when a step begins."""
Finished = Callable[[StageResult], None]
"""Called with each result as it comes."""


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """How a run goes about its steps. `place` gives an ended step's artifact its name for the user."""

    jobs: int
    threads: int
    logs: Path
    place: Callable[[Step, Path], None]
    started: Started
    finished: Finished


@dataclass(kw_only=True)
class _State:
    """What has ended so far. Touched only with `lock` held once steps run side by side."""

    entries: dict[str, Entry] = field(default_factory=dict)
    results: dict[str, StageResult] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """All results, in the order of the steps, and the peak memory of all step processes together."""

    results: tuple[StageResult, ...]
    entries: Mapping[str, Entry]
    peak_rss_bytes: int
    interrupted: bool = False


def run_plan(steps: Sequence[Step], planner: Planner, settings: RunSettings) -> RunReport:
    """Run every step whose parents allow it. Never raises for a step that fails: its result says so.

    Ctrl-C stops the running steps, keeps what has ended, and comes back with `interrupted`.
    """
    state, stop, meter = _State(), threading.Event(), MemoryMeter()
    interrupted = False
    with planner.cache.staging() as staging:
        runner = _Runner(planner=planner, settings=settings, state=state, stop=stop, meter=meter, staging=staging)
        try:
            _schedule(steps, runner, settings.jobs)
        except KeyboardInterrupt:
            interrupted = True
    results = tuple(state.results[step.id] for step in steps if step.id in state.results)
    return RunReport(results=results, entries=state.entries, peak_rss_bytes=meter.peak_bytes, interrupted=interrupted)


def _schedule(steps: Sequence[Step], runner: _Runner, jobs: int) -> None:
    needs, waiting = chain(steps), {step.id: step for step in steps}
    running: dict[concurrent.futures.Future[StageResult], str] = {}
    with concurrent.futures.ThreadPoolExecutor(max_workers=jobs) as pool:
        try:
            while waiting or running:
                ready = [
                    step for step in waiting.values() if all(one in runner.state.results for one in needs[step.id])
                ]
                for step in ready[: jobs - len(running)]:
                    running[pool.submit(runner.run, waiting.pop(step.id))] = step.id
                done, _ = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
                for future in done:
                    result = future.result()
                    runner.state.results[running.pop(future)] = result
        except BaseException:
            runner.stop.set()
            raise


@dataclass(frozen=True, kw_only=True)
class _Runner:
    planner: Planner
    settings: RunSettings
    state: _State
    stop: threading.Event
    meter: MemoryMeter
    staging: Path

    def run(self, step: Step) -> StageResult:
        """One step from decision to verdict."""
        begun = time.monotonic()
        try:
            result = self._run(step)
        except McconvertError as error:
            result = self._error(step, str(error), error.exit_code)
        except OSError as error:
            result = self._error(step, system_words(error), ConversionError.exit_code)
        result = dataclasses.replace(result, seconds=time.monotonic() - begun)
        self.settings.finished(result)
        return result

    def _run(self, step: Step) -> StageResult:
        blocked = self._blocked_by(step)
        if blocked is not None:
            self.settings.started(step, "blocked", blocked.step_id)
            return self._error(step, f"{blocked.step_id} has no artifact to start from", blocked.exit_code, "BLOCKED")
        parent = self.state.entries.get(step.parent) if step.parent else None
        root = self.state.entries.get(reference_id(step.tower))
        decision = self.planner.decide(step, parent, root)
        self.settings.started(step, decision.action, decision.reason)
        entry = decision.entry
        if decision.action == "run":
            entry = self._make(step, decision, parent, root)
        elif decision.action == "verify" and entry is not None:
            entry = self._prove(step, decision, entry, parent, root)
        if entry is None:
            message = f"{step.id}: neither made nor found"
            raise McconvertError(message)
        return self._conclude(step, decision, entry)

    def _conclude(self, step: Step, decision: Decision, entry: Entry) -> StageResult:
        cache = self.planner.cache
        with self.state.lock:
            self.state.entries[step.id] = entry
            cache.remember(self.planner.spec.id, step.id, last_of(decision, step))
        if step.requested:
            self.settings.place(step, cache.path(entry))
            cache.trust(entry)
        return judged(step, decision.action, decision.reason, entry, self._size_ratio(step, entry))

    def _blocked_by(self, step: Step) -> StageResult | None:
        needed = [step.parent, step.size_reference]
        ended = [self.state.results[one] for one in needed if one]
        return next((result for result in ended if result.artifact is None), None)

    def _size_ratio(self, step: Step, entry: Entry) -> float | None:
        if step.size_reference is None:
            return None
        return entry.artifact.size_bytes / self.state.entries[step.size_reference].artifact.size_bytes

    def _make(self, step: Step, decision: Decision, parent: Entry | None, root: Entry | None) -> Entry:
        folder = self._folder()
        job = self._job("make", step, folder, parent, root)
        outcome, ended = dispatch(job, self._log(step), self.stop, self.meter)
        if outcome.artifact is None:
            message = f"{step.id}: the step ended without an artifact"
            raise ConversionError(message)
        name = Path(outcome.artifact.path).name
        paths = [name, *outcome.files.values()]
        entry = Entry(
            key=decision.key, ingredients=decision.ingredients, seconds=ended.seconds,
            peak_rss_bytes=ended.peak_rss_bytes,
            artifact=dataclasses.replace(outcome.artifact, path=name), files=outcome.files, facts=outcome.facts,
            proof=_proof(decision, outcome), stamps=tuple(one for path in paths for one in stamps(folder / path)),
            file_hashes={label: hash_path(folder / path)[0] for label, path in outcome.files.items()},
            tool_versions={n: v for n, v in decision.ingredients.items() if v[:1].isdigit() and len(v) < 20},
        )  # fmt: skip
        if self.planner.force:
            self.planner.cache.drop(decision.key)
        return self.planner.cache.commit(_tidy(folder, paths), entry)

    def _prove(self, step: Step, decision: Decision, entry: Entry, parent: Entry | None, root: Entry | None) -> Entry:
        if step.parent is None:
            return self._make(step, decision, None, None)
        folder, cache = self._folder(), self.planner.cache
        job = self._job("prove", step, folder, parent, root)
        job = dataclasses.replace(job, artifact=_absolute(cache, entry))
        outcome, _ = dispatch(job, self._log(step), self.stop, self.meter)
        for label, name in outcome.files.items():
            (folder / name).replace(cache.folder(entry.key) / entry.files.get(label, name))
        files = {**entry.files, **outcome.files}
        place = cache.folder(entry.key)
        fresh = dataclasses.replace(
            entry, proof=_proof(decision, outcome), files=files,
            file_hashes={label: hash_path(place / path)[0] for label, path in files.items()},
            stamps=tuple(one for path in (entry.artifact.path, *files.values()) for one in stamps(place / path)),
        )  # fmt: skip
        cache.update(fresh)
        return fresh

    def _job(self, kind: str, step: Step, folder: Path, parent: Entry | None, root: Entry | None) -> Job:
        cache, planner = self.planner.cache, self.planner
        recipe = step.recipe
        if recipe is not None and recipe.sample_set and root is not None:
            recipe = dataclasses.replace(recipe, calibration_path=str(cache.path(root, "calibration")))
        candidate = cache.path(parent, "candidate") if parent and "candidate" in parent.files else None
        return Job(
            kind="make" if kind == "make" else "prove", step=dataclasses.replace(step, recipe=recipe),
            folder=str(folder), threads=self.settings.threads, spec=planner.spec, weights=planner.weights,
            images=planner.images, calibration_images=planner.calibration_images,
            calibration_captions=planner.calibration_captions, ranges=str(cache.root / RANGES),
            parent=_absolute(cache, parent) if parent else None,
            parent_candidate=str(candidate) if candidate else None,
            reference=_reference(cache, root) if root else None,
        )  # fmt: skip

    def _folder(self) -> Path:
        folder = self.staging / uuid.uuid4().hex
        folder.mkdir()
        return folder

    def _log(self, step: Step) -> Path:
        return self.settings.logs / f"{step.id.replace('/', '.')}.log"

    def _error(self, step: Step, reason: str, exit_code: int, status: Status = "ERROR") -> StageResult:
        log = self._log(step)
        return StageResult(
            step_id=step.id, status=status, action="blocked" if status == "BLOCKED" else "run", reason=reason,
            requested=step.requested, required=step.required, not_required_because=step.not_required_because,
            recipe=step.recipe, exit_code=exit_code, log=str(log) if log.exists() else "",
        )  # fmt: skip


def judged(step: Step, action: Action, reason: str, entry: Entry, size_ratio: float | None) -> StageResult:
    """The verdict on a finished step: its measured parity held against the step's bounds of today."""
    report = entry.proof.vs_reference
    failures: tuple[str, ...] = ("nothing was compared",)
    if report is not None:
        report, failures = judge(report, step.tolerances, size_ratio=size_ratio)
    parent = entry.proof.vs_parent
    return StageResult(
        step_id=step.id, status="FAILED" if failures else "PASSED", action=action, reason=reason,
        requested=step.requested, required=step.required, not_required_because=step.not_required_because,
        artifact=entry.artifact, recipe=step.recipe, vs_reference=report, failures=failures,
        vs_parent=judge(parent, step.tolerances, size_ratio=size_ratio)[0] if parent else None,
        size_ratio=size_ratio, exit_code=6 if failures else 0, peak_rss_bytes=entry.peak_rss_bytes,
        tool_versions=entry.tool_versions,
    )  # fmt: skip


def exit_code_of(results: Sequence[StageResult]) -> int:
    """What the run ends with: the first error's code, else 6 when a required row failed, else 0."""
    decisive = [result for result in results if result.required]
    errors = [result.exit_code for result in decisive if result.status in ("ERROR", "BLOCKED")]
    if errors:
        return errors[0]
    return 6 if any(result.status == "FAILED" for result in decisive) else 0


def _proof(decision: Decision, outcome: Outcome) -> Proof:
    return Proof(key=decision.proof_key, vs_reference=outcome.vs_reference, vs_parent=outcome.vs_parent)


def _tidy(folder: Path, keep: Sequence[str]) -> Path:
    """Only what the step was asked for stays."""
    for path in folder.iterdir():
        if path.name not in keep:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return folder


def _absolute(cache: Cache, entry: Entry) -> Artifact:
    return dataclasses.replace(entry.artifact, path=str(cache.path(entry)))


def _reference(cache: Cache, root: Entry) -> ReferenceFiles:
    report = root.proof.vs_reference
    return ReferenceFiles(
        samples=str(cache.path(root, "samples")), embeddings=str(cache.path(root, "reference")),
        tower=_absolute(cache, root),
        sample_set=report.sample_set if report else "",
    )  # fmt: skip
