"""One export of the real MobileCLIP-S1, both towers, that all end-to-end tests share.

It runs the command as a user would, into a folder of its own; other tests start from its cache, so that only what
they change runs again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

EXPORT_SECONDS = 2600
"""A whole export overran 25 minutes on two slow cores that other work was using too."""
PACKAGE = Path(__file__).parents[1] / "packages" / "gzipped_onnx"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test to ask for the export waits for all of it."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(EXPORT_SECONDS + 100))


@dataclass(frozen=True, kw_only=True)
class Ran:
    """A finished command."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, kw_only=True)
class Exported:
    """The shared export: its folder, its cache, and what the command printed."""

    out: Path
    cache: Path
    ran: Ran

    @property
    def folder(self) -> Path:
        return self.out / "mobileclip_s1"


def mcconvert(*arguments: str | Path, cache: Path, path: Path | None = None, timeout: float = EXPORT_SECONDS) -> Ran:
    """Run the installed command."""
    environment = os.environ | {"MCCONVERT_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    command = [str(Path(sys.executable).with_name("mcconvert")), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, check=False)
    return Ran(code=done.returncode, out=done.stdout, err=done.stderr)


def linked(folder: Path, copy: Path) -> Path:
    """A copy that takes no room: its files are the folder's own. What a test changes, it takes by `own_bytes` first."""
    return Path(shutil.copytree(folder, copy, copy_function=os.link))


def own_bytes(file: Path) -> bytearray:
    """The bytes of a linked file, which is gone from the copy: whoever writes it anew leaves the original alone."""
    data = bytearray(file.read_bytes())
    file.unlink()
    return data


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """`mcconvert --weights seeded --jobs 2`, once."""
    base = tmp_path_factory.mktemp("export")
    ran = mcconvert("--weights", "seeded", "--out", base / "artifacts", "--jobs", "2", cache=base / "cache")
    return Exported(out=base / "artifacts", cache=base / "cache", ran=ran)


@pytest.fixture(scope="session")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A third-party package, built and installed by pip into a folder of its own."""
    folder = tmp_path_factory.mktemp("plugin")
    command = [
        sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation",
        "--target", str(folder / "site"), str(_copy(folder / "source")),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, text=True)
    return folder / "site"


def _copy(destination: Path) -> Path:
    """Pip leaves build files beside the source: not in ours."""
    return Path(shutil.copytree(PACKAGE, destination))
