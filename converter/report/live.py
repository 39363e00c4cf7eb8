"""One line a step, on standard error: what runs now with its seconds, and what has ended with its verdict."""

from __future__ import annotations

import time
from types import TracebackType

from rich.columns import Columns
from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from converter.records import StageResult, Step
from converter.report.summary import STYLES

NAME_WIDTH = 31


class LiveLines:
    """Shows steps as they begin and end. On a terminal the running ones turn; elsewhere only ends are printed."""

    def __init__(self, console: Console, *, verbose: bool = False) -> None:
        self._console = console
        self._verbose = verbose
        self._running: dict[str, tuple[str, str, float]] = {}
        self._spinner = Spinner("dots")
        self._live = Live(console=console, refresh_per_second=8, transient=True, get_renderable=self._render)

    def __enter__(self) -> LiveLines:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def started(self, step: Step, action: str, reason: str) -> None:
        """A step began."""
        self._running[step.id] = (action, reason, time.monotonic())
        if self._verbose and not self._console.is_terminal:
            self._print(Text(f"{step.id:<{NAME_WIDTH}} {action:<7} {reason}", style="dim"))

    def finished(self, result: StageResult) -> None:
        """A step ended."""
        action, reason, _ = self._running.pop(result.step_id, (result.action, result.reason, 0.0))
        line = Text(f"{result.step_id:<{NAME_WIDTH}} {action:<7} {result.seconds:7.1f} s  ")
        line.append(f"{result.status:<7}", style=STYLES[result.status])
        line.append(f"  {reason if result.artifact else result.reason}", style="dim")
        self._print(line)
        if result.log and result.status == "ERROR":
            self._print(Text(f"{'':<{NAME_WIDTH}} log: {result.log}"))
        if self._verbose:
            for failure in result.failures:
                self._print(Text(f"{'':<{NAME_WIDTH}} {failure}", style="red"))

    def _print(self, line: Text) -> None:
        self._console.print(line, soft_wrap=True, highlight=False)

    def _render(self) -> Group:
        lines = []
        for name, (action, reason, begun) in list(self._running.items()):
            text = f"{name:<{NAME_WIDTH}} {action:<7} {time.monotonic() - begun:7.1f} s  {reason}"
            lines.append(Columns([self._spinner, Text(text)]))
        return Group(*lines)
