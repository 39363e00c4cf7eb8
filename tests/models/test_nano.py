"""The weights that come with mcconvert are small, are those that the YAML names, and know what they have never seen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from converter.config import load_models
from converter.files import hash_path
from converter.models.building import build
from converter.models.checkpoint import read_state_dict
from converter.models.token_rows import IDS, ROWS
from converter.records import ModelSpec
from tests.training import train_nano

ROOT = Path(__file__).parents[2]
MEGABYTE = 10**6


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    """The bundled model."""
    return load_models()["mobileclip_nano"]


@pytest.fixture(scope="module")
def weights(spec: ModelSpec) -> Path:
    """Its weights file."""
    return ROOT / "converter" / "models" / "bundled" / spec.bundled


def test_the_file_is_small_and_the_one_that_the_yaml_names(spec: ModelSpec, weights: Path) -> None:
    """Below 3 MB, and its sha256."""
    sha256, size_bytes = hash_path(weights)

    assert sha256 == spec.sha256
    assert size_bytes < 3 * MEGABYTE


def test_it_loads_strictly_and_is_finite(spec: ModelSpec, weights: Path) -> None:
    """Every tensor, and the parameters are as many as the YAML says."""
    model = build(spec)
    model.load_state_dict(read_state_dict(weights), strict=True)

    counts = {tower: sum(p.numel() for p in part.parameters()) for tower, part in _towers(model).items()}

    assert counts == dict(spec.parameters)
    assert all(bool(tensor.isfinite().all()) for tensor in model.state_dict().values())


def test_it_stores_the_rows_of_few_tokens(weights: Path) -> None:
    """None of them zero."""
    state = load_file(weights)

    assert len(state[IDS]) == len(state[ROWS]) < 100
    assert bool((state[ROWS].abs().sum(dim=1) > 0).all())


def test_it_recognises_kinds_that_training_never_drew(spec: ModelSpec, weights: Path) -> None:
    """Far above chance: 1.4 % for one of 72 kinds, 0.4 % for one of 256 captions or images."""
    scores = _scores(weights, spec)

    assert scores["zero_shot"] > 0.6
    assert min(scores["image_to_text_recall_at_1"], scores["text_to_image_recall_at_1"]) > 0.6


def test_the_scores_fall_to_chance_with_the_words_mixed_up(spec: ModelSpec, weights: Path, tmp_path: Path) -> None:
    """The twin: the same file, but each word has another's embedding."""
    state = load_file(weights)
    middle = torch.from_numpy(np.random.default_rng(0).permutation(len(state[ROWS]) - 3) + 1)
    state[ROWS][1:-2] = state[ROWS][middle]
    save_file(state, tmp_path / "mixed.safetensors")

    scores = _scores(tmp_path / "mixed.safetensors", spec)

    assert max(scores["zero_shot"], scores["text_to_image_recall_at_1"]) < 0.2


def _scores(weights: Path, spec: ModelSpec) -> Mapping[str, float]:
    scores: Mapping[str, float] = train_nano().evaluate(train_nano().load(weights, spec), spec)
    return scores


def _towers(model: torch.nn.Module) -> dict[str, torch.nn.Module]:
    return {"image": model.visual, "text": model.text}
