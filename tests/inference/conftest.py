"""A folder as an export leaves it, of the toy model, and photographs to feed it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from converter.cli import cli
from converter.errors import McconvertError
from converter.files import hash_path
from converter.manifest import ManifestEntry
from converter.models.photographs import parity_views
from converter.models.preprocessing import normalise, prepare
from converter.models.tokenizer import tokenize
from converter.publishing.manifest import merge, model_part, write_manifest
from converter.records import TOWERS, Artifact, ModelSpec, Preprocessing, Tower, Weights
from converter.stages import to_torchscript
from tests.converted import onnx_of, tflite_of
from tests.tiny import TINY_EMBED_DIM, TINY_IMAGE_SIZE, tiny_clip

SCALE = 20.0
PIXELS = Preprocessing(
    size=TINY_IMAGE_SIZE, interpolation="bilinear", mean=(0.48, 0.46, 0.41), std=(0.27, 0.26, 0.28),
    value_range=(-1.8, 2.2),
)  # fmt: skip
SPEC = ModelSpec(
    id="toy", family="toy", title="Toy", source="toy:toy", license="none", license_url="", preprocessing=PIXELS,
    embed_dim=TINY_EMBED_DIM,
)  # fmt: skip
TRAINED = Weights(kind="file", path="toy.pt", sha256="a" * 64, trained=True)


@dataclass(frozen=True, kw_only=True)
class Used:
    """What a command gave."""

    code: int
    out: str
    err: str


def use(*arguments: str | Path, text: str = "") -> Used:
    """Run the command in this process; a refusal gives its exit code and its message."""
    done = CliRunner().invoke(cli, [str(one) for one in arguments], input=text)
    if isinstance(done.exception, McconvertError):
        return Used(code=done.exception.exit_code, out=done.stdout, err=f"{done.stderr}{done.exception}")
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Used(code=done.exit_code, out=done.stdout, err=done.stderr)


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six photographs as PNG files, named so that their order is not the order in which they were written."""
    folder = tmp_path_factory.mktemp("photographs")
    views = [image for name, image in parity_views() if name.endswith("#whole")][:6]
    for letter, image in zip("cafebd", views, strict=True):
        image.save(folder / f"{letter}.png")
    return folder


@pytest.fixture(scope="session")
def pristine(tiny_parents: dict[Tower, Artifact], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both towers as TorchScript, ONNX of batch 1 and of any batch, and TFLite, with their manifest."""
    folder, made = tmp_path_factory.mktemp("toy"), tmp_path_factory.mktemp("made")
    makers: dict[str, Callable[[Artifact, Path], Artifact]] = {
        "onnx/fp32": onnx_of,
        "onnx/fp32_dynamic": lambda parent, to: onnx_of(parent, to, batch="dynamic"),
        "tflite/fp32": tflite_of,
        "torchscript/fp32": _torchscript_of,
    }
    entries = [
        listed(folder, row, make(tiny_parents[tower], made / tower / row))
        for row, make in makers.items()
        for tower in TOWERS
    ]
    write_toy(folder, entries)
    return folder


@pytest.fixture
def toy(pristine: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(pristine, tmp_path / "toy"))


@pytest.fixture(scope="session")
def reference(photographs: Path) -> np.ndarray[Any, Any]:
    """What PyTorch makes of the photographs, sorted by name: (6, 32) float32."""
    return image_reference(sorted(photographs.iterdir()))


def image_reference(paths: Sequence[Path]) -> np.ndarray[Any, Any]:
    """The unmodified toy model's embeddings of image files."""
    import torch
    from PIL import Image

    pixels = prepare([Image.open(path).convert("RGB") for path in paths], PIXELS)
    with torch.no_grad():
        images = torch.from_numpy(normalise(pixels, PIXELS.mean, PIXELS.std))
        return np.asarray(tiny_clip().encode_image(images, normalize=True).numpy())


def text_reference(texts: Sequence[str]) -> np.ndarray[Any, Any]:
    """The unmodified toy model's embeddings of texts."""
    import torch

    with torch.no_grad():
        tokens = torch.from_numpy(tokenize(texts, SPEC))
        return np.asarray(tiny_clip().encode_text(tokens, normalize=True).numpy())


def listed(folder: Path, row: str, artifact: Artifact, status: Any = "PASSED") -> ManifestEntry:
    """Copy the artifact into the folder, and its entry in the manifest."""
    target, _, name = row.partition("/")
    path = folder / target / f"{artifact.tower}_{name}{Path(artifact.path).suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    copy = shutil.copytree if Path(artifact.path).is_dir() else shutil.copy
    copy(artifact.path, path)
    sha256, size_bytes = hash_path(path)
    return ManifestEntry(
        step_id=f"{artifact.tower}/{row}", target=target, tower=artifact.tower, precision=artifact.precision,
        format=artifact.format, path=f"{target}/{path.name}", sha256=sha256, size_bytes=size_bytes,
        inputs=artifact.inputs, outputs=artifact.outputs, recipe=None, parent_sha256="", status=status, required=True,
        not_required_because="", failures=(), notes=(), tolerances=(), tie_margin=0.0, size_ratio=None, parity=None,
        parity_with_parent=None, tool_versions={},
    )  # fmt: skip


def write_toy(folder: Path, entries: Sequence[ManifestEntry], **changes: Any) -> None:
    """Write the manifest anew; `changes` are to its model."""
    model = replace(model_part(SPEC, TRAINED, SCALE), **changes)
    write_manifest(folder / "manifest.json", replace(merge(folder, model, [], entries, {}), artifacts=tuple(entries)))


def _torchscript_of(parent: Artifact, folder: Path) -> Artifact:
    folder.mkdir(parents=True)
    return to_torchscript.convert(parent, to_torchscript.Options(), None, folder)
