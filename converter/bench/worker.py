"""One side of a benchmark in a process of its own: `python -m converter.bench.worker`.

Reads its job and its turns from standard input and answers on what was its standard output; whatever libraries print
goes to standard error, which is a log. Between turns it waits for the next line, and takes no time from the others.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import BinaryIO

import msgspec

from converter.bench.messages import Answer, Ask, Failed, Job, Opened, Peak, Took, Turn
from converter.errors import McconvertError


def main() -> int:
    """Serve until the input ends."""
    answers = _take_over_stdout()
    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=Job)
    if job.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, job.cores)  # before any library counts the processors
    try:
        with ExitStack() as stack:
            _serve(job, answers, stack)
    except McconvertError as error:
        _say(answers, Failed(why=str(error)))
    except Exception as error:  # a runtime may raise anything; the run makes it a row's reason
        _say(answers, Failed(why=f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"))
    return 0


def _serve(job: Job, answers: BinaryIO, stack: ExitStack) -> None:
    from converter.bench.memory import forget_peak, held_bytes, peak_bytes
    from converter.bench.sides import import_libraries, open_side, read_samples

    import_libraries(job)
    inputs = read_samples(job)
    forget_peak()
    held, begun = held_bytes(), time.perf_counter()
    side = open_side(job, inputs, stack)
    load_ms = 1e3 * (time.perf_counter() - begun)
    first = side.prepare(1, 0)
    for _ in range(job.warmup):
        first()
    _say(answers, Opened(executed_by=side.executed_by, load_ms=load_ms))
    for line in sys.stdin.buffer:
        message = msgspec.json.decode(line, type=Turn | Ask)
        if isinstance(message, Ask):
            peak = peak_bytes()
            _say(answers, Peak(rss_bytes=None if peak is None else max(0, peak - held)))
            continue
        _say(answers, Took(milliseconds=_timed(side.prepare(message.batch, message.sample), message.calls)))


def _timed(call: Callable[[], object], calls: int) -> tuple[float, ...]:
    """Milliseconds of each call; one before them brings the file back into the processor's caches."""
    call()
    seconds = []
    for _ in range(calls):
        begun = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begun)
    return tuple(1e3 * one for one in seconds)


def _take_over_stdout() -> BinaryIO:
    """The pipe to the run, while everything that prints gets the log."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    return answers


def _say(answers: BinaryIO, answer: Answer) -> None:
    answers.write(msgspec.json.encode(answer) + b"\n")


if __name__ == "__main__":
    sys.exit(main())
