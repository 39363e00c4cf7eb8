"""The captions of the sample sets: what people type into an image search, and what they should not but do.

Two lists that share no caption. Kept as JSON, which can hold an empty caption and one of blanks.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

PARITY_FILE = "captions.json"
CALIBRATION_FILE = "calibration_captions.json"


def parity_captions() -> tuple[str, ...]:
    """Queries, prompts, names, numbers, code, many scripts, emoji, nothing at all, and texts that must be cut."""
    return _read(PARITY_FILE)


def calibration_captions() -> tuple[str, ...]:
    """Captions to calibrate quantization with, none of which is a parity caption."""
    return _read(CALIBRATION_FILE)


@cache
def _read(file_name: str) -> tuple[str, ...]:
    return tuple(json.loads((Path(__file__).parent / file_name).read_text(encoding="utf-8")))
