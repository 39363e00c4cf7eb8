from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from timm.models.convnext import ConvNeXtBlock
from timm.models.fastvit import LayerScale2d

from converter.rewrites import attention, layer_scale
from converter.rewrites.walking import holds
from tests.rewrites.families import awake
from tests.rewrites.measuring import ROUNDING, difference, pictures, run
from tests.tiny import tiny_clip


def _explicit() -> torch.nn.Module:
    return attention.apply(tiny_clip().visual, pictures(1))


def test_folded_scales_give_the_same() -> None:
    """Within float32 rounding; what is left is inside RepMixer, which R1 merges."""
    explicit = _explicit()
    assert layer_scale.applies(explicit)

    folded = layer_scale.apply(copy.deepcopy(explicit), pictures(1))

    assert difference(run(explicit, pictures()), run(folded, pictures())) < ROUNDING
    assert not layer_scale.applies(folded)
    left = [name for name, module in folded.named_modules() if isinstance(module, LayerScale2d)]
    assert left
    assert all(name.endswith("token_mixer.layer_scale") for name in left)


def test_fused_attention_keeps_its_scale() -> None:
    """Before R3 the projection of an attention is not touched."""
    folded = layer_scale.apply(tiny_clip().visual, pictures(1))

    assert holds(folded, lambda module: isinstance(getattr(module, "layer_scale_1", None), LayerScale2d))


@pytest.mark.parametrize("options", [{}, {"conv_mlp": True}, {"use_grn": True}])
def test_a_convnext_block_s_scale_folds(options: dict[str, Any]) -> None:
    """Whether its second layer is a linear or a convolution, with or without response norm."""
    block = awake(torch.nn.Sequential(ConvNeXtBlock(16, ls_init_value=0.3, **options)))
    x = torch.randn(2, 16, 7, 5, generator=torch.Generator().manual_seed(8))
    assert layer_scale.applies(block)

    folded = layer_scale.apply(copy.deepcopy(block), x)

    assert difference(run(block, x), run(folded, x)) < ROUNDING
    assert not layer_scale.applies(folded)


def test_twin_a_scale_folded_twice_shows() -> None:
    """A projection that was scaled once too often is not taken for equal."""
    explicit = _explicit()
    folded = layer_scale.apply(copy.deepcopy(explicit), pictures(1))
    block = folded.trunk.stages[3].blocks[0]
    block.mlp.fc2.weight.mul_(0.3)

    assert difference(run(explicit, pictures()), run(folded, pictures())) > 100 * ROUNDING
