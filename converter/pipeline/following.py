"""Lines of progress that a process writes into its log, handed on while it runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

POLL_SECONDS = 0.2


@contextmanager
def followed(log: Path, prefix: str, said: Callable[[str], None]) -> Iterator[None]:
    """Hand on the lines of `log` that begin with `prefix`, without it, each once."""
    ended = threading.Event()

    def follow() -> None:
        told, last = 0, False
        while not last:
            last = ended.wait(POLL_SECONDS)
            text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
            lines = [line for line in text.splitlines(keepends=True) if line.startswith(prefix)]
            whole = [line for line in lines if line.endswith("\n")]
            for line in whole[told:]:
                said(line.removeprefix(prefix).rstrip("\n"))
            told = len(whole)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
