"""Inputs that no photograph and no caption resembles: black, saturated, one hot pixel, no words, rare words.

An app meets them (a covered lens, an empty search field), and they find what ordinary samples do not: a norm that
divides by a variance of zero, a float16 activation that overflows, a quantized range that was calibrated on
photographs. They are rows of the parity samples' files, the last ones, and take no part in rankings or in any mean.
Images are pixels of the tower's own size, so that nothing is resized; texts are token ids.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from converter.models.tokenizer import tokenize
from converter.records import ModelSpec

PREFIX = "stress/"
"""Begins their names; no caption of the built-in sets and no file name does."""

SEED = 30
FIELDS = 8
"""Fields a side of the board of saturated colours."""
COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 255, 255), (255, 0, 255), (255, 255, 0))
"""Pure red, green, blue, cyan, magenta and yellow."""
WORD = "red"
"""A word that every model has learnt, those of drawn scenes too."""
EMOJI = "\N{ZEBRA FACE}\N{FIRECRACKER}\N{TEST TUBE}" * 6

Pixels = npt.NDArray[np.uint8]
Tokens = npt.NDArray[np.int32]


def stress_pixels(size: int) -> dict[str, Pixels]:
    """Images by name, each (size, size, 3) uint8 RGB."""
    hot = np.zeros((size, size, 3), np.uint8)
    hot[size // 2, size // 2] = 255
    images = {
        "black": _even(size, 0),
        "white": _even(size, 255),
        "grey": _even(size, 128),
        "noise": np.random.default_rng(SEED).integers(0, 256, (size, size, 3), dtype=np.uint8),
        "colours": _board(size),
        "hot_pixel": hot,
        "gradient": _gradient(size),
    }
    return {PREFIX + name: image for name, image in images.items()}


def stress_tokens(spec: ModelSpec) -> dict[str, Tokens]:
    """Texts by name, each `(context_length,)` int32 with an end token in it.

    `end_only` is what a tokenizer of its own might send for an empty text, `random` has ids from the whole vocabulary
    (but the end token, where a row is read) and no start token, `rare` the last ids that stand for words.
    """
    empty, one_word, emoji = tokenize(["", f"{WORD} " * spec.context_length, EMOJI], spec)
    inner = spec.context_length - 2
    ids = np.random.default_rng(SEED).integers(0, spec.end_token, spec.context_length - 1)
    rows = {
        "empty": empty,
        "end_only": _row(spec, [spec.end_token]),
        "one_word": one_word,
        "random": _row(spec, [*ids, spec.end_token]),
        "rare": _row(spec, [spec.start_token, *range(spec.start_token - inner, spec.start_token), spec.end_token]),
        "emoji": emoji,
    }
    return {PREFIX + name: row for name, row in rows.items()}


def count_stress(names: Sequence[str]) -> int:
    """How many of the last names are those of stress samples."""
    return next((index for index, name in enumerate(reversed(names)) if not name.startswith(PREFIX)), len(names))


def _even(size: int, level: int) -> Pixels:
    return np.full((size, size, 3), level, np.uint8)


def _board(size: int) -> Pixels:
    """Neighbouring fields differ in colour, along rows and along columns."""
    field = np.arange(size) * FIELDS // size
    colours = np.array(COLOURS, np.uint8)
    return colours.take((field[:, None] + field[None, :]) % len(COLOURS), axis=0)


def _gradient(size: int) -> Pixels:
    levels = np.linspace(0, 255, size).round().astype(np.uint8)
    return np.repeat(np.repeat(levels[None, :, None], size, axis=0), 3, axis=2)


def _row(spec: ModelSpec, ids: Sequence[int]) -> Tokens:
    row = np.full(spec.context_length, spec.pad_token, np.int32)
    row[: len(ids)] = ids
    return row
