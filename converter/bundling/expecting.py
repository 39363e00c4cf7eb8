"""`expected.json` of a bundle: a picture and a text, and what PyTorch and the bundled files make of them.

The picture is one of our own drawings, larger than what models take and not square, so that a sample's resizing and
cropping are tested too. The reference is `reference/<tower>.pt` of the export: the tower in float32, which the export
found equal to the unmodified model.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from converter.bundled import PICTURE, SCHEMA_VERSION, Expected, ExpectedImage, ExpectedText
from converter.errors import ConversionError
from converter.manifest import Manifest, ManifestEntry, ManifestModel
from converter.models.drawing import draw
from converter.models.preprocessing import normalise, prepare
from converter.models.scenes import Kind, Scene, caption
from converter.models.tokenizer_file import encode
from converter.parity.compare import embed
from converter.records import Artifact, Tower
from converter.runtimes import Runner

if TYPE_CHECKING:
    from PIL.Image import Image

type Opener = Callable[[Artifact], AbstractContextManager[Runner]]
"""Opens a file with the runtime of its format."""

TOLERANCE = 1e-3
"""Another device's kernels move a float16 cosine in the fifth digit; a wrong mean or a plain resize in the second."""
SCENE = Scene(
    kind=Kind(shape="star", colour="red", texture="striped"), count=2, position="left", background="blue", seed=7
)
SIDES = (420, 315)
"""Width and height of the picture."""


def picture() -> Image:
    """The test picture, RGB."""
    from PIL import Image

    return draw(SCENE).resize(SIDES, Image.Resampling.BICUBIC)


def picture_bytes() -> bytes:
    """The test picture as PNG."""
    stream = io.BytesIO()
    picture().save(stream, "PNG", optimize=True)
    return stream.getvalue()


def expected(folder: Path, manifest: Manifest, entries: Sequence[ManifestEntry], opened: Opener) -> Expected:
    """Run the reference and each file on the picture and the text.

    Raises:
        ConversionError: a file cannot be loaded, or its embedding is not finite.
    """
    towers = {entry.tower: entry for entry in entries}
    return Expected(
        schema_version=SCHEMA_VERSION, reference="PyTorch, float32, reference/<tower>.pt of the export",
        tolerance=TOLERANCE,
        image=_image(folder, manifest, towers["image"], opened) if "image" in towers else None,
        text=_text(folder, manifest, towers["text"], opened) if "text" in towers else None,
    )  # fmt: skip


def _image(folder: Path, manifest: Manifest, entry: ManifestEntry, opened: Opener) -> ExpectedImage:
    pixels = prepare([picture()], manifest.model.preprocessing)
    right, cosine, said = _compared(folder, manifest, entry, _values(pixels, manifest.model), opened)
    return ExpectedImage(
        picture=PICTURE, pixel_sum=int(pixels.sum(dtype=np.int64)), embedding=right, cosine=cosine, executed_by=said
    )


def _values(pixels: npt.NDArray[np.uint8], model: ManifestModel) -> npt.NDArray[np.uint8] | npt.NDArray[np.float32]:
    """NCHW: as they are where files normalise by themselves."""
    pre = model.preprocessing
    return pixels.transpose(0, 3, 1, 2) if pre.inside_graph else normalise(pixels, pre.mean, pre.std)


def _text(folder: Path, manifest: Manifest, entry: ManifestEntry, opened: Opener) -> ExpectedText:
    said, cut = caption(SCENE), manifest.model.tokenizer
    assert cut is not None  # `preparing` refused a text file without one
    (tokens,) = encode(folder / cut.path, [said])
    row = np.asarray([tokens], np.int32)
    right, cosine, executed_by = _compared(folder, manifest, entry, row, opened)
    used = tokens[: tokens.index(cut.end_token) + 1]
    return ExpectedText(text=said, tokens=tuple(used), embedding=right, cosine=cosine, executed_by=executed_by)


def _compared(
    folder: Path, manifest: Manifest, entry: ManifestEntry, rows: npt.NDArray[np.generic], opened: Opener
) -> tuple[tuple[float, ...], float, str]:
    """(the reference's embedding, its cosine with the file's, what ran the file)."""
    tower: Tower = entry.tower
    (module,) = [one.module for one in manifest.references if one.tower == tower]
    right, _ = _run(folder, module, rows, opened)
    found, said = _run(folder, entry.artifact(), rows, opened)
    cosine = float(right @ found)
    if not np.isfinite(cosine):
        message = f"{entry.path}: its embedding of the test {tower} is not finite; 'mcconvert verify' judges it again"
        raise ConversionError(message)
    return tuple(float(value) for value in right), cosine, said


def _run(
    folder: Path, artifact: Artifact, rows: npt.NDArray[np.generic], opened: Opener
) -> tuple[npt.NDArray[np.float32], str]:
    located = replace(artifact, path=str((folder / artifact.path).resolve()))
    with opened(located) as runner:
        outputs = embed(runner, {artifact.inputs[0].name: rows}, specs=artifact.inputs, dynamic_batch=1)
        vector = outputs[artifact.outputs[0].name][0].astype(np.float32)
        return vector / np.linalg.norm(vector), runner.executed_by
