"""Search a recipe for one tower: `search_recipe` starts a process of its own, `work` is what it does there.

Every point is a file that the stage itself writes, run by the runtime itself: the search knows no format. Ranges are
taken from one half of the calibration samples and files are judged on the other half, against the float32 file;
parity samples are not looked at, so that they can judge what the search chose. Latency is measured beside the
float32 file, turn by turn. Each point is stored by its content as it comes: a run that was stopped goes on.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converter.errors import ConversionError, McconvertError
from converter.files import hash_path, write_atomically
from converter.pipeline.dispatch import dispatch
from converter.pipeline.following import followed
from converter.pipeline.halves import Halves, halve
from converter.pipeline.job import OUTCOME, Job, Outcome
from converter.pipeline.plugins import load_runtime, load_stage, versions
from converter.pipeline.points import PROGRESS, RUNNING, Bench, calm_seconds, say
from converter.pipeline.process import MemoryMeter
from converter.pipeline.sources import source_hash
from converter.quantization.groups import groups_of_layers, only_these
from converter.quantization.range_store import RANGES_VARIABLE
from converter.quantization.recipes import layer_name
from converter.quantization.search import search
from converter.records import Artifact, Limits, Step
from converter.searched import Found, SearchOrder

if TYPE_CHECKING:
    from converter.runtimes import Runtime

GRACE_SECONDS = 900.0
"""How long the point may take that was begun last, before the process is stopped."""
LAYER_KINDS = (
    "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL", "EMBEDDING_LOOKUP", "Conv", "Gemm", "MatMul",
)  # fmt: skip
"""Operations that recipes quantize, as the formats call them."""
MEASURED_BY = (
    "converter.pipeline.points", "converter.pipeline.halves", "converter.parity.compare", "converter.parity.metrics",
    "converter.parity.ranking", "converter.models.samples",
)  # fmt: skip
"""Modules whose own source makes a point what it is, beside the stage's and the runtime's."""
DEATHS = 3
"""How many points may end their process natively before the search gives up."""
DEADLY = "deadly"


def search_recipe(
    step: Step, parent: Artifact, order: SearchOrder, said: Callable[[str], None], *, threads: int
) -> Found:
    """Find the layers that `step.recipe` must leave in float, in a process of its own.

    `parent` is the float32 file, `step.recipe.calibration_path` names the calibration samples.

    A point that ends the process natively is left out, and the search goes on.

    Raises:
        McconvertError: the stage, the runtime or the samples cannot be used; or the process died too often.
    """
    limits = Limits(seconds=order.seconds + GRACE_SECONDS, memory_bytes=step.limits.memory_bytes)
    with tempfile.TemporaryDirectory(prefix="mcconvert-quantize-") as scratch:
        folder, stop = Path(scratch), threading.Event()
        job = Job(
            kind="search", step=dataclasses.replace(step, limits=limits), folder=scratch, threads=threads,
            parent=parent, search=order,
        )  # fmt: skip
        with followed(folder / "log", PROGRESS, said):
            try:
                outcome = _survived(job, folder, stop, said)
            except BaseException:
                stop.set()
                raise
    if outcome.found is None:
        message = "the process ended well and brought no result"
        raise McconvertError(message)
    return outcome.found


def work(job: Job) -> Outcome:
    """The job of the process itself.

    Raises:
        ConversionError: there are too few calibration samples, or the float32 file cannot be run or observed.
        UsageError: the order names layers that the file does not have.
    """
    order, recipe, parent = job.search, job.step.recipe, job.parent
    if order is None or recipe is None or parent is None or recipe.calibration_path is None:
        message = "a search needs an order, a float32 file, a recipe and calibration samples"
        raise McconvertError(message)
    begun = time.monotonic()
    os.environ.setdefault(RANGES_VARIABLE, str(Path(order.cache).parent / "ranges"))
    halves = halve(Path(recipe.calibration_path), Path(job.folder))
    groups = only_these(groups_of_layers(_layers(parent, halves, job.threads)), order.only)
    say(f"{len(groups)} groups of layers; {halves.words}")
    with _open_bench(job, order, halves) as bench:
        plain = dataclasses.replace(recipe, calibration_path=None)
        ended = search(plain, groups, order.budget, bench, techniques=order.techniques)
        found = Found(
            budget=order.budget, chosen=ended.chosen, best=ended.best, tried=ended.tried, groups=ended.groups,
            judged_on=halves.words, executed_by=bench.base.executed_by, seconds=time.monotonic() - begun,
            reused=bench.reused, stopped_early=ended.stopped_early,
        )  # fmt: skip
    return Outcome(artifact=parent, found=found)


def _survived(job: Job, folder: Path, stop: threading.Event, said: Callable[[str], None]) -> Outcome:
    deadly: list[str] = []
    while True:
        try:
            return dispatch(job, folder / "log", stop, MemoryMeter())[0]
        except ConversionError as error:
            if (folder / OUTCOME).exists() or not (folder / RUNNING).exists() or len(deadly) == DEATHS:
                raise
            said(f"{error}; going on without that point")
        deadly.append((folder / RUNNING).read_text())
        write_atomically(folder / DEADLY, "\n".join(deadly).encode())


def _deadly(folder: Path) -> frozenset[str]:
    """The points in which the process died before."""
    return frozenset((folder / DEADLY).read_text().split()) if (folder / DEADLY).exists() else frozenset()


@contextmanager
def _open_bench(job: Job, order: SearchOrder, halves: Halves) -> Iterator[Bench]:
    from converter.models.samples import load_inputs, load_names
    from converter.parity.compare import embed, one_sample

    parent, stage = job.parent, load_stage(job.step.stage)
    if parent is None:
        message = "a search needs a float32 file"
        raise McconvertError(message)
    runtime, inputs = load_runtime(stage.FORMAT), load_inputs(halves.judged)
    with load_runtime(parent.format).open_runner(parent, job.threads) as base:
        say("running the float32 file")
        yield Bench(
            job=job, order=order, halves=halves, runtime=runtime, base=base, inputs=inputs,
            names=load_names(halves.judged), reference=embed(base, inputs, specs=parent.inputs), parent=parent,
            calmest=calm_seconds(base, one_sample(inputs, 0, parent.inputs)),
            ingredients=_ingredients(job, parent, runtime), begun=time.monotonic(),
            deadly=_deadly(Path(job.folder)),
        )  # fmt: skip


def _layers(parent: Artifact, halves: Halves, threads: int) -> list[str]:
    """The layers of the float32 file in order of execution, as its runtime shows them."""
    from converter.models.samples import load_inputs
    from converter.parity.compare import one_sample

    runtime: Any = load_runtime(parent.format)
    if not hasattr(runtime, "open_observer"):
        message = f"the runtime of {parent.format} files cannot show their layers (no open_observer)"
        raise ConversionError(message)
    with runtime.open_observer(parent, threads) as observer:
        arrays = one_sample(load_inputs(halves.judged), 0, parent.inputs)
        return [layer_name(one.name) for one in observer.observe(arrays) if one.kind in LAYER_KINDS]


def _ingredients(job: Job, parent: Artifact, runtime: Runtime) -> dict[str, str]:
    """All that a point depends on beside its recipe."""
    stage, recipe = load_stage(job.step.stage), job.step.recipe
    return {
        "parent": parent.sha256,
        "stage source": source_hash(str(getattr(stage, "__name__", ""))),
        "runtime source": source_hash(str(getattr(runtime, "__name__", ""))),
        **{name: source_hash(name, ("converter",)) for name in MEASURED_BY},
        "options": json.dumps(dict(job.step.options), sort_keys=True, default=str),
        "calibration": hash_path(Path(recipe.calibration_path))[0] if recipe and recipe.calibration_path else "",
        "tie_margin": str(job.step.tie_margin),
        "threads": f"{job.threads} of {os.cpu_count()}",
        **versions({*stage.REQUIRES, *runtime.REQUIRES}),
    }
