"""The frozen records of a hand-over bundle: what its samples read, and what they must come to.

Beside `converter.records`, whose rules hold here too. Choosing, writing and describing a bundle are left to `bundling`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from converter.records import Tower

Platform = Literal["ios", "android", "web", "python", "server"]
PLATFORMS: tuple[Platform, ...] = ("ios", "android", "web", "python", "server")
PREPROCESSING, EXPECTED, PICTURE, SAMPLE = "preprocessing.json", "expected.json", "test.png", "sample"
"""Names in a bundle: two documents that the sample reads, the picture of its self-test, and the sample's folder."""
SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class ImageFile:
    """How a picture becomes the input of the image file.

    Resize to `resize_to` pixels (`resize`: the `shortest` side, the `longest`, or `squash` both) as Pillow does, crop
    the centre `size` x `size`. Where `dtype` is uint8 the file takes these pixels; elsewhere scale to [0, 1], subtract
    `mean`, divide by `std`. `batch` is how many samples one call takes; None: any number.
    """

    file: str
    input: str
    output: str
    dtype: str
    layout: str
    batch: int | None
    size: int
    resize: str
    resize_to: int
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class TextFile:
    """How a text becomes the input of the text file: rows of `context_length` tokens, as `tokenizer` makes them."""

    file: str
    input: str
    output: str
    dtype: str
    batch: int | None
    tokenizer: str
    context_length: int
    start_token: int
    end_token: int
    pad_token: int


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """`preprocessing.json`: all that a sample needs to know of its files. Embeddings have length 1."""

    schema_version: int
    model: str
    trained: bool
    embed_dim: int
    logit_scale: float | None
    image: ImageFile | None
    text: TextFile | None


@dataclass(frozen=True, kw_only=True)
class ExpectedImage:
    """The test picture: `pixel_sum` is the sum of its resized and cropped pixels, `embedding` PyTorch's.

    `cosine` is what the bundled file gave with it, as `executed_by` ran it.
    """

    picture: str
    pixel_sum: int
    embedding: tuple[float, ...]
    cosine: float
    executed_by: str


@dataclass(frozen=True, kw_only=True)
class ExpectedText:
    """The test text with its tokens up to the end token; the rest as for the picture."""

    text: str
    tokens: tuple[int, ...]
    embedding: tuple[float, ...]
    cosine: float
    executed_by: str


@dataclass(frozen=True, kw_only=True)
class Expected:
    """`expected.json`: what the sample must come to. `tolerance` is how far a cosine may lie below the one measured."""

    schema_version: int
    reference: str
    tolerance: float
    image: ExpectedImage | None
    text: ExpectedText | None


@dataclass(frozen=True, kw_only=True)
class CheckedSample:
    """What was done to a platform's sample before it shipped: `sources` are the sha256 of its files at that time.

    Each of `checks` says in a sentence what was done with which tool; `not_checked` what nobody could do.
    """

    sources: Mapping[str, str]
    checks: tuple[str, ...]
    not_checked: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BundledFile:
    """One artifact of a bundle, with the cosine of its self-test."""

    path: str
    step_id: str
    tower: Tower
    size_bytes: int
    sha256: str
    cosine: float


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A written bundle. `files` counts plain files, `path` is the folder or the archive."""

    platform: Platform
    model: str
    path: str
    trained: bool
    artifacts: tuple[BundledFile, ...]
    files: int
    size_bytes: int
