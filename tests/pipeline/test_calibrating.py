"""A user's calibration samples meet the tower before anything is quantized with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converter.pipeline.calibrating import Given, cautions_of
from tests.converted import patchwork, write_calibration
from tests.tiny import TINY_IMAGE_SIZE, tiny_clip


@pytest.fixture(scope="module")
def tower() -> Any:
    """The toy image tower, rewritten."""
    from converter.rewrites.tower import rewrite_tower

    return rewrite_tower(tiny_clip(), "image")


def given(folder: Path, pictures: np.ndarray[Any, Any], cautions: tuple[str, ...] = ()) -> Given:
    """These pictures in place of sixteen of coloured squares."""
    return Given(
        samples=write_calibration("image", {"image": pictures}, folder / "mine.npz"),
        sane=write_calibration("image", patchwork(16, seed=0), folder / "sane.npz"),
        cautions=cautions,
    )


def test_pictures_of_the_same_kind_are_no_cause_for_caution(tower: Any, tmp_path: Path) -> None:
    """Other squares move no layer far; what was noticed before is kept; built-in samples have nothing to be noticed."""
    assert cautions_of(given(tmp_path, patchwork(16, seed=1)["image"]), tower) == ()
    assert cautions_of(given(tmp_path, patchwork(16, seed=1)["image"], ("few",)), tower) == ("few",)
    assert cautions_of(None, tower) == ()


def test_pictures_without_contrast_move_many_layers(tower: Any, tmp_path: Path) -> None:
    """The twin: even greys."""
    (caution,) = cautions_of(given(tmp_path, np.full_like(patchwork(16, seed=1)["image"], 0.5)), tower)

    assert "layers reach less than half or more than twice as far as on the built-in ones" in caution


def test_the_tower_is_left_without_hooks(tower: Any, tmp_path: Path) -> None:
    """It is traced afterwards."""
    cautions_of(given(tmp_path, np.zeros((2, 3, TINY_IMAGE_SIZE, TINY_IMAGE_SIZE), np.float32)), tower)

    assert not [name for name, module in tower.named_modules() if module._forward_hooks]
