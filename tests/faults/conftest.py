"""What the fault tests share: an undisturbed export to compare with, and the count of what was injected and survived.

Every fault is registered by `faults.inject(...)` before it strikes, and counts as survived only when all that was
checked of it held. `make faults` ends in one line of these counts.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.command import Ran, mcconvert, package_site
from tests.faults.wholeness import contents

SEED = int(os.environ.get("FAULTS_SEED") or 0)
ROWS = ("--target", "onnx", "--target", "tflite", "--quant", "fp32", "--tower", "image")
COUNTED = "faults"


@dataclass(frozen=True, kw_only=True)
class Export:
    """A finished export: its output folder, its cache, and how long it took."""

    out: Path
    cache: Path
    seconds: float

    @property
    def folder(self) -> Path:
        return self.out / "mobileclip_nano"

    def contents(self) -> dict[str, str]:
        """Hash of each file that a run leaves for its user."""
        return contents(self.folder)

    def copy(self, place: Path) -> Export:
        """The same export elsewhere, its files linked with its cache's as a run leaves them."""
        cache = Path(shutil.copytree(self.cache, place / "cache"))
        copied = Export(out=place / "out", cache=cache, seconds=self.seconds)
        assert copied.run().code == 0
        return copied

    def run(self, *arguments: str, **options: object) -> Ran:
        """The same rows again, into the same folder."""
        return mcconvert(*ROWS, *arguments, "--out", self.out, cache=self.cache, **options)  # type: ignore[arg-type]


class Faults:
    """Counts what one test injects."""

    def __init__(self) -> None:
        self.injected = self.survived = 0

    @contextlib.contextmanager
    def inject(self, what: str) -> Iterator[None]:
        """One fault, named: survived when the block ends without an error."""
        self.injected += 1
        try:
            yield
        except BaseException as error:
            error.add_note(f"the fault: {what}")
            raise
        self.survived += 1


@pytest.fixture
def faults(record_property: object) -> Iterator[Faults]:
    """The test's counter; its counts travel with the test's report."""
    found = Faults()
    yield found
    record_property(COUNTED, (found.injected, found.survived))  # type: ignore[operator]


def pytest_report_header() -> str:
    """The seed that moments and bytes are drawn by."""
    return f"faults: seed {SEED} (FAULTS_SEED draws others)"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The one line."""
    injected = survived = 0
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") == "teardown":
                for name, (one, other) in (pair for pair in report.user_properties if pair[0] == COUNTED):
                    assert name == COUNTED
                    injected, survived = injected + one, survived + other
    if injected:
        terminalreporter.ensure_newline()
        lost = injected - survived
        terminalreporter.write_line(f"faults injected: {injected}, survived: {survived}, lost: {lost}")


@pytest.fixture(scope="session")
def undisturbed(shared_base: Path) -> Export:
    """The export that nothing disturbed, made once. Tests take copies and change nothing in it."""
    folder = shared_base / "undisturbed"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        note = folder / "seconds.json"
        if not note.exists():
            ran = mcconvert(*ROWS, "--out", folder / "out", cache=folder / "cache")
            assert ran.code == 0, ran.text
            note.write_text(json.dumps(ran.seconds))
        return Export(out=folder / "out", cache=folder / "cache", seconds=json.loads(note.read_text()))


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package whose converter misbehaves, installed by pip into a folder of its own."""
    return package_site(tmp_path_factory.mktemp("plugin"))
