from __future__ import annotations

import copy
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch.nn import functional

from converter.errors import ConversionError
from converter.records import TOWERS, Tower
from converter.rewrites.tower import rewrite_tower, rewrites_of
from tests.rewrites.measuring import pictures, run, texts
from tests.tiny import tiny_clip

BOUND = 5e-6
"""Largest difference of unit-length embeddings; 2e-6 was measured, 1e-6 of it the original's own rounding."""


def _samples(tower: Tower) -> torch.Tensor:
    return pictures(5) if tower == "image" else texts(1, 9, 30, 60, 76)


def _reference(clip: Any, tower: Tower) -> torch.Tensor:
    encode = clip.encode_image if tower == "image" else clip.encode_text
    return functional.normalize(run(encode, _samples(tower)), dim=-1)


def _off(clip: Any, tower: Tower, module: Any) -> float:
    return float((_reference(clip, tower) - run(module, _samples(tower))).abs().max())


@pytest.mark.parametrize(("tower", "causal"), [("image", False), ("text", False), ("text", True)])
def test_a_rewritten_tower_is_the_same_model(tower: Tower, causal: bool) -> None:
    """Eager, traced from one sample and scripted, it agrees with the untouched model on five."""
    clip = tiny_clip(causal=causal)
    rewritten = rewrite_tower(clip, tower)
    traced = torch.jit.trace(rewritten, (_samples(tower)[:1],), check_trace=False)

    assert _off(clip, tower, rewritten) < BOUND
    assert _off(clip, tower, traced) < BOUND
    assert _off(clip, tower, torch.jit.script(rewritten)) < BOUND


@pytest.mark.parametrize("tower", TOWERS)
def test_the_samples_can_be_told_apart(tower: Tower) -> None:
    """The comparison above proves something: embeddings spread by 0.2 and more."""
    embeddings = _reference(tiny_clip(), tower)

    assert (embeddings - embeddings.mean(0)).norm(dim=1).mean() > 0.2


@pytest.mark.parametrize("tower", TOWERS)
def test_the_original_is_untouched(tower: Tower) -> None:
    """Weights, mode and class of the model stay as they were."""
    clip = tiny_clip(causal=True)
    before = copy.deepcopy(clip.state_dict())
    names = [name for name, _ in clip.named_modules()]

    rewrite_tower(clip, tower)

    assert [name for name, _ in clip.named_modules()] == names
    assert all(torch.equal(before[name], value) for name, value in clip.state_dict().items())
    assert torch.isneginf(clip.text.attn_mask).any()


@pytest.mark.parametrize("tower", TOWERS)
def test_applied_rewrites_are_named_in_order(tower: Tower) -> None:
    """What was applied is a part of what could have been, and ends in unit length."""
    applied = rewrite_tower(tiny_clip(), tower).applied

    assert [name for name in rewrites_of(tower) if name in applied] == list(applied)
    assert applied[-1] == "R7 unit-length output"
    assert len(set(applied)) == len(applied)


@pytest.mark.parametrize("tower", TOWERS)
def test_training_mode_is_refused(tower: Tower) -> None:
    """A model in training mode has dropout and unsettled norms."""
    with pytest.raises(ConversionError, match=rf"{tower} tower is in training mode"):
        rewrite_tower(tiny_clip().train(), tower)


@pytest.mark.parametrize("tower", TOWERS)
def test_the_same_model_gives_the_same_weights(tower: Tower) -> None:
    """Rewriting is deterministic, bit by bit."""
    one, two = (rewrite_tower(tiny_clip(), tower).state_dict() for _ in range(2))

    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_importing_the_room_needs_no_torch() -> None:
    """Naming the rewrites' entry must not cost the seconds that torch takes."""
    code = "import sys, converter.rewrites.tower; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("tower", TOWERS)
def test_twin_one_changed_weight_shows(tower: Tower) -> None:
    """A tower with one layer off is not taken for equal."""
    clip = tiny_clip()
    rewritten = rewrite_tower(clip, tower)
    largest = max(rewritten.parameters(), key=lambda parameter: parameter.ndim * 1000 - parameter.numel() / 1e6)
    largest[0] += 0.1

    assert _off(clip, tower, rewritten) > 10 * BOUND
