"""The photographs are real, named, repeatable, and parity shares none with calibration."""

from __future__ import annotations

import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from converter.errors import UsageError
from converter.models.photographs import (
    CALIBRATION_PHOTOGRAPHS,
    PARITY_PHOTOGRAPHS,
    calibration_views,
    folder_images,
    parity_views,
)


def test_parity_is_64_distinct_views_named_after_their_photograph() -> None:
    """Eight views of each of eight photographs, all RGB, all different."""
    views = list(parity_views())

    assert len({name for name, _ in views}) == 64
    assert {name.partition("#")[0] for name, _ in views} == {Path(name).stem for name in PARITY_PHOTOGRAPHS}
    assert all(image.mode == "RGB" and min(image.size) >= 150 for _, image in views)
    assert len({image.tobytes() for _, image in views}) == 64


def test_views_are_the_same_every_time() -> None:
    """A second pass gives the same pixels, and a longer calibration set begins with the shorter one."""
    first = [image.tobytes() for _, image in islice(parity_views(), 16)]
    second = [image.tobytes() for _, image in islice(parity_views(), 16)]
    short = [(name, image.tobytes()) for name, image in calibration_views(4)]
    long = [(name, image.tobytes()) for name, image in calibration_views(9)]

    assert first == second
    assert short == long[:4]


def test_calibration_is_128_distinct_views() -> None:
    """The largest default set repeats no name and no picture."""
    views = list(calibration_views(128))

    assert len({name for name, _ in views}) == 128
    assert len({image.tobytes() for _, image in views}) == 128


def test_calibration_and_parity_share_no_photograph() -> None:
    """Not by file, and not by picture: the stereo pair stays together."""
    assert not set(PARITY_PHOTOGRAPHS) & set(CALIBRATION_PHOTOGRAPHS)
    assert {"motorcycle_left.png", "motorcycle_right.png"} <= set(CALIBRATION_PHOTOGRAPHS)


def test_scikit_image_itself_is_not_imported() -> None:
    """The files are opened in place."""
    code = (
        "import sys; from converter.models.photographs import parity_views; next(parity_views()); print(*sys.modules)"
    )

    imported = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()

    assert "skimage" not in imported
    assert "torch" not in imported


def test_no_calibration_sample_is_refused() -> None:
    """Asking for none is a mistake, not an empty set."""
    with pytest.raises(UsageError, match="0 calibration samples"):
        calibration_views(0)


def test_a_folder_gives_its_images_by_name_upright_and_rgb(tmp_path: Path) -> None:
    """Grey becomes RGB, the EXIF orientation is applied, other files are left out."""
    Image.new("L", (30, 20), 7).save(tmp_path / "b.png")
    turned = Image.new("RGB", (30, 20))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "a.JPG", exif=exif)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "._b.png").write_text("left by macOS")

    images = list(folder_images(tmp_path))

    assert [name for name, _ in images] == ["a.JPG", "b.png"]
    assert [image.size for _, image in images] == [(20, 30), (30, 20)]
    assert all(image.mode == "RGB" for _, image in images)


@pytest.mark.parametrize("folder", ["", "missing"])
def test_an_empty_or_missing_folder_is_refused(tmp_path: Path, folder: str) -> None:
    """The message names the folder and the kinds of files that are looked for."""
    with pytest.raises(UsageError, match=r"\.jpg"):
        folder_images(tmp_path / folder)


@pytest.mark.parametrize("keep", [0, 40, 700])
def test_a_broken_image_is_refused_by_name(tmp_path: Path, keep: int) -> None:
    """Empty, foreign or truncated: the message names the file and says what to do."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "broken.jpg")
    whole = (tmp_path / "broken.jpg").read_bytes()
    (tmp_path / "broken.jpg").write_bytes(whole[:keep])

    with pytest.raises(UsageError, match=r"broken\.jpg.*repair or remove"):
        list(folder_images(tmp_path))
