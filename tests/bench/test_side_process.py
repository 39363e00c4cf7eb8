"""A worker by itself: what it measures, and what becomes of it when its runtime prints, hangs, dies or raises."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from converter.bench.messages import Job, Lost, Opened, Took, Turn
from converter.bench.side_process import SideProcess
from converter.models.samples import load_inputs
from converter.records import Artifact, TensorSpec

MIB = 2**20
ODD = '''
"""A runtime of a third party that does what the artifact's file says."""
import os, time
from contextlib import contextmanager
from pathlib import Path
import numpy as np

FORMAT, REQUIRES = "odd", ()

class Runner:
    inputs = outputs = ()
    def __init__(self, what):
        self.what = what
        self.executed_by = f"cores {sorted(os.sched_getaffinity(0))}, {os.environ['OMP_NUM_THREADS']} threads"
    def infer(self, arrays):
        (tokens,) = arrays.values()
        if self.what == "slow in batches":
            time.sleep(0.01 * len(tokens))
        if self.what == "print":
            print("a line that is no JSON", flush=True)
            os.write(1, b"nor is this")
        if self.what == "hang":
            time.sleep(600)
        if self.what == "raise":
            raise ValueError("a runtime may raise anything")
        return {}

@contextmanager
def open_runner(artifact, threads):
    what = Path(artifact.path).read_text()
    if what == "die":
        os.abort()
    if what == "allocate":
        for_a_while = np.ones(64 * 2**20, np.uint8)
        del for_a_while
    yield Runner(what)
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runtime, installed for whoever has it on PYTHONPATH, and six samples."""
    base = tmp_path_factory.mktemp("odd")
    (base / "odd_runtime.py").write_text(ODD)
    facts = base / "odd-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[mcconvert.runtimes]\nodd = odd_runtime\n")
    np.savez(base / "samples.npz", tokens=np.zeros((6, 77), np.int32), names=np.array(list("abcdef")))
    assert load_inputs(base / "samples.npz")["tokens"].shape == (6, 77)
    return base


@pytest.fixture
def start(folder: Path, tmp_path: Path) -> Iterator[Callable[[str], SideProcess]]:
    """Starts a worker whose runtime does what a word says; all are ended afterwards."""
    started: list[SideProcess] = []

    def begin(what: str) -> SideProcess:
        started.append(SideProcess(_job(folder, tmp_path, what), _environment(folder)))
        return started[-1]

    yield begin
    for side in started:
        side.close()


def test_a_worker_keeps_to_its_cores_and_threads(start: Callable[[str], SideProcess]) -> None:
    """The first core only, whatever this process may use; one thread in the runtimes' own settings."""
    opened = start("be well").opened()

    assert isinstance(opened, Opened)
    assert opened.executed_by == f"cores [{min(os.sched_getaffinity(0))}], 1 threads"


def test_calls_are_timed_by_batch(start: Callable[[str], SideProcess]) -> None:
    """10 ms an input: a call of four takes 40 ms, and as many times come back as calls were asked for."""
    side = start("slow in batches")
    assert isinstance(side.opened(), Opened)

    one, four = side.take(Turn(calls=3)), side.take(Turn(calls=2, batch=4, sample=5))

    assert isinstance(one, Took) and isinstance(four, Took)
    assert len(one.milliseconds) == 3 and min(one.milliseconds) >= 10
    assert len(four.milliseconds) == 2 and min(four.milliseconds) >= 40


def test_memory_of_a_moment_counts(start: Callable[[str], SideProcess]) -> None:
    """64 MiB that were let go of before the file was open are in its peak; a file that takes nothing has no such."""
    sides = {what: start(what) for what in ("allocate", "be well")}
    for side in sides.values():
        assert isinstance(side.opened(), Opened)

    peaks = {what: side.peak() for what, side in sides.items()}

    assert peaks["allocate"] is not None and 60 * MIB < peaks["allocate"] < 90 * MIB
    assert peaks["be well"] is not None and peaks["be well"] < 20 * MIB


def test_what_a_library_prints_does_not_reach_the_answers(start: Callable[[str], SideProcess]) -> None:
    """Neither by Python nor natively."""
    side = start("print")

    assert isinstance(side.opened(), Opened)
    assert isinstance(side.take(Turn(calls=2)), Took)


@pytest.mark.parametrize(
    ("what", "words"), [("die", "crashed natively (SIGABRT)"), ("raise", "ValueError: a runtime may raise anything")]
)
def test_a_worker_that_ends_is_lost_in_words(start: Callable[[str], SideProcess], what: str, words: str) -> None:
    """And stays lost: nothing more is sent to it."""
    side = start(what)

    first = side.opened()

    assert isinstance(first, Lost) and words in first.why
    assert side.take(Turn(calls=1)) == first
    assert side.peak() is None


def test_a_worker_that_hangs_is_stopped(start: Callable[[str], SideProcess], monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time that a turn may take, by force."""
    monkeypatch.setattr("converter.bench.side_process.OPEN_SECONDS", 6.0)
    side = start("hang")
    begun = time.monotonic()

    found = side.opened()

    assert isinstance(found, Lost) and "did not answer within 6 seconds" in found.why
    assert time.monotonic() - begun < 30


def test_a_worker_ends_when_the_run_is_gone(folder: Path, tmp_path: Path) -> None:
    """Killed in mid-run, a run leaves no process behind: the worker's input has ended."""
    import msgspec

    job = msgspec.json.encode(_job(folder, tmp_path, "be well"))
    worker = subprocess.Popen(
        [sys.executable, "-m", "converter.bench.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, env=_environment(folder),
    )  # fmt: skip
    assert worker.stdin is not None and worker.stdout is not None
    with closing(worker.stdout):
        worker.stdin.write(job + b"\n")
        worker.stdin.flush()
        assert b"Opened" in worker.stdout.readline()

        worker.stdin.close()

        assert worker.wait(30) == 0


def _job(folder: Path, tmp_path: Path, what: str) -> Job:
    file = tmp_path / f"{what.replace(' ', '_')}.odd"
    file.write_text(what)
    spec = TensorSpec(name="tokens", shape=("batch", 77), dtype="int32", layout="NL")
    artifact = Artifact(
        path=str(file), format="odd", target="odd", tower="text", precision="fp32", inputs=(spec,), outputs=()
    )
    return Job(
        tower="text", artifact=artifact, samples=str(folder / "samples.npz"), threads=1,
        cores=(min(os.sched_getaffinity(0)),), warmup=1,
    )  # fmt: skip


def _environment(folder: Path) -> dict[str, str]:
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
