"""Kotlin's compiler, installed once by npm, and the sample compiled with it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from converter.bundling.writing import SAMPLES
from tests.bundling.comparing import answers
from tests.bundling.web import installed

VERSION = "2.4.20"
JSON = Path("/usr/share/java/json-android.jar")
"""Android's own org.json, as Debian packages it."""
HERE = Path(__file__).with_name("android")
SOURCES = SAMPLES / "android/src/main/kotlin"


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """What the compiler said, and where it put classes."""

    code: int
    said: str
    classes: Path
    stdlib: Path

    def run(self, cases: Sequence[dict[str, Any]], tokenizer: Path, scratch: Path) -> list[Any]:
        """What `Compare.kt` gives for each case."""
        path = f"{self.classes}:{self.stdlib}:{JSON}"
        return answers(["java", "-Dstdout.encoding=UTF-8", "-cp", path, "CompareKt"], tokenizer, cases, scratch)


def compiled(sources: Path, classes: Path) -> Compiled:
    """The sample in `sources` with declarations of what it uses of Android and LiteRT; every warning is an error."""
    if shutil.which("java") is None or not JSON.exists():
        pytest.skip("there is no JVM, or no org.json of Android's: 'make test-browser' installs them")
    home = installed("kotlin", {"kotlin-compiler": VERSION}) / "kotlin-compiler"
    command = [
        "java", "-XX:TieredStopAtLevel=1", "-cp", str(home / "lib/kotlin-compiler.jar"),
        "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler", "-kotlin-home", str(home), "-no-reflect", "-Werror", "-cp",
        str(JSON), "-d", str(classes), *map(str, sorted(sources.rglob("*.kt"))), str(HERE),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    return Compiled(
        code=done.returncode, said=done.stdout + done.stderr, classes=classes, stdlib=home / "lib/kotlin-stdlib.jar"
    )
