"""A campaign: every reader fed by processes that may crash, hang or run out of memory at the cost of one input each.

What went wrong with an input is kept in `<work>/findings/`: the input, and a text that says what was seen and how to
see it again.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.child import seeds_of, write_input
from tests.fuzz.readers import Reader

STARTING_SECONDS = 240.0
"""A process imports its libraries, and the first one makes the seeds."""
UNREAD = -1
"""Stands for an input where a process did not come so far."""
KINDS = ("read", "refused", "traceback", "crash", "hang", "contained")


@dataclass(kw_only=True)
class Tally:
    """What became of one reader's inputs. `contained` are deaths of a process that is there to die."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    findings: dict[int, tuple[str, str]] = field(default_factory=dict)

    @property
    def tried(self) -> int:
        return sum(self.counts.values())

    @property
    def failed(self) -> bool:
        return bool(self.counts["traceback"] + self.counts["crash"] + self.counts["hang"])


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to try. `module` is where children find the readers by name."""

    work: Path
    seed: int
    inputs: int
    seconds: float
    jobs: int = 2
    module: str = "tests.fuzz.readers"


def run(readers: Sequence[Reader], plan: Plan, said: Callable[[str], None] = print) -> dict[str, Tally]:
    """Try `plan.inputs` inputs, shared among the readers by their weights, or as many as the time allows."""
    deadline = time.monotonic() + plan.seconds
    chunks: queue.SimpleQueue[tuple[Reader, int, int]] = queue.SimpleQueue()
    for reader, first, count in _chunks(readers, plan.inputs):
        chunks.put((reader, first, count))
    tallies = {reader.name: Tally() for reader in readers}

    def work() -> None:
        with contextlib.suppress(queue.Empty):
            while time.monotonic() < deadline:
                reader, first, count = chunks.get_nowait()
                _feed(reader, plan, first, count, tallies[reader.name], deadline)

    with ThreadPoolExecutor(max_workers=plan.jobs) as pool:
        for worker in [pool.submit(work) for _ in range(plan.jobs)]:
            worker.result()
    for reader in readers:
        _keep_findings(reader, plan, tallies[reader.name])
        said(line(reader.name, tallies[reader.name]))
    said(total(list(tallies.values())))
    return tallies


def line(name: str, tally: Tally) -> str:
    """One reader's counts."""
    counts = tally.counts
    died = f", ended its own process: {counts['contained']}" if counts["contained"] else ""
    return (
        f"{name:28} tried: {tally.tried}, refused: {counts['refused']}, read: {counts['read']}{died}, "
        f"tracebacks: {counts['traceback']}, crashes: {counts['crash']}, hangs: {counts['hang']}"
    )


def total(tallies: Sequence[Tally]) -> str:
    """All counts in one line; a file that ended its own process counts as refused, as it is there."""
    sums = {kind: sum(tally.counts[kind] for tally in tallies) for kind in KINDS}
    return (
        f"inputs tried: {sum(sums.values())}, refused: {sums['refused'] + sums['contained']}, read: {sums['read']}, "
        f"tracebacks: {sums['traceback']}, crashes: {sums['crash']}, hangs: {sums['hang']}"
    )


def _chunks(readers: Sequence[Reader], inputs: int) -> list[tuple[Reader, int, int]]:
    """Rounds of one batch a reader, so that a campaign cut short has fed all of them."""
    whole = sum(reader.share for reader in readers)
    wanted = {reader.name: max(1, round(inputs * reader.share / whole)) for reader in readers}
    rounds = max(-(-wanted[reader.name] // reader.batch) for reader in readers)
    found = []
    for step in range(rounds):
        for reader in readers:
            each = -(-wanted[reader.name] // rounds)
            first = step * each
            if first < wanted[reader.name]:
                found.append((reader, first, min(each, wanted[reader.name] - first)))
    return found


def _feed(reader: Reader, plan: Plan, first: int, count: int, tally: Tally, deadline: float) -> None:
    """One chunk: a new process after each death, from the input after the one that it died of."""
    end = first + count
    while first < end and time.monotonic() < deadline:
        first = _child(reader, plan, first, end, tally, deadline)


def _child(reader: Reader, plan: Plan, first: int, end: int, tally: Tally, deadline: float) -> int:
    """Watch one process; returns the number to go on from."""
    command = [sys.executable, "-m", "tests.fuzz.child", plan.module, reader.name, str(plan.work), str(plan.seed),
               str(first), str(end - first)]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        try:
            started, ended_by = _follow(process, reader, tally, deadline)
        finally:
            process.kill()
    if ended_by == "deadline" or (started is None and ended_by == "end" and process.returncode == 0):
        return end
    if started is None:
        tally.counts["crash"] += 1
        why = f"its process ended with {_named(process.returncode)} before any input"
        tally.findings.setdefault(UNREAD, ("crash", why))
        return end
    number, done = started
    if not done:
        why = "it hung" if ended_by == "silence" else f"its process ended with {_named(process.returncode)}"
        kind = "contained" if reader.own_process else "hang" if ended_by == "silence" else "crash"
        tally.counts[kind] += 1
        if kind != "contained":
            tally.findings[number] = (kind, why)
    return number + 1


def _follow(
    process: subprocess.Popen[bytes], reader: Reader, tally: Tally, deadline: float
) -> tuple[tuple[int, bool] | None, str]:
    """((last number, whether it ended), why this stops): `end` of its output, `silence`, or the `deadline`."""
    assert process.stdout is not None
    last: tuple[int, bool] | None = None
    rest = b""
    with selectors.DefaultSelector() as waiting:
        waiting.register(process.stdout, selectors.EVENT_READ)
        while True:
            patience = reader.seconds if last else STARTING_SECONDS
            if not waiting.select(patience):
                return last, "silence"
            data = os.read(process.stdout.fileno(), 65536)
            if not data:
                process.wait()
                return last, "end"
            *lines, rest = (rest + data).split(b"\n")
            for text in lines:
                last = _take(text.decode(), tally)
            if time.monotonic() > deadline:
                return last, "deadline"


def _take(text: str, tally: Tally) -> tuple[int, bool] | None:
    word, number, *more = text.split(" ", 2)
    if word == "unread":
        tally.findings[UNREAD] = ("crash", f"a seed cannot be read: {json.loads(more[0])}")
        return None
    if word == "start":
        return int(number), False
    tally.counts[word] += 1
    if word == "traceback":
        tally.findings[int(number)] = (word, json.loads(more[0]))
    return int(number), True


def _named(returncode: int) -> str:
    return signal.Signals(-returncode).name if returncode < 0 else str(returncode)


def _keep_findings(reader: Reader, plan: Plan, tally: Tally) -> None:
    for number, (kind, why) in sorted(tally.findings.items()):
        name = f"{reader.name.replace(' ', '_').replace('/', '_')}-{number}"
        place = plan.work / "findings" / name
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        with contextlib.suppress(OSError), tempfile.TemporaryDirectory() as folder:
            path = write_input(reader, seeds_of(reader, plan.work), plan.seed, number, Path(folder))
            (shutil.copytree if path.is_dir() else shutil.copyfile)(path, place / path.name)
        again = f"python -m tests.fuzz --reader '{reader.name}' --seed {plan.seed} --input {number}"
        (place / "finding.txt").write_text(f"{kind}\n{again}\n\n{why}\n", encoding="utf-8")
