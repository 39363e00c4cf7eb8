"""The bundled model exported to ONNX, a bundle of it for each platform, and how samples are run."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.inference.conftest import Used, use

WITHOUT_US = """
import runpy, sys
for name in ("converter", "torch", "open_clip", "timm", "torchvision"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
sys.path.insert(0, "sample")
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="session")
def nano(shared_base: Path, shared_cache: Path) -> Path:
    """`mcconvert --model mobileclip_nano --target onnx --quant fp32`, once for all workers; no test changes it."""
    folder = shared_base / "nano" / "mobileclip_nano"
    with (shared_base / "nano.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "manifest.json").exists():
            _export(folder.parent, shared_cache)
    return folder


def _export(out: Path, cache: Path) -> None:
    command = [
        str(Path(sys.executable).with_name("mcconvert")), "--model", "mobileclip_nano", "--target", "onnx",
        "--quant", "fp32", "--jobs", "2", "--out", str(out),
    ]  # fmt: skip
    environment = os.environ | {"MCCONVERT_CACHE": str(cache)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def bundles(nano: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Bundles for python, server and web. Tests must not change them."""
    base, made = tmp_path_factory.mktemp("bundles"), {}
    for platform in ("python", "server", "web"):
        done = use("bundle", nano, "--for", platform, "--out", base / platform)
        assert done.code == 0, done.err
        made[platform] = base / platform
    return made


@pytest.fixture
def folder(nano: Path, tmp_path: Path) -> Path:
    """A copy of the export that a test may spoil."""
    return Path(shutil.copytree(nano, tmp_path / "mobileclip_nano", ignore=shutil.ignore_patterns("logs")))


def made(folder: Path, platform: str, out: Path, *more: str | Path) -> Used:
    """Run `mcconvert bundle`."""
    return use("bundle", folder, "--for", platform, "--out", out, *more)


def run_sample(bundle: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a Python sample as its receiver does, in a process that can import neither us nor torch."""
    command = [sys.executable, "-c", WITHOUT_US, *(str(one) for one in arguments)]
    return subprocess.run(command, cwd=bundle, capture_output=True, text=True, check=False, timeout=300)


def rewrite(file: Path, change: Any) -> None:
    """Change a JSON document in place: `change` gets what was read."""
    facts = json.loads(file.read_text(encoding="utf-8"))
    change(facts)
    file.write_text(json.dumps(facts), encoding="utf-8")


def cosine(one: Any, other: Any) -> float:
    """Of two vectors of any length."""
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
