"""Run a publish in a process of its own, to be killed or to end."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

CHILD = Path(__file__).with_name("child.py")


def run_child(
    address: str, folder: Path, version: str = "v1", event: int = 0, begun: Callable[[int], None] = lambda _pid: None
) -> tuple[int, list[str], str]:
    """(exit code, files that were carried, standard error); `begun` is told the process before it carries any."""
    command = [sys.executable, str(CHILD), address, str(folder), version, str(event)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        if first := process.stdout.readline():
            begun(int(first))
        out, err = process.communicate("\n", timeout=120)
    lines = out.splitlines()
    return process.returncode, lines[1:] if lines[:1] == ["carried"] else [], err
