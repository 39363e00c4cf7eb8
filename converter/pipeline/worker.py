"""A step's own process: `python -m converter.pipeline.worker FOLDER`.

Reads `job.json`, does one step, writes `outcome.json` last. A process for each step is what keeps one converter's
native libraries, memory and crashes away from another's. Whatever third parties print is in the step's log.
"""

from __future__ import annotations

import ctypes
import dataclasses
import errno
import os
import signal
import sys
import traceback
from pathlib import Path

from converter.errors import ConversionError, McconvertError, system_words
from converter.files import hash_path, write_atomically
from converter.parsing import parse
from converter.pipeline.job import JOB, OUTCOME, Job, Outcome
from converter.pipeline.plugins import load_stage
from converter.quantization.range_store import RANGES_VARIABLE
from converter.records import Artifact, from_json, to_json


def main(folder: Path) -> int:
    """Do the job in `folder`; the exit code is 0 whenever an outcome was written."""
    _die_with_parent()
    job = from_json((folder / JOB).read_bytes(), Job)
    if job.ranges:
        os.environ[RANGES_VARIABLE] = job.ranges
    try:
        outcome = _work(job)
    except McconvertError as error:
        traceback.print_exc()
        outcome = Outcome(error=_printable(str(error)), exit_code=error.exit_code)
    except Exception as error:  # a converter may raise anything: wrapped once, here, the step's name is added outside
        traceback.print_exc()
        outcome = Outcome(error=_printable(_in_words(error)), exit_code=ConversionError.exit_code)
    write_atomically(folder / OUTCOME, to_json(outcome))
    sys.stdout.flush()
    return 0


def _work(job: Job) -> Outcome:
    if job.kind == "explain":
        from converter.pipeline import explain

        return explain.work(job)
    if job.kind == "task":
        from converter.pipeline import task

        return task.work(job)
    if job.kind == "search":
        from converter.pipeline import quantize

        return quantize.work(job)
    from converter.pipeline import prove, reference

    if job.step.parent is None:
        return reference.make(job)
    artifact = job.artifact if job.kind == "prove" else convert(job)
    if artifact is None:
        message = "a job to prove an artifact came without one"
        raise McconvertError(message)
    return prove.prove(job, artifact)


def convert(job: Job) -> Artifact:
    """Run the stage and check what it promises: one file of the declared format inside the folder.

    Raises:
        ConversionError: the stage does not take the parent's format, or what it wrote is not what it says.
    """
    step, parent = job.step, job.parent
    stage = load_stage(step.stage)
    if parent is None or parent.format not in stage.ACCEPTS:
        seen = parent.format if parent else "nothing"
        message = f"stage {step.stage} takes {' or '.join(stage.ACCEPTS)}, its parent {step.parent} gave {seen}"
        raise ConversionError(message)
    if parent.tower != step.tower:
        message = f"{step.id} was given the {parent.tower} tower's {step.parent}"
        raise ConversionError(message)
    mistakes: list[str] = []
    options = parse(stage.Options, dict(step.options), "options", mistakes)
    made = stage.convert(parent, options, step.recipe, Path(job.folder))
    path = Path(made.path)
    if not path.exists() or not path.resolve().is_relative_to(Path(job.folder).resolve()):
        message = f"stage {step.stage} names {path}, but wrote no such file into its folder"
        raise ConversionError(message)
    final = Path(job.folder) / step.file_name
    path.rename(final)
    sha256, size_bytes = hash_path(final)
    if size_bytes == 0:
        message = f"stage {step.stage} wrote an empty file"
        raise ConversionError(message)
    return dataclasses.replace(
        made, path=str(final), sha256=sha256, size_bytes=size_bytes, parent_sha256=parent.sha256, target=step.target,
        tower=step.tower, precision=step.precision,
    )  # fmt: skip


def _in_words(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
        return system_words(error)
    if isinstance(error, MemoryError):
        return "out of memory: close other programs, use --jobs 1, or take a smaller model"
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:400]}" if text else type(error).__name__


def _printable(text: str) -> str:
    """A converter's message may hold what no terminal and no JSON should see: escape codes, halves of characters."""
    return "".join(sign if sign.isprintable() or sign == "\n" else "\N{REPLACEMENT CHARACTER}" for sign in text)


def _die_with_parent() -> None:
    """Ask Linux to end this process when the run that started it dies, even by SIGKILL."""
    if sys.platform == "linux":
        set_parent_death_signal = 1  # PR_SET_PDEATHSIG, <sys/prctl.h>
        ctypes.CDLL(None, use_errno=True).prctl(set_parent_death_signal, signal.SIGKILL)
        if os.getppid() == 1:
            sys.exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
