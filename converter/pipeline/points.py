"""The points of a search: one recipe each, made into a file by the stage itself and measured by the runtime itself."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from converter.errors import ConversionError
from converter.files import hash_path, write_atomically
from converter.parsing import parse
from converter.pipeline.cache import key_of
from converter.pipeline.halves import Halves
from converter.pipeline.job import Job
from converter.pipeline.plugins import load_stage
from converter.pipeline.prove import TOP_K
from converter.records import Artifact, Recipe, from_json, to_json
from converter.searched import Figures, SearchOrder, Tried

if TYPE_CHECKING:
    from converter.runtimes import Arrays, Runner, Runtime

CALM = 1.25
"""The float32 file is disturbed where it takes more than so many times what it took at best."""
PROGRESS = "quantize: "
RUNNING = "running"
"""Names, in the job's folder, the point that is being measured: what a process that died leaves behind."""
TURNS, CAREFUL_TURNS = 5, 15
LEAST_SECONDS, CAREFUL_SECONDS = 0.3, 1.0
OPENINGS, CAREFUL_OPENINGS = 2, 4
"""Latency is taken over at least so many turns and so long, for each of so many times that the file is opened."""


@dataclass(kw_only=True)
class Bench:
    """What a search measures on; the contract is `converter.quantization.search.Bench`."""

    job: Job
    order: SearchOrder
    halves: Halves
    runtime: Runtime
    base: Runner
    inputs: Arrays
    names: Sequence[str]
    reference: Arrays
    parent: Artifact
    ingredients: Mapping[str, str]
    begun: float
    calmest: float
    deadly: frozenset[str]
    reused: int = 0
    count: int = 0

    def measure(self, recipe: Recipe, groups: Sequence[str], label: str, *, careful: bool = False) -> Tried:
        """One point, from the store where it is there; only what gave figures is stored."""
        facts = {**self.ingredients, "recipe": to_json(_nameless(recipe)).decode(), "careful": str(careful)}
        place = Path(self.order.cache) / f"{key_of(facts)}.json"
        self.count += 1
        if place.exists():
            self.reused += 1
            tried = dataclasses.replace(from_json(place.read_bytes(), Tried), label=label, recipe=recipe)
            return self._told(tried, "stored")
        begun = time.monotonic()
        if place.stem in self.deadly:
            died = Tried(
                label=label, recipe=recipe, groups=tuple(groups), failed="making or running it ended the process"
            )
            return self._told(died, "left out")
        write_atomically(Path(self.job.folder) / RUNNING, place.stem.encode())
        tried = self._made(recipe, tuple(groups), label, careful=careful)
        if tried.figures is not None:
            write_atomically(place, to_json(tried))
        return self._told(tried, f"{time.monotonic() - begun:.1f} s")

    def say(self, line: str) -> None:
        """Progress."""
        say(line)

    def time_left(self, share: float = 1.0) -> bool:
        """Whether another point may be begun: less than that share of the time has passed."""
        return time.monotonic() < self.begun + share * self.order.seconds

    def _told(self, tried: Tried, how: str) -> Tried:
        figures = tried.figures
        seen = (
            f"cosine {figures.centred_cosine_mean:.4f}, top-5 {figures.top_k:.3f}, "
            f"latency {figures.latency_ratio:.3f}, size {figures.size_ratio:.3f}"
            if figures
            else f"not made: {tried.failed}"
        )
        say(f"{self.count:3d}  {tried.label}: {seen} ({how})")
        return tried

    def _made(self, recipe: Recipe, groups: tuple[str, ...], label: str, *, careful: bool) -> Tried:
        with tempfile.TemporaryDirectory(dir=self.job.folder, ignore_cleanup_errors=True) as scratch:
            try:
                figures = self._figures(self._convert(recipe, Path(scratch)), careful=careful)
            except ConversionError as error:
                return Tried(label=label, recipe=recipe, groups=groups, failed=str(error))
        return Tried(label=label, recipe=recipe, groups=groups, figures=figures)

    def _convert(self, recipe: Recipe, folder: Path) -> Artifact:
        stage = load_stage(self.job.step.stage)
        options = parse(stage.Options, dict(self.job.step.options), "options", [])
        fewer = min(recipe.samples, self.halves.for_ranges) if recipe.samples else 0
        wanted = dataclasses.replace(
            recipe, samples=fewer, calibration_path=str(self.halves.ranges) if recipe.sample_set else None
        )
        return stage.convert(self.parent, options, wanted, folder)

    def _figures(self, made: Artifact, *, careful: bool) -> Figures:
        from converter.parity.compare import compare, embed

        with self.runtime.open_runner(made, self.job.threads) as runner:
            report = compare(
                self.reference, embed(runner, self.inputs, specs=made.inputs), reference_name="float32 file",
                candidate_name=made.path, sample_set=self.halves.words, executed_by=runner.executed_by, k=TOP_K,
                tie_margin=self.job.step.tie_margin, names=self.names,
            )  # fmt: skip
            parts = int(getattr(runner, "parts", 0))
        output, ranking = report.outputs[0], report.ranking
        if output.nonfinite or ranking is None:
            message = f"{output.nonfinite} values of its outputs are NaN or infinite"
            raise ConversionError(message)
        return Figures(
            centred_cosine_mean=output.centred_cosine_mean, centred_cosine_min=output.centred_cosine_min,
            top_k=ranking.top_k, top1=ranking.top1, kendall_tau=ranking.kendall_tau, sqnr_db=output.sqnr_db,
            size_ratio=hash_path(Path(made.path))[1] / hash_path(Path(self.parent.path))[1],
            latency_ratio=self._latency_ratio(made, careful=careful), parts=parts,
        )  # fmt: skip

    def _latency_ratio(self, made: Artifact, *, careful: bool) -> float:
        """The file's time over that of the float32 file, which runs in turn with it.

        What other programs add is never negative, so the least of what was seen stands for each: of several openings,
        since an interpreter whose threads landed badly is slow for as long as it lives, and of as many again where the
        float32 file itself is slower than it was before. Where it stays so, its own best time before counts.
        """
        openings = CAREFUL_OPENINGS if careful else OPENINGS
        seen: list[tuple[float, float]] = []
        base = float("inf")
        while len(seen) < openings or (len(seen) < 2 * openings and base > CALM * self.calmest):
            seen.append(self._opened(made, careful=careful))
            base = min(base, seen[-1][1])
            self.calmest = min(self.calmest, base)
        disturbed = base > CALM * self.calmest
        return min(ours for ours, _ in seen) / (self.calmest if disturbed else base)

    def _opened(self, made: Artifact, *, careful: bool) -> tuple[float, float]:
        """Least seconds of the file, opened anew, and of the float32 file, over some turns."""
        from converter.parity.compare import one_sample

        inputs, theirs = (one_sample(self.inputs, 0, specs) for specs in (made.inputs, self.parent.inputs))
        times: list[tuple[float, float]] = []
        least = CAREFUL_SECONDS if careful else LEAST_SECONDS
        with self.runtime.open_runner(made, self.job.threads) as runner:
            begun = time.monotonic()
            while len(times) < (CAREFUL_TURNS if careful else TURNS) or time.monotonic() - begun < least:
                times.append((_seconds(runner, inputs), _seconds(self.base, theirs)))
        return min(own for own, _ in times), min(base for _, base in times)


def calm_seconds(runner: Runner, arrays: Arrays) -> float:
    """The least that a run takes, over a second or more: what later measurements are held against."""
    begun, seen = time.monotonic(), list[float]()
    while len(seen) < CAREFUL_TURNS or time.monotonic() - begun < CAREFUL_SECONDS:
        seen.append(_seconds(runner, arrays))
    return min(seen)


def _seconds(runner: Runner, arrays: Arrays) -> float:
    """Of the second of two runs: the first one fetches the weights that the other file pushed out of the caches."""
    runner.infer(arrays)
    begun = time.perf_counter()
    runner.infer(arrays)
    return time.perf_counter() - begun


def _nameless(recipe: Recipe) -> Recipe:
    """What a recipe is called changes nothing."""
    return dataclasses.replace(recipe, name="", summary="")


def say(line: str) -> None:
    """Progress, for the process that waits."""
    print(f"{PROGRESS}{line}", flush=True)
