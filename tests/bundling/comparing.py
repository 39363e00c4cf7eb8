"""How a sample that runs as a program of its own is compared: cases as lines of JSON, and what must come back."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from converter.models.preprocessing import normalise, prepare
from converter.records import Preprocessing

MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
WAYS: list[tuple[Any, Any]] = [
    ("shortest", "bilinear"),
    ("longest", "bicubic"),
    ("squash", "lanczos"),
    ("shortest", "nearest"),
]
SIDES = [(420, 315), (301, 517), (96, 96), (50, 33)]

type PictureCase = tuple[dict[str, Any], np.ndarray[Any, Any]]
"""(what the sample is given, the pixels that it must make of it)."""


def answers(command: Sequence[str], tokenizer: Path, cases: Sequence[dict[str, Any]], scratch: Path) -> list[Any]:
    """What the program gives for each case: a line of JSON each."""
    lines = scratch / "cases.jsonl"
    lines.write_text("".join(f"{json.dumps(case)}\n" for case in cases), encoding="utf-8")
    done = subprocess.run([*command, str(tokenizer), str(lines)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def picture_cases(layout: str) -> list[PictureCase]:
    """16 sizes and ways of resizing."""
    return [_case(layout, resize, interpolation, sides) for resize, interpolation in WAYS for sides in SIDES]


def given(picture: Image.Image) -> dict[str, Any]:
    """A picture as the sample is given it."""
    return {"data": base64.b64encode(picture.tobytes()).decode(), "width": picture.width, "height": picture.height}


def same(made: dict[str, Any], case: PictureCase) -> bool:
    """Whether pixels and floats are in every bit what files are judged on."""
    facts, pixels = case[0]["facts"], case[1]
    axes = (1, 2, 0) if facts["layout"] == "NHWC" else (0, 1, 2)
    floats = normalise(pixels[None], MEAN, STD)[0].transpose(axes)
    return np.array_equal(np.reshape(made["pixels"], pixels.shape), pixels) and np.array_equal(
        np.reshape(made["values"], floats.shape).astype(np.float32), floats
    )


def _case(layout: str, resize: Any, interpolation: Any, sides: tuple[int, int]) -> PictureCase:
    how = Preprocessing(
        size=64, resize=resize, resize_size=72, interpolation=interpolation, mean=MEAN, std=STD, value_range=(-2, 2)
    )
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (*sides[::-1], 3), dtype=np.uint8))
    facts = {
        "file": "", "input": "", "output": "", "size": 64, "resize_to": 72, "resize": resize,
        "interpolation": interpolation, "mean": MEAN, "std": STD, "dtype": "float32", "layout": layout,
    }  # fmt: skip
    return {**given(picture), "facts": facts}, prepare([picture], how)[0]
