"""Weights of Apple's own MobileCLIP-B get the settings that Apple trained them with; nothing else does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from converter.models.apple_vit import EPSILON, PADDING, as_apple_computes
from converter.models.building import build
from converter.models.checkpoint import load_weights
from converter.models.layout_rules import to_theirs
from converter.models.layouts import APPLE
from converter.records import ModelSpec, Weights

APPLES_B = APPLE[2]


def settings(model: Any) -> tuple[Any, float]:
    trunk = model.visual.trunk
    return trunk.patch_embed.backbone[0].conv.padding, trunk.norm.eps


def test_a_checkpoint_decides_by_its_names(specs: Mapping[str, ModelSpec], tmp_path: Path) -> None:
    """In Apple's layout the model computes as Apple's does, in open_clip's as open_clip's; shapes stay."""
    spec = specs["mobileclip_b"]
    model = build(spec)
    state = {name: tensor.half() for name, tensor in model.state_dict().items()}
    for name, content in (("ours.pt", state), ("apples.pt", to_theirs(APPLES_B, state))):
        torch.save(content, tmp_path / name)
        load_weights(model, Weights(kind="file", path=str(tmp_path / name), sha256="0" * 64, trained=True), spec, ())

        assert settings(model) == ((PADDING, EPSILON) if name == "apples.pt" else ((0, 0), 1e-6))
    with torch.inference_mode():
        assert model.visual(torch.rand(1, 3, 224, 224)).shape == (1, spec.embed_dim)


def test_other_image_towers_are_left_alone(specs: Mapping[str, ModelSpec]) -> None:
    """FastViT computes alike in both."""
    with torch.device("meta"):
        model = build(specs["mobileclip2_s0"])

    assert not as_apple_computes(model)
