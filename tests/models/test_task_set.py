"""The task's scenes are held out, shared with no other set, and every image has one caption that fits it alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from converter.config import load_models
from converter.models.samples import load_inputs, load_names, stress_count
from converter.models.scenes import (
    Scene,
    calibration_scenes,
    held_out_scenes,
    is_held_out,
    kinds,
    parity_captions,
    parity_scenes,
    prompts,
)
from converter.models.task_set import task_scenes, task_texts, write_task_images, write_task_texts

SPEC = load_models()["mobileclip_nano"]


@pytest.fixture(scope="module")
def drawn() -> tuple[Scene, ...]:
    return task_scenes()


def test_every_held_out_kind_comes_equally_often(drawn: tuple[Scene, ...]) -> None:
    """Ten images each of 72 kinds; the same ones every time."""
    assert set(Counter(scene.kind for scene in drawn).values()) == {10}
    assert len(drawn) == 720
    assert drawn == task_scenes()


def test_it_shares_nothing_with_calibration_and_parity(drawn: tuple[Scene, ...]) -> None:
    """No kind that training or calibration draws, no picture of parity's, no caption of parity's."""
    assert all(is_held_out(scene.kind) for scene in drawn)
    assert not {scene.kind for scene in drawn} & {scene.kind for scene in calibration_scenes(128)}
    assert not {scene.seed for scene in drawn} & {scene.seed for scene in parity_scenes()}
    assert not set(task_texts(drawn)) & set(parity_captions())


def test_scenes_drawn_by_another_seed_alone_would_share_captions() -> None:
    """The twin: without leaving out what parity describes, some captions are the same."""
    scenes = [scene for _, scene in zip(range(720), held_out_scenes(5), strict=False)]

    assert set(task_texts(tuple(scenes))) & set(parity_captions())


def test_no_caption_fits_two_images(drawn: tuple[Scene, ...]) -> None:
    """Otherwise the right answer of a retrieval would not be known."""
    assert len({scene.description for scene in drawn}) == len(drawn)


def test_files_hold_what_towers_take(tmp_path: Path) -> None:
    """A caption for each image in its order, then each kind's prompts; no stress samples."""
    scenes = task_scenes(1)
    write_task_images(scenes, SPEC.preprocessing, tmp_path / "image.npz")
    write_task_texts(scenes, SPEC, tmp_path / "text.npz")

    assert load_inputs(tmp_path / "image.npz")["image"].shape == (72, 3, 64, 64)
    assert load_inputs(tmp_path / "text.npz")["tokens"].shape == (72 + 72 * 5, 77)
    assert load_names(tmp_path / "text.npz")[72:77] == list(prompts(kinds(held_out=True)[0]))
    assert stress_count(tmp_path / "image.npz") == 0
