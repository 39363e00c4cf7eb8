"""Processes that a step left behind: found by the scratch folder that every step's process is given.

A converter may start a process of its own that outlives it, in a session that no signal to the step reaches. Whatever
it is, it inherits the step's environment, whose TMPDIR lies in the step's folder and nowhere else.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

SCRATCH = "TMPDIR"
"""The variable that names a step's scratch folder."""


def end_leftovers(folder: Path) -> int:
    """Kill what still runs on behalf of a step in `folder`, or in a folder in it. Returns how many there were."""
    import psutil

    ended = 0
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError, ValueError):
            if process.pid != os.getpid() and _within(process.environ().get(SCRATCH), folder):
                process.kill()
                ended += 1
    return ended


def _within(scratch: str | None, folder: Path) -> bool:
    return bool(scratch) and Path(str(scratch)).is_relative_to(folder.absolute())
