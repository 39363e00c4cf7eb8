"""The action's inputs as arguments: all of them, split as a shell would, and none of them run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "ci_arguments.py"


def arguments(**inputs: str) -> subprocess.CompletedProcess[str]:
    """The script's run."""
    env = os.environ | {f"MCCONVERT_{name}": value for name, value in inputs.items()}
    return subprocess.run([sys.executable, str(SCRIPT)], env=env, capture_output=True, text=True, check=False)


def test_inputs_become_arguments() -> None:
    """Empty ones nothing; lists with commas or spaces an option each; quotes hold together what they enclose."""
    done = arguments(MODEL="m", WEIGHTS="", TARGETS="onnx, tflite", ALLOW="untrained", ARGS="--set 'a=b c' -c x.yaml")

    assert done.stdout.split("\0")[:-1] == [
        "--model=m", "--target=onnx", "--target=tflite", "--allow=untrained", "--set", "a=b c", "-c", "x.yaml",
    ]  # fmt: skip


def test_no_input_means_no_argument() -> None:
    """Not one empty argument either."""
    assert arguments().stdout == ""


def test_shell_signs_stay_signs() -> None:
    """What would run in a shell is text here, in an option's value too."""
    done = arguments(MODEL="$(id)`id`; id", ARGS="'$(id)' a;b")

    assert done.stdout.split("\0")[:-1] == ["--model=$(id)`id`; id", "$(id)", "a;b"]


def test_an_open_quote_is_refused() -> None:
    """Rather than exporting something else than was asked for."""
    done = arguments(ARGS="--set 'a=b")

    assert (done.returncode, done.stdout) == (1, "")
    assert "No closing quotation" in done.stderr
