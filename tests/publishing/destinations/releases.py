"""Small releases for the tests of destinations, and the order in which publishing asks a destination."""

from __future__ import annotations

import hashlib
import importlib
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path

from converter.publishing.destinations import Destination, DestinationModule
from converter.release import Published, Release, ReleaseFile

WEIGHT = "coreml/image.mlpackage/Data/com.apple.CoreML/weights/weight.bin"
ONNX = "onnx/image.onnx"
SECRET = "sesame-0f3b9d2c71"


def contents(seed: int = 1, size_bytes: int = 300_000) -> dict[str, bytes]:
    """Files as a release has them: large and empty ones, folders within folders, a space in a name."""
    draw = random.Random(seed)
    return {
        "README.md": f"# A model, {seed}\n".encode(),
        "SHA256SUMS": f"{seed}\n".encode(),
        WEIGHT: draw.randbytes(size_bytes),
        "coreml/image.mlpackage/Manifest.json": b"{}\n",
        "manifest.json": f'{{"seed": {seed}}}\n'.encode(),
        ONNX: draw.randbytes(size_bytes),
        "samples/empty file.txt": b"",
        "tokenizer.json": b'{"version": "1.0"}\n' * 100,
    }


def make_release(folder: Path, files: Mapping[str, bytes] | None = None, model: str = "mobileclip_nano") -> Release:
    """A release of files that lie in `folder`."""
    found = []
    for path, data in sorted((files or contents()).items()):
        source = folder / path
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_bytes(data)
        sha256 = hashlib.sha256(data).hexdigest()
        found.append(ReleaseFile(path=path, source=source, sha256=sha256, size_bytes=len(data)))
    manifest = next(file for file in found if file.path == "manifest.json")
    return Release(model=model, manifest_sha256=manifest.sha256, files=tuple(found))


def described(version: str, release: Release) -> Published:
    """What is said of `release` as that version."""
    return Published(
        version=version, manifest_sha256=release.manifest_sha256, published="2026-01-31T12:00:00Z",
        files=len(release.files), size_bytes=sum(file.size_bytes for file in release.files),
    )  # fmt: skip


def publish(destination: Destination, version: str, release: Release) -> list[str]:
    """Publish, and say which files had to be carried."""
    carried = [one.file for one in destination.transfers(version, release) if one.action == "upload"]
    for file in carried:
        destination.upload(version, file)
    destination.finish(version, release, described(version, release))
    return [file.path for file in carried]


def publishing(module: str, address: str, folder: Path) -> BaseProcess:
    """Publish v1 in a process of its own, unless it is there."""
    process = multiprocessing.get_context("fork").Process(target=_publish_alone, args=(module, address, folder))
    process.start()
    return process


def kill_after(seconds: float, process: BaseProcess) -> None:
    """SIGKILL to the process and all that it started."""
    time.sleep(seconds)
    try:
        os.killpg(process.pid or 0, signal.SIGKILL)
    except ProcessLookupError:  # it is done, or has not come as far as a group of its own
        process.kill()
    process.join()


def _publish_alone(module: str, address: str, folder: Path) -> None:
    os.setsid()
    destination: DestinationModule = importlib.import_module(f"converter.publishing.destinations.{module}")
    with destination.open_destination(address, "mobileclip_nano") as opened:
        if not opened.published():
            publish(opened, "v1", make_release(folder))
