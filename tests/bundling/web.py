"""What running the web sample takes: onnxruntime-web, installed once by npm, and a server of the bundle."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from converter.bundling.writing import SAMPLES

TOOLS = Path(__file__).parents[2] / ".tools" / "npm"
"""Ignored by git; what npm brought in stays for the next run."""


def installed(name: str, dependencies: Mapping[str, str]) -> Path:
    """The `node_modules` of a folder of that name, with these packages at these exact versions.

    Skips where there is no npm, or where it can bring in nothing.
    """
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("there is no node here: 'make test-browser' installs it")
    folder = TOOLS / name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = [f"{package}@{version}" for package, version in dependencies.items()]
        if not (folder / ".installed").exists() or (folder / ".installed").read_text() != " ".join(wanted):
            _install(folder, wanted)
            (folder / ".installed").write_text(" ".join(wanted))
    return folder / "node_modules"


def _install(folder: Path, wanted: list[str]) -> None:
    (folder / "package.json").write_text('{"private": true}\n')
    command = ["npm", "install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund", *wanted]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        pytest.skip(f"npm could not install {' '.join(wanted)}: {done.stderr.strip()[-300:]}")


def with_onnxruntime_web(bundle: Path) -> None:
    """Put what `npm install --prefix sample` would bring in beside the sample, by a link."""
    text = (SAMPLES / "web/package.json").read_text()
    version = re.search(r'"onnxruntime-web": "(\d+\.\d+\.\d+)"', text)
    assert version is not None
    modules = installed("web", {"onnxruntime-web": version[1]})
    shutil.copytree(modules, bundle / "sample/node_modules", copy_function=os.link)


@contextmanager
def served(bundle: Path) -> Iterator[str]:
    """The address of the sample's page, served by the sample's own server."""
    command = ["node", "sample/serve.mjs", "0"]
    with subprocess.Popen(command, cwd=bundle, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().strip()
        finally:
            server.terminate()
