"""SIGKILL of the run, at random moments and at named instants: nothing half looks whole, and the next run completes."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.faults.command import INSTANTS, begin, wait_until, workers
from tests.faults.conftest import ROWS, SEED, Export, Faults
from tests.faults.killing import at_instant, changes_of, check_after, empty, killed_at, without_tflite
from tests.faults.wholeness import check_all_as_ever, check_nothing_half, contents

KILLS = int(os.environ.get("FAULTS_KILLS") or 50)
FROM_NOTHING, IN_A_STEP, IN_A_WORKER = KILLS * 3 // 10, KILLS // 10, KILLS // 10
AT_INSTANTS = KILLS - FROM_NOTHING - IN_A_STEP - IN_A_WORKER
"""How fifty are spread: over a whole export, over one conversion, over a step's own writing, and over every change that
the run makes while it commits an entry, places artifacts and reference files and writes the manifest."""
pytestmark = pytest.mark.faults


@pytest.mark.parametrize("number", range(FROM_NOTHING))
def test_killed_at_a_random_moment_of_an_export(
    undisturbed: Export, faults: Faults, tmp_path: Path, number: int
) -> None:
    """From the first import to the last byte of the manifest."""
    drawn = random.Random(f"{SEED} export {number}")
    moment = undisturbed.seconds * (number + drawn.random()) / FROM_NOTHING
    export = empty(tmp_path, undisturbed.seconds)

    with faults.inject(f"SIGKILL after {moment:.2f} s of about {undisturbed.seconds:.0f}"):
        while not killed_at(export, moment):
            moment *= 0.8
            shutil.rmtree(export.out)
            shutil.rmtree(export.cache)
        check_after(export, undisturbed.contents())


@pytest.mark.parametrize("number", range(IN_A_STEP))
def test_killed_at_a_random_moment_of_a_conversion(
    undisturbed: Export, faults: Faults, tmp_path: Path, number: int
) -> None:
    """While the converter's own process works: it goes too, and only its step is made again."""
    drawn = random.Random(f"{SEED} step {number}")
    export = without_tflite(undisturbed, tmp_path)
    delay = 3 * drawn.random()

    with faults.inject(f"SIGKILL {delay:.2f} s after the step began"):
        process = begin(*ROWS, "--out", export.out, cache=export.cache)
        wait_until(lambda: workers(export.cache))
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(delay)
        process.kill()
        process.wait()
        check_after(export, undisturbed.contents())


@pytest.fixture(scope="module")
def changes(undisturbed: Export, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Each change that the run itself makes to files while one conversion is left to do, in their order."""
    folder = tmp_path_factory.mktemp("recorded")
    return changes_of(without_tflite(undisturbed, folder), folder / "record", "run")


@pytest.mark.parametrize("number", range(AT_INSTANTS))
def test_killed_just_before_a_change_that_the_run_makes(
    undisturbed: Export, changes: list[str], faults: Faults, tmp_path: Path, number: int
) -> None:
    """Every rename, link, removal and opening for writing is an instant at which to die: these are drawn evenly."""
    drawn = random.Random(f"{SEED} instant {number}")
    instant = 1 + int(len(changes) * (number + drawn.random()) / AT_INSTANTS)
    export = without_tflite(undisturbed, tmp_path)

    with faults.inject(f"SIGKILL just before: {changes[instant - 1]}"):
        assert at_instant(export, "run", instant) == -9
        check_after(export, undisturbed.contents())


@pytest.mark.parametrize("number", range(IN_A_WORKER))
def test_a_step_killed_just_before_a_change_that_it_makes(
    undisturbed: Export, faults: Faults, tmp_path: Path, number: int
) -> None:
    """The step's own process dies while it writes: exit code 5, the step and the way on are named."""
    export = without_tflite(undisturbed, tmp_path)
    record = tmp_path / "record"
    if number == 0:
        count = 1
    else:
        count = len(changes_of(export, record, "worker")) * number // IN_A_WORKER
        shutil.rmtree(tmp_path / "cache")
        shutil.rmtree(tmp_path / "out")
        export = without_tflite(undisturbed, tmp_path)

    with faults.inject(f"SIGKILL of the step just before its change {count}"):
        ran = export.run(extra={"PYTHONPATH": str(INSTANTS), "FAULTS_KILL": f"worker:{count}"})
        assert ran.code == 5
        assert "image/tflite/fp32" in ran.out
        assert "was killed (SIGKILL)" in ran.out
        assert "then run again" in ran.out
        check_nothing_half(export.folder, export.cache, undisturbed.contents())
        assert contents(export.folder)["onnx/image_fp32.onnx"]
        assert export.run().code == 0
        check_all_as_ever(export.folder, export.cache, undisturbed.contents())


def test_killed_again_and_again_an_export_still_ends(undisturbed: Export, faults: Faults, tmp_path: Path) -> None:
    """One folder, killed without a whole run in between until it completes: every step that ended is kept."""
    drawn = random.Random(f"{SEED} chain")
    export, whole = empty(tmp_path, undisturbed.seconds), undisturbed.contents()
    moment, finished, kept = undisturbed.seconds / 3, False, 0

    for _round in range(40):
        with faults.inject(f"SIGKILL after {moment:.2f} s, nothing mended in between"):
            finished = not killed_at(export, moment)
            wait_until(lambda: not workers(export.cache), 10)
            check_nothing_half(export.folder, export.cache, whole)
            now = len(list((export.cache / "steps").glob("*")))
            assert now >= kept
        if finished:
            break
        moment = moment * 1.3 + drawn.random() if now == kept else undisturbed.seconds / 3
        kept = now

    assert finished
    check_all_as_ever(export.folder, export.cache, whole)
