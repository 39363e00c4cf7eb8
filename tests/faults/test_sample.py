"""What `make faults` does at length, at the three instants that matter most."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.faults.conftest import Export, Faults
from tests.faults.killing import at_instant, changes_of, check_after, without_tflite

INSTANTS = ("/steps/", "/tflite/image_fp32.tflite", "/manifest.json")
"""Where a rename ends: an entry is committed, an artifact placed, the manifest written."""


def test_killed_before_a_rename_that_makes_something_whole(undisturbed: Export, faults: Faults, tmp_path: Path) -> None:
    """SIGKILL just before: nothing half looks whole, and the next run ends with the undisturbed run's bytes."""
    recorded = without_tflite(undisturbed, tmp_path / "recorded")
    changes = changes_of(recorded, tmp_path / "record", "run")
    for number, place in enumerate(INSTANTS):
        ends = [at for at, one in enumerate(changes, 1) if " os.rename " in one and place in one.rpartition(" ")[2]]
        export = without_tflite(undisturbed, tmp_path / str(number))

        with faults.inject(f"SIGKILL just before: {changes[ends[-1] - 1]}"):
            assert at_instant(export, "run", ends[-1]) == -9
            check_after(export, undisturbed.contents())
        shutil.rmtree(tmp_path / str(number))
