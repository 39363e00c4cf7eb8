"""What the commands print with: a console wide enough for logs too, JSON, and the notice on untrained weights."""

from __future__ import annotations

import click
import msgspec
from rich.console import Console
from rich.panel import Panel

LOG_WIDTH = 160
"""Columns where nobody watches, as in a CI's log."""


def open_console(*, stderr: bool = False) -> Console:
    """A console on standard output, or on standard error."""
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=LOG_WIDTH, soft_wrap=False)


def print_json(facts: object) -> None:
    """Records or plain values on standard output, indented."""
    click.echo(msgspec.json.format(msgspec.json.encode(facts), indent=2).decode())


def warn_untrained(notice: str) -> None:
    """Say on standard error, in a frame that nobody overlooks, that weights are not trained."""
    panel = Panel(notice, title="NOT TRAINED", border_style="bold yellow")
    open_console(stderr=True).print(panel, markup=False)
