"""Runs gzipped ONNX in ONNX Runtime."""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from converter.records import Artifact
from converter.runtimes import Runner, onnx

FORMAT = "gzipped_onnx"
REQUIRES = ("onnxruntime",)


@contextmanager
def open_runner(artifact: Artifact, threads: int) -> Iterator[Runner]:
    """Decompress beside, then open as ONNX."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(gzip.decompress(Path(artifact.path).read_bytes()))
        with onnx.open_runner(replace(artifact, path=str(path), format="onnx"), threads) as runner:
            yield runner
