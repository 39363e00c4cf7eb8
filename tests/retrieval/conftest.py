"""A folder as an export leaves it with the four formats of the demo, photographs to search, and the page over them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from converter.models.drawing import draw
from converter.models.scenes import held_out_scenes
from converter.records import TOWERS, Artifact, Tower
from converter.stages import to_torchscript_lite
from tests.converted import onnx_of, tflite_of
from tests.inference.conftest import Used, listed, use, write_toy

COUNT = 24
ROWS = ("torchscript/fp32_lite", "onnx/fp32", "tflite/fp32", "coreml/fp32")


@dataclass(frozen=True, kw_only=True)
class Demo:
    """A page that is served by a process of its own."""

    port: int
    folder: Path

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/"


@pytest.fixture(scope="session")
def four(
    tiny_parents: dict[Tower, Artifact],
    tiny_coreml: dict[tuple[Tower, str], Artifact],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Both towers as a lite TorchScript file, ONNX, TFLite and Core ML, with their manifest."""
    folder, made = tmp_path_factory.mktemp("four"), tmp_path_factory.mktemp("made-four")
    entries = []
    for tower in TOWERS:
        parent = tiny_parents[tower]
        lite = made / tower
        lite.mkdir()
        entries += [
            listed(folder, ROWS[0], to_torchscript_lite.convert(parent, to_torchscript_lite.Options(), None, lite)),
            listed(folder, ROWS[1], onnx_of(parent, made / f"{tower}-onnx")),
            listed(folder, ROWS[2], tflite_of(parent, made / f"{tower}-tflite")),
            listed(folder, ROWS[3], tiny_coreml[tower, "fp32"]),
        ]
    write_toy(folder, entries)
    return folder


@pytest.fixture(scope="session")
def onnx_only(tiny_parents: dict[Tower, Artifact], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both towers as ONNX alone, for what has nothing to do with formats; made in seconds."""
    folder, made = tmp_path_factory.mktemp("onnx-only"), tmp_path_factory.mktemp("made-onnx")
    write_toy(folder, [listed(folder, ROWS[1], onnx_of(tiny_parents[tower], made / tower)) for tower in TOWERS])
    return folder


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn pictures, one in a folder below."""
    folder = tmp_path_factory.mktemp("scenes")
    (folder / "below").mkdir()
    for number, scene in enumerate(islice(held_out_scenes(), COUNT)):
        draw(scene).save(folder / ("below" if number == 0 else "") / f"{number:02d}.png")
    return folder


@pytest.fixture(scope="session")
def demo(four: Path, scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The page with all four formats."""
    files = [argument for row in ROWS for argument in ("--with", f"{four}:{row}")]
    command = ["demo", "--no-open", "--port", "0", "--index", str(scenes), *files]
    process = begin(*command, "--index-cache", str(tmp_path_factory.mktemp("demo")))
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    assert address.startswith("http://127.0.0.1:"), address
    yield Demo(port=int(address.rstrip("/").rpartition(":")[2]), folder=scenes)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0


def begin(*arguments: str, **more: Any) -> subprocess.Popen[str]:
    """The command in a process of its own, which is the one that works."""
    return subprocess.Popen(
        [sys.executable, "-m", "converter.cli", *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True, env=os.environ | {"MCCONVERT_WATCHED": "1"}, **more,
    )  # fmt: skip


def search(*arguments: str | Path) -> tuple[Used, dict[str, Any]]:
    """`mcconvert search ... --json`, and what it printed; an empty mapping where it printed nothing."""
    done = use("search", *arguments, "--threads", "1", "--json")
    return done, json.loads(done.out) if done.out else {}
