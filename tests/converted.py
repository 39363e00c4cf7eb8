"""The toy towers one and two formats further on, for tests that start from an ONNX or a TFLite file."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from converter.config import configs_dir, read_yaml
from converter.files import hash_path
from converter.parsing import parse
from converter.records import Artifact, Recipe, Tower
from converter.stages import to_onnx, to_tflite
from tests.tiny import TINY_IMAGE_SIZE

Arrays = Mapping[str, np.ndarray[Any, Any]]


_made: dict[tuple[Any, ...], tuple[Artifact, Path]] = {}


def onnx_of(parent: Artifact, folder: Path, **options: Any) -> Artifact:
    """The tower as an ONNX file in `folder`."""
    return _copied(parent, ("onnx", *sorted(options.items())), folder, lambda to: _to_onnx(parent, to, **options))


def tflite_of(parent: Artifact, folder: Path) -> Artifact:
    """The tower as a float32 TFLite file in `folder`, the ONNX file that it was made of beside it."""
    return _copied(
        parent, ("tflite",), folder,
        lambda to: to_tflite.convert(_to_onnx(parent, to), to_tflite.Options(), None, to),
    )  # fmt: skip


def _to_onnx(parent: Artifact, folder: Path, **options: Any) -> Artifact:
    return to_onnx.convert(parent, to_onnx.Options(**options), None, folder)


def _copied(parent: Artifact, what: tuple[Any, ...], folder: Path, make: Callable[[Path], Artifact]) -> Artifact:
    """A copy for whoever asks; converted once in a process, for each content of the parent."""
    key = (hash_path(Path(parent.path)), parent.path, *what)
    if key not in _made:
        kept = Path(tempfile.mkdtemp(dir=Path(parent.path).parent))
        _made[key] = make(kept), kept
    artifact, kept = _made[key]
    shutil.copytree(kept, folder, dirs_exist_ok=True)
    return replace(artifact, path=str(folder / Path(artifact.path).relative_to(kept)))


def recipe(name: str) -> Recipe:
    """A recipe as it ships."""
    mistakes: list[str] = []
    read = parse(Recipe, {"name": name} | read_yaml(configs_dir() / "recipes" / f"{name}.yaml"), name, mistakes)
    assert not mistakes
    return read


def calibrated(wanted: Recipe, path: Path) -> Recipe:
    """The recipe with the calibration file that it asks for, if it does, and few samples."""
    return replace(wanted, calibration_path=str(path), samples=8) if wanted.sample_set else wanted


def channels_last(inputs: Arrays) -> dict[str, np.ndarray[Any, Any]]:
    """Images as NHWC, tokens as they are."""
    return {
        name: np.ascontiguousarray(value.transpose(0, 2, 3, 1)) if value.ndim == 4 else value
        for name, value in inputs.items()
    }


def write_calibration(tower: Tower, inputs: Arrays, path: Path) -> Path:
    """A calibration file in the form that the reference step writes."""
    if tower == "text":
        np.savez(path, tokens=inputs["tokens"])
        return path
    pixels = np.rint(inputs["image"].transpose(0, 2, 3, 1) * 255).astype(np.uint8)
    np.savez(path, pixels=pixels, mean=np.zeros(3), std=np.ones(3))
    return path


def patchwork(count: int, seed: int) -> dict[str, np.ndarray[Any, Any]]:
    """Images of 16 coloured squares each: unlike noise, the toy image tower tells them apart."""
    squares = np.random.default_rng(seed).random((count, 3, 4, 4), dtype=np.float32)
    return {"image": squares.repeat(TINY_IMAGE_SIZE // 4, axis=2).repeat(TINY_IMAGE_SIZE // 4, axis=3)}


def centred_cosines(reference: np.ndarray[Any, Any], candidate: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Cosine of each pair of rows after the reference's mean row is taken from both."""
    one, other = reference - reference.mean(0), candidate - reference.mean(0)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return np.asarray((one * other).sum(1) / lengths)
