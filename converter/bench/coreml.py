"""`make bench`: how long executing a Core ML file takes off a Mac, beside PyTorch on the same inputs.

All sides run in this process, in turn, one image at a time, on the same number of threads: PyTorch on the traced module
of the export, and the reference interpreter on the float32 and on the float16 package. Libraries are imported before.
Reading a package is counted with it: the total is what a step of an export pays.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from converter.coreml_package import import_coremltools
from converter.manifest import ManifestEntry
from converter.publishing.manifest import read_manifest
from converter.runtimes import Runner

FOLDER = Path("artifacts/mobileclip_s1")
IMAGES = 64
CHUNK = 8
"""Images that one side runs before the next one has its turn: what else the machine does then hits all alike."""
PROMISED_SECONDS = 30.0
"""What 64 images of MobileCLIP-S1 may take in the interpreter."""
TRACED = "image/torchscript/fp32"
EXPORT = (
    "--model", "mobileclip_s1", "--weights", "seeded", "--tower", "image", "--target", "coreml",
    "--target", "torchscript",
)  # fmt: skip

type Run = Callable[[np.ndarray[Any, Any]], object]


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m converter.bench.coreml", description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="an exported model; one is made if it is not there")
    parser.add_argument("--images", type=int, default=IMAGES, help="how many are run")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of torch, for every side")
    parser.add_argument("--json", type=Path, default=None, help="also write the figures to this file")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="mcconvert-bench-") as scratch:
        folder = options.folder if _is_complete(options.folder) else _export(Path(scratch))
        seconds = measure(folder, options.images, options.threads)
    figures = _figures(seconds, options.images)
    print(f"{folder.name}, image tower, {options.images} images, {options.threads} threads")
    print("\n".join(f"{name}: {value:.3f}" for name, value in figures.items()))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    slowest = max(total for name, total in seconds.items() if name != "torch")
    print(f"the slowest package: {options.images} images in {slowest:.1f} s; promised: 64 in {PROMISED_SECONDS:g} s")
    return 0


def measure(folder: Path, images: int, threads: int) -> dict[str, float]:
    """Seconds that each side takes for all images, opening its file included."""
    from converter.runtimes.torchscript import torch_threads

    import_coremltools()
    entries = _packages(folder)
    sizes = [int(size) for size in entries["fp32"].inputs[0].shape]
    pixels = np.random.default_rng(0).random((images, *sizes), dtype=np.float32)
    seconds: dict[str, float] = {}
    sides: dict[str, Run] = {}
    with ExitStack() as stack:
        stack.enter_context(torch_threads(threads))
        openings = {"torch": partial(_traced, folder)} | {
            f"interpreter {precision}": partial(_interpreter, folder, entry, threads, stack)
            for precision, entry in entries.items()
        }
        for side, opening in openings.items():
            begun = time.perf_counter()
            sides[side] = opening()
            seconds[side] = time.perf_counter() - begun
        for start in range(0, images, CHUNK):
            for side, run in sides.items():
                seconds[side] += _timed(run, pixels[start : start + CHUNK])
    return seconds


def _timed(run: Run, images: np.ndarray[Any, Any]) -> float:
    begun = time.perf_counter()
    for one in images:
        run(one)
    return time.perf_counter() - begun


def _traced(folder: Path) -> Run:
    """The TorchScript file of the same export, which PyTorch runs operation by operation, with nothing fused."""
    import torch

    from converter.torchscript_file import load_module

    entry = next(one for one in read_manifest(folder).artifacts if one.step_id == TRACED)
    module = load_module(str(folder / entry.path))

    def run(image: np.ndarray[Any, Any]) -> object:
        with torch.inference_mode(), torch.jit.optimized_execution(False):
            return module(torch.from_numpy(image))

    return run


def _interpreter(folder: Path, entry: ManifestEntry, threads: int, stack: ExitStack) -> Run:
    from converter.runtimes.coreml import open_interpreter

    artifact = replace(entry.artifact(), path=str(folder / entry.path))
    runner: Runner = stack.enter_context(open_interpreter(artifact, threads))
    name = runner.inputs[0].name
    return lambda image: runner.infer({name: image})


def _figures(seconds: dict[str, float], images: int) -> dict[str, float]:
    figures = {f"{side}, seconds per image": total / images for side, total in seconds.items()}
    figures |= {f"{side}, seconds in all": total for side, total in seconds.items()}
    others = {side: total for side, total in seconds.items() if side != "torch"}
    return figures | {f"{side} / torch": total / seconds["torch"] for side, total in others.items()}


def _packages(folder: Path) -> dict[str, ManifestEntry]:
    """The image packages of a folder by precision."""
    entries = read_manifest(folder).artifacts
    return {one.precision: one for one in entries if one.format == "coreml" and one.tower == "image"}


def _is_complete(folder: Path) -> bool:
    """Whether the files of all sides are there."""
    if not (folder / "manifest.json").is_file():
        return False
    steps = [one.step_id for one in read_manifest(folder).artifacts]
    return TRACED in steps and len(_packages(folder)) > 1


def _export(scratch: Path) -> Path:
    command = [str(Path(sys.executable).with_name("mcconvert")), *EXPORT, "--out", str(scratch)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return scratch / "mobileclip_s1"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
