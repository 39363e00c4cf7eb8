"""A step's process and what it may do: bounded in what it prints, alone when it ends, its end told in words."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from converter.pipeline import process
from converter.pipeline.leftovers import end_leftovers
from converter.pipeline.process import Ended, MemoryMeter, describe, run_worker
from converter.records import Limits

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


def _sleeper(scratch: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(SLEEP, env=os.environ | {"TMPDIR": str(scratch)}, start_new_session=True)


def test_processes_left_behind_by_a_step_are_ended_and_no_others(tmp_path: Path) -> None:
    """What runs with the step's scratch folder is ended, in whatever session; its neighbour's goes on."""
    ours, theirs = _sleeper(tmp_path / "step" / "tmp"), _sleeper(tmp_path / "step2" / "tmp")
    try:
        ended = end_leftovers(tmp_path / "step")

        assert ended == 1
        assert ours.wait(10) == -9
        assert theirs.poll() is None
    finally:
        for one in (ours, theirs):
            one.kill()
            one.wait()


def test_a_step_that_never_stops_printing_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its log would fill the disk."""
    folder = tmp_path / "step"
    folder.mkdir()
    (tmp_path / "sitecustomize.py").write_text("while True: print('noise' * 1000)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(process, "LOG_LIMIT_BYTES", 1 << 20)

    ended = run_worker(folder, tmp_path / "log", Limits(seconds=60), 1, threading.Event(), MemoryMeter())

    assert ended.stopped == "log"
    assert "stopped after printing 1 MiB" in describe(ended, Limits())


@pytest.mark.parametrize(
    ("returncode", "words"),
    [
        (-9, "was killed (SIGKILL), most likely by the system for want of memory: close other programs, use --jobs 1"),
        (-6, "crashed natively (SIGABRT)"),
        (-40, "crashed natively (signal 40)"),
        (3, "exit code 3 and left no result: its log may say why"),
    ],
)
def test_every_end_is_told_with_a_way_on(returncode: int, words: str) -> None:
    """What was seen, and what to do."""
    assert words in describe(Ended(returncode=returncode, seconds=1, peak_rss_bytes=1), Limits())
