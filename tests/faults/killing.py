"""Runs that die: after some seconds, or at a named instant (`instants/sitecustomize.py`), and what must hold after."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.faults.command import INSTANTS, begin, wait_until, workers
from tests.faults.conftest import ROWS, Export
from tests.faults.wholeness import check_all_as_ever, check_nothing_half


def empty(place: Path, seconds: float) -> Export:
    """Nothing made yet."""
    return Export(out=place / "out", cache=place / "cache", seconds=seconds)


def without_tflite(undisturbed: Export, place: Path) -> Export:
    """All but one conversion done, nothing placed: what is left to do takes seconds."""
    shutil.copytree(undisturbed.cache, place / "cache")
    (entry,) = (place / "cache" / "steps").glob("*/image_fp32.tflite")
    shutil.rmtree(entry.parent)
    return empty(place, undisturbed.seconds)


def killed_at(export: Export, moment: float) -> bool:
    """Begin a run and kill it after so many seconds. False when it ended before."""
    process = begin(*ROWS, "--out", export.out, cache=export.cache)
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True
    return False


def check_after(export: Export, whole: dict[str, str]) -> None:
    """No step outlives its run; nothing half; the next run completes and all is as ever."""
    wait_until(lambda: not workers(export.cache), 10)
    check_nothing_half(export.folder, export.cache, whole)
    ran = export.run()
    assert ran.code == 0, ran.text
    check_all_as_ever(export.folder, export.cache, whole)


def at_instant(export: Export, role: str, number: int) -> int:
    """Exit code of a run that dies just before its change of that number."""
    instant = {"PYTHONPATH": str(INSTANTS), "FAULTS_KILL": f"{role}:{number}"}
    return export.run(extra=instant).code


def changes_of(export: Export, record: Path, role: str) -> list[str]:
    """Each change that a run, or the first step's process in it, makes to files, in their order."""
    extra = {"PYTHONPATH": str(INSTANTS), "FAULTS_RECORD": f"{role}:{record}"}
    assert export.run(extra=extra).code == 0
    return record.read_text().splitlines()
