"""Hand a job to a process of its own and bring back what it has to say."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import msgspec

from converter.errors import ConversionError, McconvertError
from converter.files import write_atomically
from converter.pipeline.job import JOB, OUTCOME, Job, Outcome
from converter.pipeline.process import Ended, MemoryMeter, describe, run_worker
from converter.records import from_json, to_json

FULL_DISK_BYTES = 64 * 2**20


def dispatch(job: Job, log: Path, stop: threading.Event, meter: MemoryMeter) -> tuple[Outcome, Ended]:
    """Run `job` in its folder, within its step's limits, and read the outcome.

    Raises:
        McconvertError: the step refused or failed, in its own words and with its exit code; or its process died.
        KeyboardInterrupt: `stop` was set.
    """
    folder = Path(job.folder)
    write_atomically(folder / JOB, to_json(job))
    ended = run_worker(folder, log, job.step.limits, job.threads, stop, meter)
    if ended.stopped == "interrupted":
        raise KeyboardInterrupt
    try:
        outcome = read_outcome(folder / OUTCOME)
    except ConversionError as error:
        raise ConversionError(describe(ended, job.step.limits) + _full_disk(folder)) from error
    if outcome.error:
        raise _error_of(outcome, _full_disk(folder))
    return outcome, ended


def read_outcome(path: Path) -> Outcome:
    """What a step's process wrote.

    Raises:
        ConversionError: it wrote none, or no whole one.
    """
    try:
        return from_json(path.read_bytes(), Outcome)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        message = f"{path}: no whole outcome of a step: {error}"
        raise ConversionError(message) from error


def _error_of(outcome: Outcome, hint: str) -> McconvertError:
    error = ConversionError(outcome.error + hint)
    error.exit_code = outcome.exit_code
    return error


def _full_disk(folder: Path) -> str:
    """Native writers abort or speak of streams when the disk is full: say it for them, while their half is there."""
    free = shutil.disk_usage(folder).free
    if free >= FULL_DISK_BYTES:
        return ""
    return f"; the disk below {folder.parent.parent.parent} is full ({free / 1e6:.0f} MB left): free some, run again"
