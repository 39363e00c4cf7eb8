"""to_misbehaving: does what converters do on bad days."""

from __future__ import annotations

import os
import subprocess
import sys
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

    how: Literal[
        "abort",
        "hang",
        "hog",
        "half",
        "exit",
        "raise",
        "foreign",
        "full",
        "fill",
        "garbage",
        "noise",
        "flood",
        "child",
        "outcome",
        "outside",
        "leave",
    ] = "abort"
    """abort: a native crash; hang: never ends; hog: allocates without end; half: writes half a file and ends well;
    garbage: a file of random bytes; noise: prints bytes that are no text; flood: never stops printing; child: leaves a
    process behind in a session of its own; outcome: writes garbage where its result belongs; outside: names a link
    that leaves its folder; leave: calls sys.exit.
    """


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
    if options.how == "leave":
        sys.exit("a converter left")
    if options.how == "flood":
        while True:
            os.write(1, b"the same line again and again\n" * 4096)
    if options.how == "outcome":
        (out_dir / "outcome.json").write_bytes(os.urandom(512))
        os._exit(0)
    if options.how == "child":
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"], start_new_session=True)
        raise RuntimeError("and a child is left behind")
    if options.how in ("noise", "garbage"):
        for stream in (1, 2):
            os.write(stream, bytes(range(256)) * 64 + b"\xff\xfe\x1b[2J\x00")
    if options.how == "noise":
        raise RuntimeError("noise \x1b[2J\udcff and no text")
    if options.how == "garbage":
        path.write_bytes(os.urandom(1 << 16))
    if options.how == "outside":
        path.symlink_to(parent.path)
    if options.how == "half":
        path.write_bytes(b"\x1f\x8b half")
    elif options.how == "foreign":
        path = Path(parent.path)
    return Artifact(
        path=str(path), format=FORMAT, target="gzipped", tower=parent.tower, precision=parent.precision,
        inputs=parent.inputs, outputs=parent.outputs,
    )  # fmt: skip
