"""The frozen records of quantizing a model that is given as a file.

Beside `converter.records`, whose rules hold here too. Figures are `parity.answers`'s, running is
`pipeline.quantize_file`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from converter.records import Interval, Preprocessing, Recipe

FileFormat = Literal["tflite", "onnx"]


@dataclass(frozen=True, kw_only=True)
class Counted:
    """A share of images, and within which range it may lie for other images, with 95 % confidence."""

    value: float
    interval: Interval


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Shares of labelled images whose first guess is right, of the given file and of the quantized one."""

    given: Counted
    quantized: Counted
    lost: Counted


@dataclass(frozen=True, kw_only=True)
class Agreed:
    """How far a quantized file's outputs lie from the given file's, over the same images.

    `top1` is the share of images whose largest output is at the same place, `top5` the mean share of the given file's
    five largest that are among the quantized one's. Centred figures subtract the given file's mean output.
    """

    images: int
    groups: int
    top1: Counted
    top5: Counted
    centred_cosine_min: float
    centred_cosine_mean: float
    sqnr_db: float
    max_abs: float
    spread: float
    nonfinite: int


@dataclass(frozen=True, kw_only=True)
class QuantizeOrder:
    """What is wanted of a file: the recipe, into which formats, and with which images.

    `calibration` and `images` are None for the built-in photographs, which share nothing. `images` may hold a folder
    for each class; then accuracy is counted too.
    """

    file: str
    recipe: Recipe
    formats: tuple[FileFormat, ...] = ()
    preprocessing: Preprocessing
    calibration: str | None = None
    images: str | None = None
    out: str
    threads: int = 2
    rounds: int = 25


@dataclass(frozen=True, kw_only=True)
class QuantizedFile:
    """One written file beside the given one. Latencies are medians of one run, in turn; ratios those of the rounds.

    `float_latency_ratio` is against the float32 file of the same format, which is the given one where it has that
    format. `why_not` says why there is no file; the rest is empty then.
    """

    format: FileFormat
    recipe: str
    path: str = ""
    executed_by: str = ""
    size_bytes: int = 0
    size_ratio: float = 0.0
    milliseconds: float = 0.0
    latency_ratio: float = 0.0
    float_latency_ratio: float = 0.0
    agreed: Agreed | None = None
    accuracy: Accuracy | None = None
    notes: tuple[str, ...] = ()
    why_not: str = ""


@dataclass(frozen=True, kw_only=True)
class QuantizedFiles:
    """All files made of one given file. `calibrated_on` counts images, none of which is among those judged on."""

    given: str
    format: FileFormat
    size_bytes: int
    milliseconds: float
    calibrated_on: int
    judged_on: str
    files: tuple[QuantizedFile, ...]
