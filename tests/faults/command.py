"""The real command, as a user starts it: to its end, or only begun."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

PACKAGE = Path(__file__).parents[1] / "packages" / "gzipped_onnx"
INSTANTS = Path(__file__).parent / "instants"
LONGEST_SECONDS = 400


@dataclass(frozen=True, kw_only=True)
class Ran:
    """A finished command."""

    code: int
    out: str
    err: str
    seconds: float = 0.0

    @property
    def text(self) -> str:
        return self.out + self.err


def environment(cache: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The user's own, with a cache of ours and no network."""
    return os.environ | {"MCCONVERT_CACHE": str(cache), "HF_HUB_OFFLINE": "1", "COLUMNS": "200"} | dict(extra or {})


def command(*arguments: str | Path) -> list[str]:
    """The installed command on the small trained model."""
    return [str(Path(sys.executable).with_name("mcconvert")), "--model", "mobileclip_nano", *map(str, arguments)]


def mcconvert(
    *arguments: str | Path, cache: Path, extra: Mapping[str, str] | None = None,
    before: Callable[[], None] | None = None, cwd: Path | None = None,
) -> Ran:  # fmt: skip
    """Export to the end. A traceback is never an answer to a fault, whatever else a test asks for."""
    return any_command(command(*arguments), cache=cache, extra=extra, before=before, cwd=cwd)


def any_command(
    line: list[str], *, cache: Path, extra: Mapping[str, str] | None = None,
    before: Callable[[], None] | None = None, cwd: Path | None = None,
) -> Ran:  # fmt: skip
    """Run a command line to its end."""
    begun = time.monotonic()
    done = subprocess.run(
        line, env=environment(cache, extra), capture_output=True, text=True, timeout=LONGEST_SECONDS, check=False,
        preexec_fn=before, cwd=cwd,
    )  # fmt: skip
    ran = Ran(code=done.returncode, out=done.stdout, err=done.stderr, seconds=time.monotonic() - begun)
    assert "Traceback" not in ran.text, ran.text
    return ran


def use(*arguments: str | Path) -> list[str]:
    """Another of its commands."""
    return [str(Path(sys.executable).with_name("mcconvert")), *map(str, arguments)]


def begin(*arguments: str | Path, cache: Path, extra: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Export without waiting for it."""
    return subprocess.Popen(
        command(*arguments), env=environment(cache, extra), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def workers(cache: Path) -> list[psutil.Process]:
    """Processes of steps that write below that cache."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = " ".join(process.info["cmdline"] or [])
        if "converter.pipeline.worker" in line and str(cache) in line and process.info["status"] != "zombie":
            found.append(process)
    return found


def wait_until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for what must come true.

    Raises:
        AssertionError: it did not.
    """
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def package_site(folder: Path) -> Path:
    """Install the tests' own package into `folder`."""
    source = shutil.copytree(PACKAGE, folder / "source")
    line = [
        sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation",
        "--target", str(folder / "site"), str(source),
    ]  # fmt: skip
    subprocess.run(line, check=True, capture_output=True, text=True)
    return folder / "site"
