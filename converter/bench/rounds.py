"""Workers measured in turn: in each round every one of them once, in an order drawn anew, while all others sleep.

What else the machine does then hits all alike, and a ratio is taken between turns of one round. Before each turn the
others' threads get time to stop spinning, as those of OpenMP and ONNX Runtime do for some milliseconds after their
work; within a turn, one call that is not measured brings the file back into the processor's caches.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np

from converter.bench.messages import Job, Lost, Took, Turn
from converter.bench.side_process import SideProcess
from converter.benchmarked import Throughput

REST_SECONDS = 0.05
QUICK_LOAD_MS = 5000.0
"""Files that take longer to open are opened once."""
LEAST_THROUGHPUT_ROUNDS = 3
type Said = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a benchmark is taken. `calls` in each of `rounds`; `loads` is in how many processes a file is opened."""

    rounds: int = 15
    calls: int = 3
    threads: int = 2
    batches: tuple[int, ...] = (1, 4, 16)
    loads: int = 3
    warmup: int = 3
    seed: int = 0


@dataclass(kw_only=True)
class Taken:
    """What one worker gave. `why_not` says why it gave nothing more."""

    executed_by: str = ""
    load_ms: list[float] = field(default_factory=list)
    rounds: list[tuple[float, ...]] = field(default_factory=list)
    peak_rss_bytes: int | None = None
    throughput: list[Throughput] = field(default_factory=list)
    why_not: str = ""


def measure_group(
    jobs: Mapping[str, Job], flexible: frozenset[str], settings: Settings, environment: Mapping[str, str], say: Said
) -> dict[str, Taken]:
    """Measure every job beside the others, by name; those in `flexible` take any batch."""
    taken = {name: Taken() for name in jobs}
    generator = np.random.default_rng(settings.seed)
    with ExitStack() as stack:
        open_sides: dict[str, SideProcess] = {}
        for number, (name, job) in enumerate(jobs.items(), 1):
            say(f"opening {number} of {len(jobs)}: {name}")
            side = SideProcess(job, environment)
            stack.callback(side.close)
            if _note_opened(side, taken[name]):
                open_sides[name] = side
        for number in range(settings.rounds):
            say(f"round {number + 1} of {settings.rounds}")
            for name, side in _in_turn(open_sides, generator):
                turn = side.take(Turn(calls=settings.calls, sample=number))
                _note_turn(turn, taken[name])
        for name, side in _alive(open_sides):
            taken[name].peak_rss_bytes = side.peak()
        _take_throughput({name: side for name, side in open_sides.items() if name in flexible}, taken, settings,
                         generator, say)  # fmt: skip
    _load_again(jobs, taken, settings, environment, say)
    return taken


def _note_opened(side: SideProcess, taken: Taken) -> bool:
    opened = side.opened()
    if isinstance(opened, Lost):
        taken.why_not = opened.why
        return False
    taken.executed_by = opened.executed_by
    taken.load_ms.append(opened.load_ms)
    return True


def _note_turn(turn: Took | Lost, taken: Taken) -> None:
    if isinstance(turn, Lost):
        taken.why_not = turn.why
    else:
        taken.rounds.append(turn.milliseconds)


def _alive(sides: Mapping[str, SideProcess]) -> Iterator[tuple[str, SideProcess]]:
    return ((name, side) for name, side in sides.items() if side.lost is None)


def _in_turn(sides: Mapping[str, SideProcess], generator: np.random.Generator) -> Iterator[tuple[str, SideProcess]]:
    """Those that still live, in random order, each after a rest."""
    alive = list(_alive(sides))
    for index in generator.permutation(len(alive)):
        time.sleep(REST_SECONDS)
        yield alive[index]


def _take_throughput(
    sides: Mapping[str, SideProcess], taken: Mapping[str, Taken], settings: Settings, generator: np.random.Generator,
    say: Said,
) -> None:  # fmt: skip
    """Inputs a second by batch, the batches and workers interleaved too; a call a turn."""
    batches = [batch for batch in settings.batches if batch > 1]
    seconds: dict[tuple[str, int], list[float]] = {}
    for number in range(max(LEAST_THROUGHPUT_ROUNDS, settings.rounds // 3) if batches and sides else 0):
        say(f"throughput, round {number + 1}")
        for batch in batches:
            for name, side in _in_turn(sides, generator):
                turn = side.take(Turn(calls=1, batch=batch, sample=number * batch))
                if isinstance(turn, Lost):
                    taken[name].why_not = f"with {batch} inputs a call: {turn.why}"
                else:
                    seconds.setdefault((name, batch), []).append(turn.milliseconds[0] / 1e3)
    for (name, batch), found in seconds.items():
        taken[name].throughput.append(Throughput(batch=batch, per_second=batch / statistics.median(found)))


def _load_again(
    jobs: Mapping[str, Job], taken: Mapping[str, Taken], settings: Settings, environment: Mapping[str, str], say: Said
) -> None:
    """Open files in processes of their own once more, the others closed: each time is that of a fresh process."""
    for number in range(1, settings.loads):
        say(f"loading again, {number} of {settings.loads - 1}")
        for name, job in jobs.items():
            if taken[name].why_not or taken[name].load_ms[0] > QUICK_LOAD_MS:
                continue
            side = SideProcess(_opened_only(job), environment)
            try:
                opened = side.opened()
            finally:
                side.close()
            if not isinstance(opened, Lost):
                taken[name].load_ms.append(opened.load_ms)


def _opened_only(job: Job) -> Job:
    import msgspec

    return msgspec.structs.replace(job, warmup=0)
