from __future__ import annotations

import copy

import torch

from converter.rewrites import causal_mask
from tests.rewrites.measuring import difference, run, texts
from tests.tiny import tiny_clip


def test_a_finite_mask_gives_the_same() -> None:
    """A causal tower is bit by bit the same."""
    original = tiny_clip(causal=True).text
    tokens = texts(1, 9, 76)
    assert causal_mask.applies(original)

    finite = causal_mask.apply(copy.deepcopy(original), tokens[:1])

    assert not causal_mask.applies(finite)
    assert torch.equal(run(original, tokens), run(finite, tokens))


def test_masked_scores_weigh_nothing() -> None:
    """Up to the gap that rule 2 names, the masked weight is exactly 0 in float32, and in float16."""
    scores = torch.tensor([[0.0, 150.0 + causal_mask.MASKED]])

    assert torch.softmax(scores, dim=-1).tolist() == [[1.0, 0.0]]
    assert torch.softmax(scores.half(), dim=-1).tolist() == [[1.0, 0.0]]


def test_a_tower_without_a_mask_is_left_alone() -> None:
    """Towers that see the whole text have nothing to change."""
    assert not causal_mask.applies(tiny_clip().text)


def test_twin_a_weak_mask_shows() -> None:
    """A mask that lets the future through is not taken for equal."""
    original = tiny_clip(causal=True).text
    tokens = texts(1, 9, 76)
    weak = copy.deepcopy(original)
    weak.attn_mask = torch.full((77, 77), -1.0).triu(1)

    assert difference(run(original, tokens), run(weak, tokens)) > 1e-3
