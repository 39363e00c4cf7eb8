"""The text tower of MobileCLIP-S0 is the model it should be, can be trained, and survives every exporter."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from converter.models.mct import MctText, TokenMixer
from converter.rewrites.tower import rewrite_tower
from tests.conftest import run_each, save_tower
from tests.converted import onnx_of, tflite_of
from tests.rewrites.measuring import ROUNDING, difference, run, texts
from tests.tiny_mct import tiny_mct_clip

BOUND = 5e-6
"""Largest difference of unit-length embeddings; 3e-7 was measured."""
ENDS = (1, 9, 30, 60, 75)


def embedded(clip: Any, tokens: torch.Tensor) -> torch.Tensor:
    """Unit-length embeddings of the untouched model."""
    return functional.normalize(run(clip.encode_text, tokens), dim=-1)


def off(one: Any, other: Any) -> float:
    """Largest difference of two sets of embeddings."""
    return float(np.abs(np.asarray(one) - np.asarray(other)).max())


@pytest.mark.parametrize("causal", [False, True])
def test_a_rewritten_tower_is_the_same_model(causal: bool) -> None:
    """Eager, traced from one sample and scripted, it agrees with the untouched one on five texts."""
    clip, tokens = tiny_mct_clip(causal=causal), texts(*ENDS)
    rewritten: Any = rewrite_tower(clip, "text")
    traced = torch.jit.trace(rewritten, (tokens[:1],), check_trace=False)

    for module in (rewritten, traced, torch.jit.script(rewritten)):
        assert off(embedded(clip, tokens), run(module, tokens)) < BOUND
    assert {title.split()[0] for title in rewritten.applied} >= {"R1", "R2", "R3", "R4", "R7", "R9"}


def test_the_samples_can_be_told_apart() -> None:
    """The comparisons here prove something."""
    embeddings = embedded(tiny_mct_clip(), texts(*ENDS))

    assert (embeddings - embeddings.mean(0)).norm(dim=1).mean() > 0.2


def test_a_mixer_becomes_one_convolution() -> None:
    """The same numbers from one convolution with bias, nothing else left."""
    mixer: Any = tiny_mct_clip().text.transformer.first.token_mixer
    x = torch.randn(2, 32, 1, 77, generator=torch.Generator().manual_seed(1))
    merged = copy.deepcopy(mixer)

    merged.reparameterize()

    assert difference(run(mixer, x), run(merged, x)) < ROUNDING
    assert sorted(merged.state_dict()) == ["reparam_conv.bias", "reparam_conv.weight"]


@pytest.mark.parametrize("part", ["skip", "norm", "branch.bn"])
def test_a_branch_with_other_statistics_shows(part: str) -> None:
    """Twin: each of the three branches has its share in the merged convolution."""
    mixer: TokenMixer = tiny_mct_clip().text.transformer.first.token_mixer
    x = torch.randn(2, 32, 1, 77, generator=torch.Generator().manual_seed(1))
    merged = copy.deepcopy(mixer)
    merged.get_submodule(part).running_mean.add_(0.3)

    merged.reparameterize()

    assert difference(run(mixer, x), run(merged, x)) > 10 * ROUNDING


def test_a_text_ends_at_its_largest_token() -> None:
    """What follows the end counts only through the convolutions: another token far behind it changes little."""
    clip = tiny_mct_clip(causal=True)
    tokens = texts(9)
    far = tokens.clone()
    far[0, 70] = 5

    assert torch.equal(run(clip.encode_text, tokens), run(clip.encode_text, far))
    far[0, 9], far[0, 8] = 7, 49407
    assert not torch.allclose(run(clip.encode_text, tokens), run(clip.encode_text, far), atol=1e-3)


def test_it_learns_from_scratch() -> None:
    """Thirty steps on eight texts bring the contrastive loss well below chance, from its own initial weights."""
    torch.manual_seed(0)
    text = MctText(embed_dim=16, width=32, heads=2, layers=1, vocab_size=60)
    tokens = torch.randint(1, 58, (8, 77))
    tokens[:, 20], tokens[:, 21:] = 59, 0
    wanted, labels = torch.eye(8, 16), torch.arange(8)
    optimizer = torch.optim.AdamW(text.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        logits = 10.0 * functional.normalize(text(tokens), dim=-1) @ wanted.T
        loss = functional.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))

    assert losses[0] > 1.5
    assert losses[-1] < 0.5


def test_no_memory_is_needed_to_know_its_shapes() -> None:
    """It can be built without numbers, and has those of MobileCLIP-S0."""
    with torch.device("meta"):
        text = MctText(embed_dim=512, width=512, heads=8, layers=4)

    assert sum(parameter.numel() for parameter in text.parameters()) == 42_441_216
    assert len(text.state_dict()) == 109


def test_onnx_and_tflite_hold_the_same_model(tmp_path: Path) -> None:
    """Through the real stages, with ops of the runtimes' own."""
    pytest.importorskip("onnx2tf", reason="needs the extra mcconvert[tflite]")
    from converter.runtimes import onnx, tflite
    from converter.tflite_file import read_model
    from converter.tflite_graph import foreign_ops

    clip, tokens = tiny_mct_clip(), texts(*ENDS)
    parent = save_tower(clip, "text", tmp_path)
    reference, other = embedded(clip, tokens), embedded(tiny_mct_clip(seed=1), tokens)

    for artifact, runtime in ((onnx_of(parent, tmp_path / "onnx"), onnx), (tflite_of(parent, tmp_path), tflite)):
        with runtime.open_runner(artifact, threads=1) as runner:
            embeddings = run_each(runner, {"tokens": tokens.numpy()})
        assert off(reference, embeddings) < BOUND
        assert off(other, embeddings) > 0.1
    assert (tmp_path / "tower.scripted.pt").exists()
    assert not foreign_ops(read_model(artifact.path))
