"""Using what was exported: photographs and texts to embeddings, with a file, several files, or the PyTorch model.

A `Space` is one model opened for use. `converter.inference.files` opens artifacts, `converter.inference.pytorch` the
unmodified model; reading, embedding, classifying and writing see nothing but this contract. How a format is run comes
as an argument (`RuntimeOf`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from converter.manifest import ManifestModel
from converter.records import ModelSpec, Tower
from converter.runtimes import Runtime

type Device = Literal["auto", "cpu", "cuda", "mps"]
type Vectors = npt.NDArray[np.float32]
"""(n, embed_dim), each row of unit length."""
type EmbedImages = Callable[[npt.NDArray[np.uint8]], Vectors]
"""From pixels (n, size, size, 3) uint8 RGB, resized and cropped, in any number."""
type EmbedTexts = Callable[[npt.NDArray[np.int32]], Vectors]
"""From tokens (n, context_length)."""
type RuntimeOf = Callable[[str], Runtime]
"""The runtime of a format. Raises MissingDependencyError where what it needs is not installed."""
type Say = Callable[[str], None]
"""Takes one line for the user's eyes; it is no result."""


@dataclass(frozen=True, kw_only=True)
class Compute:
    """Where and how to run. `batch` is how many samples go in one call, where the file leaves that open."""

    device: Device = "auto"
    threads: int = 2
    batch: int = 8


@dataclass(frozen=True, kw_only=True)
class Space:
    """One model opened for use. Vectors of two spaces can be compared only when their weights are the same.

    `spec` is what the tokenizer needs to know, `executed_by` says in words what runs each tower. `image_sha256` is of
    the image tower's file, of the weights where PyTorch runs them; `tie_margin` the difference of two scores below
    which the file's proof does not hold their order against it.
    """

    name: str
    model: ManifestModel
    spec: ModelSpec
    images: EmbedImages | None = None
    texts: EmbedTexts | None = None
    executed_by: Mapping[Tower, str]
    image_sha256: str = ""
    tie_margin: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Row:
    """One image or text with its embedding in each space, in the order of the spaces."""

    name: str
    kind: Tower
    vectors: Sequence[npt.NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """An image that could not be read, and why."""

    name: str
    reason: str


def unit(rows: npt.NDArray[Any]) -> Vectors:
    """The rows in float32, each scaled to length 1."""
    vectors = rows.astype(np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Vectors = (vectors / lengths).astype(np.float32)
    return scaled
