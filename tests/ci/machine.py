"""A fresh machine for a CI job: an empty folder, a checkout, a shell, and the places where jobs leave files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
VENV = Path(sys.executable).parents[1]


@dataclass(frozen=True, kw_only=True)
class Ran:
    """A finished script: its exit code, and standard output and error as they came."""

    code: int
    log: str


def checkout(folder: Path) -> None:
    """What git tracks or would, with fresh times; the present environment is its own, ready."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True,
        text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    for name in filter(None, listed):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
            shutil.copymode(ROOT / name, folder / name)
    (folder / ".venv").mkdir()
    for path in VENV.iterdir():
        if path.name != ".ready":
            (folder / ".venv" / path.name).symlink_to(path)
    (folder / ".venv" / ".ready").touch()


def environment(folder: Path) -> dict[str, str]:
    """What a job's shell begins with: no environment of Python's, no cache of ours, no network for weights."""
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR", "OMP_NUM_THREADS") if name in os.environ}
    outside = [part for part in os.environ["PATH"].split(":") if Path(part).resolve() != VENV / "bin"]
    return {**kept, "PATH": ":".join(outside), "HF_HUB_OFFLINE": "1", "RUNNER_TEMP": str(folder)}


def bash(script: str, options: list[str], *, folder: Path, env: Mapping[str, str], seconds: float = 1200) -> Ran:
    """Run a script as a CI service does: from a file, in the job's folder."""
    file = Path(env["RUNNER_TEMP"]) / "script.sh"
    file.write_text(script, encoding="utf-8")
    done = subprocess.run(
        ["bash", *options, str(file)], cwd=folder, env=dict(env), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL, text=True, timeout=seconds, check=False,
    )  # fmt: skip
    return Ran(code=done.returncode, log=done.stdout)


def upload(source: Path, place: Path) -> None:
    """Bytes and names arrive, as in a zip archive made by CI services: no times, no hidden files, no empty folders."""
    for path in source.rglob("*"):
        inner = path.relative_to(source)
        if path.is_file() and not any(part.startswith(".") for part in inner.parts):
            (place / inner).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place / inner)
