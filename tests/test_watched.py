"""Commands that open files in their own process: its death is told in our words."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from converter.errors import ConversionError
from converter.watched import INSIDE, is_to_be_watched, watch

DIES = "import ctypes, os\nif '{inside}' in os.environ: ctypes.string_at(0)\n"


def test_only_commands_that_open_files_are_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """And only once."""
    monkeypatch.delenv(INSIDE, raising=False)
    assert is_to_be_watched(["embed", "x"]) and not is_to_be_watched(["verify", "x"]) and not is_to_be_watched([])

    monkeypatch.setenv(INSIDE, "1")
    assert not is_to_be_watched(["embed", "x"])


def test_an_exit_code_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal stays that refusal."""
    monkeypatch.delenv(INSIDE, raising=False)

    assert watch(["embed", "--text", "x", "--with", "/nothing/there"]) == 2


def test_a_native_death_is_a_refusal(tmp_path: Path) -> None:
    """The command itself, in whose inner process a library dies: exit code 5, a message, no traceback."""
    (tmp_path / "sitecustomize.py").write_text(DIES.format(inside=INSIDE))
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    environment.pop(INSIDE, None)
    command = [str(Path(sys.executable).with_name("mcconvert")), "embed", "--text", "x"]

    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == ConversionError.exit_code
    assert "ended natively (SIGSEGV)" in done.stderr and "Traceback" not in done.stderr
