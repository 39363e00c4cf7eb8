"""to_misbehaving: does what converters do on bad days."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from converter.records import Artifact, Recipe

FORMAT = "gzipped_onnx"
ACCEPTS = ("onnx",)
REQUIRES = ()
TARGET_CONFIG = Path(__file__).with_name("misbehaving.yaml")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What goes wrong."""

    how: Literal["abort", "hang", "hog", "half", "exit", "raise", "foreign", "full", "fill"] = "abort"
    """abort: a native crash; hang: never ends; hog: allocates without end; half: writes half a file and ends well."""


def convert(parent: Artifact, options: Options, recipe: Recipe | None, out_dir: Path) -> Artifact:
    """Misbehave."""
    print("a converter's own noise")
    path = out_dir / "model.onnx.gz"
    if options.how == "abort":
        os.abort()
    if options.how == "hang":
        time.sleep(3600)
    if options.how == "hog":
        hoard = []
        while True:
            hoard.append(bytearray(os.urandom(1 << 20)) * 16)
    if options.how == "exit":
        path.write_bytes(b"half")
        os._exit(0)
    if options.how == "raise":
        raise RuntimeError("op Erf is not supported")
    if options.how == "full":
        raise OSError(28, "No space left on device", str(path))
    if options.how == "fill":
        with path.open("wb") as stream:
            while True:
                stream.write(bytes(1 << 20))
    if options.how == "half":
        path.write_bytes(b"\x1f\x8b half")
    elif options.how == "foreign":
        path = Path(parent.path)
    return Artifact(
        path=str(path), format=FORMAT, target="gzipped", tower=parent.tower, precision=parent.precision,
        inputs=parent.inputs, outputs=parent.outputs,
    )  # fmt: skip
