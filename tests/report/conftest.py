"""A small export of the trained model with its reports, for tests of what is written about it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from converter.pipeline.reporting import ReportSettings
from converter.reported import Reported
from converter.session_report import gather

ROWS = ("--model", "mobileclip_nano", "--tower", "image", "--target", "onnx", "--quant", "fp32", "--quant", "int8")


@dataclass(frozen=True, kw_only=True)
class Made:
    """An export's folder with its cache, and what the command printed."""

    folder: Path
    cache: Path
    out: str
    err: str


def run(*arguments: str | Path, cache: Path) -> subprocess.CompletedProcess[str]:
    """The installed command."""
    command = [str(Path(sys.executable).with_name("mcconvert")), *map(str, arguments)]
    environment = os.environ | {"MCCONVERT_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Made:
    """The image tower as ONNX, float32 and INT8, exported once. Tests must not change it."""
    out = tmp_path_factory.mktemp("reported")
    done = run(*ROWS, "--out", out, cache=shared_cache)
    assert done.returncode == 0, done.stderr
    return Made(folder=out / "mobileclip_nano", cache=shared_cache, out=done.stdout, err=done.stderr)


@pytest.fixture(scope="session")
def gathered(made: Made) -> Reported:
    """The whole report, depth and all."""
    return gather(made.folder, ReportSettings(cache=made.cache, jobs=2, threads=1))


@pytest.fixture
def own(made: Made, tmp_path: Path) -> Path:
    """A copy of the folder that a test may spoil; the cache knows its files."""
    return Path(shutil.copytree(made.folder, tmp_path / made.folder.name))
