"""The Python sample runs without us, and gives what PyTorch gives; what it prepares is what we prepare."""

from __future__ import annotations

import json
import re
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from converter.bundling.writing import SAMPLES
from converter.models.preprocessing import normalise, prepare
from converter.records import Preprocessing
from tests.bundling.conftest import rewrite, run_sample

KINDS = [("shortest", "bilinear"), ("shortest", "bicubic"), ("longest", "bilinear"), ("squash", "lanczos")]
SIDES = [(420, 315), (301, 517), (96, 96), (97, 640), (50, 33)]


@pytest.mark.parametrize("platform", ["python", "server"])
def test_sample_gives_the_embeddings_of_pytorch(bundles: dict[str, Path], platform: str) -> None:
    """Cosines above 0.9999 for the picture and the text, in a process that can import neither us nor torch."""
    done = run_sample(bundles[platform], "sample/sample.py")

    cosines = [float(found) for found in re.findall(r"cosine (\S+),", done.stdout)]
    assert (done.returncode, len(cosines)) == (0, 2), done.stdout + done.stderr
    assert min(cosines) > 0.9999


@pytest.mark.parametrize(
    "spoil",
    [
        lambda facts: facts["image"].update(mean=[0.48, 0.46, 0.41]),
        lambda facts: facts["image"].update(interpolation="nearest"),
        lambda facts: facts["image"].update(resize="squash"),
    ],
    ids=["wrong mean", "nearest pixels", "squashed"],
)
def test_sample_fails_when_it_prepares_otherwise(bundles: dict[str, Path], tmp_path: Path, spoil: object) -> None:
    """The twin: the sample's own test sees each of these mistakes."""
    bundle = Path(shutil.copytree(bundles["python"], tmp_path / "bundle"))
    rewrite(bundle / "preprocessing.json", spoil)

    done = run_sample(bundle, "sample/sample.py")

    assert done.returncode == 1
    assert "FAILED" in done.stdout


def test_sample_ranks_texts_for_a_picture(bundles: dict[str, Path]) -> None:
    """The second use of the sample: texts that fit come first."""
    text = json.loads((bundles["python"] / "expected.json").read_text())["text"]["text"]

    done = run_sample(bundles["python"], "sample/sample.py", "test.png", "a green ring", text)

    assert done.stdout.splitlines()[0].endswith(text)


@pytest.mark.parametrize(("resize", "interpolation"), KINDS)
@pytest.mark.parametrize("sides", SIDES)
def test_sample_prepares_the_very_pixels(resize: str, interpolation: str, sides: tuple[int, int]) -> None:
    """Equal in every bit to what files are judged on, for every way of resizing."""
    how = Preprocessing(
        size=64, resize=resize, resize_size=72, interpolation=interpolation, mean=(0.48, 0.46, 0.41),
        std=(0.27, 0.26, 0.28), value_range=(-2.0, 2.0),
    )  # fmt: skip
    facts = {
        "size": 64, "resize_to": 72, "resize": resize, "interpolation": interpolation, "mean": how.mean,
        "std": how.std, "dtype": "float32", "layout": "NCHW",
    }  # fmt: skip
    sample = runpy.run_path(str(SAMPLES / "python/mobileclip.py"))
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (*sides[::-1], 3), dtype=np.uint8))

    pixels = sample["prepare"](picture, facts)

    assert np.array_equal(pixels, prepare([picture], how)[0])
    assert np.array_equal(sample["to_input"](pixels[None], facts), normalise(pixels[None], how.mean, how.std))
