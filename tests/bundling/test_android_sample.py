"""The Kotlin sample compiles against the API that it names; its tokenizer and resizing run, and agree in every bit."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from converter.models.preprocessing import normalise, prepare
from converter.models.tokenizer_file import encode
from converter.records import Preprocessing
from tests.bundling.kotlin import SOURCES, Compiled, compiled
from tests.bundling.texts import captions

MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
WAYS: list[tuple[Any, Any]] = [
    ("shortest", "bilinear"),
    ("longest", "bicubic"),
    ("squash", "lanczos"),
    ("shortest", "nearest"),
]
SIDES = [(420, 315), (301, 517), (96, 96), (50, 33)]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """The sample as it ships."""
    return compiled(SOURCES, tmp_path_factory.mktemp("kotlin") / "classes")


def test_sample_compiles_without_a_warning(sample: Compiled) -> None:
    """Against declarations of android.*, of LiteRT's CompiledModel, and Android's own org.json."""
    assert (sample.code, sample.said) == (0, "")


def test_a_slip_in_the_api_does_not_compile(tmp_path: Path) -> None:
    """The twin: a method that LiteRT does not have."""
    broken = Path(shutil.copytree(SOURCES, tmp_path / "kotlin"))
    (file,) = broken.rglob("MobileClip.kt")
    file.write_text(file.read_text().replace("writeFloat(", "writeFloats("))

    done = compiled(broken, tmp_path / "classes")

    assert done.code != 0
    assert "unresolved reference 'writeFloats'" in done.said


def test_texts_become_the_tokens_of_the_proven_tokenizer(sample: Compiled, nano: Path, tmp_path: Path) -> None:
    """Every caption, and texts with entities, ligatures, other scripts, special tokens and too many words."""
    texts, tokenizer = captions(), nano / "tokenizer.json"

    found = sample.run([{"text": text} for text in texts], tokenizer, tmp_path)

    assert found == encode(tokenizer, texts)


def test_pictures_become_the_very_pixels_and_floats(sample: Compiled, nano: Path, tmp_path: Path) -> None:
    """Equal in every bit to what files are judged on, for 16 sizes and ways of resizing."""
    cases = [_case(resize, interpolation, sides) for resize, interpolation in WAYS for sides in SIDES]

    found = sample.run([given for given, _ in cases], nano / "tokenizer.json", tmp_path)

    for made, (given, pixels) in zip(found, cases, strict=True):
        assert np.array_equal(np.reshape(made["pixels"], pixels.shape), pixels), given["facts"]
        floats = normalise(pixels[None], MEAN, STD)[0].transpose(1, 2, 0)
        assert np.array_equal(np.reshape(made["values"], pixels.shape).astype(np.float32), floats)


def _case(resize: Any, interpolation: Any, sides: tuple[int, int]) -> tuple[dict[str, Any], np.ndarray[Any, Any]]:
    """(what the sample is given, the pixels that it must make of it)."""
    how = Preprocessing(
        size=64, resize=resize, resize_size=72, interpolation=interpolation, mean=MEAN, std=STD, value_range=(-2, 2)
    )
    picture = np.random.default_rng(1).integers(0, 256, (*sides[::-1], 3), dtype=np.uint8)
    facts = {
        "file": "", "size": 64, "resize_to": 72, "resize": resize, "interpolation": interpolation, "mean": MEAN,
        "std": STD, "dtype": "float32", "layout": "NHWC",
    }  # fmt: skip
    data = base64.b64encode(picture).decode()
    given = {"data": data, "width": sides[0], "height": sides[1], "facts": facts}
    return given, prepare([Image.fromarray(picture)], how)[0]
