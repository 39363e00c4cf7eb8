"""How far it is: a bar on a terminal, elsewhere a line now and then, always on standard error."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_SECONDS = 15.0


class Counter:
    """Counts inputs that are done. Off a terminal a run of less than `LINE_SECONDS` prints nothing."""

    def __init__(self, console: Console, total: int, what: str) -> None:
        self._console = console
        self._total = total
        self._what = what
        self._done = 0
        self._begun = self._printed = time.monotonic()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task(what, total=total)

    def __enter__(self) -> Counter:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._bar.stop()

    def advanced(self, count: int) -> None:
        """So many more are done."""
        self._done += count
        self._bar.advance(self._task, count)
        now = time.monotonic()
        is_due = self._done < self._total and now - self._printed >= LINE_SECONDS
        if is_due and not self._console.is_terminal:
            self._printed = now
            speed = self._done / (now - self._begun)
            self._console.print(f"{self._done} of {self._total} {self._what}, {speed:.1f} a second", highlight=False)
