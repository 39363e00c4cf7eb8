"""The script for a Mac, run here with a coremltools of ours that sleeps: its documents are taken in and advised by.

What Core ML itself does is not tested: that needs a Mac (`-m mac`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from converter.bench.history import read_history
from converter.manifest import ManifestEntry
from tests.advice.made_up import entry, write_folder
from tests.inference.conftest import use

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench_mac.py"
COREMLTOOLS = '''
"""Sleeps as long as the package's name says; one package does not load."""
import enum, pathlib, time

class ComputeUnit(enum.Enum):
    ALL, CPU_ONLY, CPU_AND_NE, CPU_AND_GPU = range(4)

class _MLModel:
    def __init__(self, path, compute_units):
        self.name, self.unit = pathlib.Path(path).stem, compute_units
        if "broken" in self.name:
            raise RuntimeError("Error compiling model: it is broken")
    def predict(self, given):
        (array,) = given.values()
        assert array.shape == (1, 3, 8, 8), array.shape
        seconds = {"image_fp32": 0.006, "image_fp16": 0.002}[self.name]
        time.sleep(seconds * (2 if self.unit is ComputeUnit.CPU_ONLY else 1))
        return {}

class models:
    MLModel = _MLModel
'''


@pytest.fixture
def files(tmp_path: Path) -> list[ManifestEntry]:
    """Three packages, and an ONNX file that the script leaves alone."""
    folder = tmp_path / "model"
    made = [
        entry(folder, "image/coreml/fp32", "mlpackage", 2000),
        entry(folder, "image/coreml/fp16", "mlpackage", 1000),
        entry(folder, "image/coreml/broken", "mlpackage", 500),
        entry(folder, "image/onnx/fp32", "onnx"),
    ]
    write_folder(folder, made)
    return made


def test_documents_of_each_unit_are_taken_in(files: list[ManifestEntry], tmp_path: Path) -> None:
    """A run for each compute unit, with a package that Core ML refused as its row's reason; iOS rests on it as near."""
    done = _script(tmp_path, "--units", "ALL,CPU_ONLY")
    assert done.returncode == 0, done.stderr
    documents = [tmp_path / f"toy-{unit}.json" for unit in ("ALL", "CPU_ONLY")]

    taken = use("bench", tmp_path / "model", "--import", documents[0], "--import", documents[1])

    assert taken.code == 0, taken.err
    runs = {run.benchmark.machine.name.partition(", ")[2]: run.benchmark for run in read_history(tmp_path / "model")[0]}
    rows = {unit: {row.step_id: row for row in run.rows} for unit, run in runs.items()}
    fast, slow = rows["ALL"]["image/coreml/fp16"].latency_ms, rows["CPU_ONLY"]["image/coreml/fp16"].latency_ms
    assert fast and slow and 2.0 <= fast.median < slow.median
    assert rows["ALL"]["image/coreml/fp16"].executed_by.endswith("compute units ALL")
    assert "it is broken" in rows["ALL"]["image/coreml/broken"].why_not
    assert len(rows["ALL"]) == 3
    advice = json.loads(use("advise", tmp_path / "model", "--for", "ios", "--json").out)
    assert advice["towers"][0]["winner"]["step_id"] == "image/coreml/fp16"
    assert advice["towers"][0]["basis"]["kind"] == "near"


def test_other_bytes_are_not_measured(files: list[ManifestEntry], tmp_path: Path) -> None:
    """A package that was damaged on its way to the Mac: nothing runs."""
    (tmp_path / "model" / files[0].path).write_bytes(b"damaged")

    done = _script(tmp_path)

    assert done.returncode == 2
    assert "not the file that was proven" in done.stderr
    assert not list(tmp_path.glob("*.json"))


def test_a_folder_is_hashed_as_the_manifest_does(files: list[ManifestEntry], tmp_path: Path) -> None:
    """A package is a folder: the script's hash of one is ours."""
    from converter.files import hash_path

    path = tmp_path / "model" / files[0].path
    path.unlink()
    (path / "Data").mkdir(parents=True)
    (path / "Data" / "weight.bin").write_bytes(b"1234")
    (path / "Manifest.json").write_bytes(b"{}")
    write_folder(tmp_path / "model", [replace(files[0], sha256=hash_path(path)[0])])

    assert _script(tmp_path, "--units", "ALL").returncode == 0


def _script(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    fake = tmp_path / "fake"
    fake.mkdir(exist_ok=True)
    (fake / "coremltools.py").write_text(COREMLTOOLS)
    command = [sys.executable, str(SCRIPT), str(tmp_path / "model"), "--rounds", "4", "--calls", "2", "--warmup", "1",
               "--out", str(tmp_path), *arguments]  # fmt: skip
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": str(fake)}
    )
