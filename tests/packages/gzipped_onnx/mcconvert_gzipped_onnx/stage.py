"""to_gzipped_onnx: an ONNX file, compressed."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

from converter.records import Artifact, Recipe

FORMAT = "gzipped_onnx"
ACCEPTS = ("onnx",)
REQUIRES = ("onnxruntime",)
TARGET_CONFIG = Path(__file__).with_name("gzipped.yaml")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a row may set."""

    level: int = 1
    """Compression level, 1 to 9."""


def convert(parent: Artifact, options: Options, recipe: Recipe | None, out_dir: Path) -> Artifact:
    """Compress the parent's file; tensors stay as they are."""
    path = out_dir / "model.onnx.gz"
    path.write_bytes(gzip.compress(Path(parent.path).read_bytes(), options.level, mtime=0))
    return Artifact(
        path=str(path), format=FORMAT, target="gzipped", tower=parent.tower, precision=parent.precision,
        inputs=parent.inputs, outputs=parent.outputs,
    )  # fmt: skip
