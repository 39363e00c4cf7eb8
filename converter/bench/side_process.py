"""A worker as the run sees it: started, asked, and given up in words when it dies or hangs."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress

import msgspec

from converter.bench.messages import Answer, Ask, Failed, Job, Lost, Opened, Peak, Took, Turn
from converter.pipeline.process import Ended, describe
from converter.records import Limits

OPEN_SECONDS = 600.0
"""How long opening may take: PyTorch with seeded weights of the largest model takes a minute."""
TURN_SECONDS = 300.0
LOG_TAIL = 300


class SideProcess:
    """One worker. Every method gives what it answers, or `Lost` from then on."""

    def __init__(self, job: Job, environment: Mapping[str, str]) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the worker
        self._begun = time.monotonic()
        self._left = b""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "converter.bench.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self._log, env=dict(environment), start_new_session=True,
        )  # fmt: skip
        self.lost: Lost | None = None
        self._send(job)

    def opened(self) -> Opened | Lost:
        """Wait until the file is open and warm."""
        return self._expect(Opened, OPEN_SECONDS)

    def take(self, turn: Turn) -> Took | Lost:
        """Give it its turn and wait for the end of it."""
        self._send(turn)
        return self._expect(Took, TURN_SECONDS)

    def peak(self) -> int | None:
        """Its peak of memory beyond what it held before opening."""
        self._send(Ask())
        answer = self._expect(Peak, TURN_SECONDS)
        return answer.rss_bytes if isinstance(answer, Peak) else None

    def close(self) -> None:
        """End it, whatever it does."""
        self._end()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            with suppress(OSError):
                if stream is not None:
                    stream.close()

    def _send(self, message: Job | Turn | Ask) -> None:
        stdin = self._process.stdin
        if self.lost is None and stdin is not None:
            with suppress(OSError):  # it has died: what is read next says so
                stdin.write(msgspec.json.encode(message) + b"\n")
                stdin.flush()

    def _expect[T](self, kind: type[T], seconds: float) -> T | Lost:
        if self.lost is not None:
            return self.lost
        line = self._line(seconds)
        if line is None:
            return self._lose(f"did not answer within {seconds:.0f} seconds and was stopped")
        if not line:
            return self._lose(self._how_it_died())
        answer: Answer = msgspec.json.decode(line, type=Opened | Failed | Took | Peak)
        if isinstance(answer, kind):
            return answer
        return self._lose(answer.why if isinstance(answer, Failed) else f"answered {type(answer).__name__}")

    def _line(self, seconds: float) -> bytes | None:
        """The next line; empty when there will be none, None when it does not come in time."""
        assert self._process.stdout is not None
        descriptor, until = self._process.stdout.fileno(), time.monotonic() + seconds
        while b"\n" not in self._left:
            ready, _, _ = select.select([descriptor], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                return None
            piece = os.read(descriptor, 65536)
            if not piece:
                return b""
            self._left += piece
        line, _, self._left = self._left.partition(b"\n")
        return line

    def _how_it_died(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        code = self._process.poll()
        ended = Ended(returncode=-9 if code is None else code, seconds=time.monotonic() - self._begun, peak_rss_bytes=0)
        return f"{describe(ended, Limits())}{self._last_words()}"

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = self._log.read()[-20 * LOG_TAIL :].decode("utf-8", "replace").split("\n")
        words = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f"; its last words: {words[:LOG_TAIL]}" if words else ""

    def _lose(self, why: str) -> Lost:
        self._end()
        self.lost = Lost(why=why)
        return self.lost

    def _end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
