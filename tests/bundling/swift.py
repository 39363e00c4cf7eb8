"""Swift's compiler, as `make test-swift` brings it in, and the sample built with it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from converter.bundling.writing import SAMPLES

VERSION = "6.0.3"
"""What `checked.json` speaks of."""
SAMPLE = SAMPLES / "ios"
APPLE = Path(__file__).with_name("apple")
OVERLAY = Path(__file__).parents[2] / ".tools" / "swift"
"""The /usr of a Debian that has Swift; ignored by git."""
PLAIN = (
    "MobileCLIP/ClipTokenizer.swift", "MobileCLIP/Preprocessing.swift", "MobileCLIP/Resample.swift",
    "check/Expected.swift",
)  # fmt: skip
"""Sources of the sample that need nothing of Apple's."""


def with_swift(*command: str) -> list[str]:
    """The command with Swift's compiler and libraries in reach, as an own mount where they are another Debian's.

    Skips where there is no compiler, and on a Mac, which builds the sample against the frameworks themselves.
    """
    if sys.platform != "linux":
        pytest.skip("on a Mac 'swift build' builds the sample against Apple's frameworks themselves")
    if shutil.which("swiftc") is not None:
        return list(command)
    if not (OVERLAY / "bin/swiftc").exists():
        pytest.skip("there is no Swift compiler: 'make test-swift' installs it")
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", "--mount", *user, "sh", "-c", 'mount --bind "$0" /usr && exec "$@"', str(OVERLAY), *command]


def swift(scratch: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command of Swift's; what it keeps goes into the scratch folder."""
    return subprocess.run(
        with_swift(*command), capture_output=True, text=True, check=False, timeout=900,
        env={**os.environ, "HOME": str(scratch)},
    )  # fmt: skip


def declared(scratch: Path) -> Path:
    """Where modules and library of the declared frameworks are."""
    done = _build(APPLE / "declared", scratch)
    assert done.returncode == 0, done.stdout
    return scratch / "debug"


def built(sample: Path, frameworks: Path, scratch: Path) -> subprocess.CompletedProcess[str]:
    """`swift build` of the sample as its Package.swift says, against declared frameworks; every warning is an error."""
    return _build(
        sample, scratch, "-Xswiftc", "-warnings-as-errors", "-Xswiftc", f"-I{frameworks / 'Modules'}",
        "-Xlinker", f"-L{frameworks}", "-Xlinker", "-lDeclared",
    )  # fmt: skip


def compare_program(sample: Path, scratch: Path) -> list[str]:
    """The command that runs `Compare.swift` with the sample's plain sources, optimised as an app is."""
    program = scratch / "compare"
    sources = [str(sample / "Sources" / name) for name in PLAIN]
    done = swift(
        scratch, "swiftc", "-O", "-swift-version", "5", "-warnings-as-errors", "-parse-as-library", "-o", str(program),
        *sources, str(APPLE / "Compare.swift"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return with_swift(str(program))


def _build(package: Path, scratch: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return swift(scratch, "swift", "build", "--package-path", str(package), "--scratch-path", str(scratch), *more)
