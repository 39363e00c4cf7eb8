from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from open_clip.modified_resnet import Bottleneck as ClipBottleneck
from timm.layers import BatchNormAct2d, ConvNormAct
from timm.models._efficientnet_blocks import DepthwiseSeparableConv, InvertedResidual
from timm.models.resnet import BasicBlock, Bottleneck
from torch import nn

from converter.errors import ConversionError
from converter.rewrites import batch_norm
from tests.rewrites.measuring import ROUNDING, difference, pictures, run
from tests.tiny import tiny_clip


def _lively(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(2)
    for norm in (one for one in module.modules() if isinstance(one, nn.BatchNorm2d)):
        if norm.running_mean is not None and norm.running_var is not None:
            norm.running_mean.normal_(0.0, 1.0, generator=generator)
            norm.running_var.uniform_(0.1, 3.0, generator=generator)
        if norm.affine:
            nn.init.normal_(norm.weight, 1.0, 0.5, generator=generator)
            nn.init.normal_(norm.bias, 0.0, 1.0, generator=generator)
    return module.eval()


CASES: dict[str, Any] = {
    "timm pair without activation": lambda: ConvNormAct(3, 8, 3, apply_act=False),
    "timm pair with activation": lambda: ConvNormAct(3, 8, 3, stride=2, act_layer=nn.GELU),
    "neighbours": lambda: nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU()),
    "convolution with bias": lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)),
    "norm without weights": lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, affine=False)),
    "groups and dilation": lambda: nn.Sequential(nn.Conv2d(3, 9, 3, groups=3, dilation=2), nn.BatchNorm2d(9)),
    "two pairs in a row": lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1), BatchNormAct2d(4, act_layer=nn.SiLU)
    ),
    "a pair inside a pair's neighbour": lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Sequential(ConvNormAct(8, 4, 3))
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_folded_pairs_give_the_same(case: str) -> None:
    """Every kind of pair folds within float32 rounding, and no batch norm is left."""
    module = _lively(nn.Sequential(CASES[case]()))
    x = pictures(2, 16)
    before = run(module, x)
    assert batch_norm.applies(module)

    folded = batch_norm.apply(module, x)

    assert difference(before, run(folded, x)) < ROUNDING
    assert not any(isinstance(one, nn.BatchNorm2d) for one in folded.modules())


BLOCKS: dict[str, Any] = {
    "OpenAI's bottleneck": lambda: ClipBottleneck(16, 8, stride=2),
    "timm's basic block": lambda: BasicBlock(16, 16),
    "timm's bottleneck": lambda: Bottleneck(16, 4),
    "MobileNet's inverted residual": lambda: InvertedResidual(16, 16, noskip=True),
    "MobileNet's separable convolution": lambda: DepthwiseSeparableConv(16, 8),
}


@pytest.mark.parametrize("block", BLOCKS)
def test_pairs_that_a_block_keeps_under_names_fold(block: str) -> None:
    """Convolution and norm are attributes side by side; activations inside the norm stay."""
    module = _lively(nn.Sequential(nn.Conv2d(3, 16, 1), BLOCKS[block]()))
    x = pictures(2, 16)
    before = run(module, x)
    assert batch_norm.applies(module)

    folded = batch_norm.apply(module, x)

    assert difference(before, run(folded, x)) < ROUNDING
    assert not any(isinstance(one, nn.BatchNorm2d) for one in folded.modules())
    assert not batch_norm.applies(folded)


def test_a_block_s_subclass_is_left_alone() -> None:
    """Its `forward` may use the same attributes in another order."""

    class Other(BasicBlock):
        pass

    assert not batch_norm.applies(_lively(nn.Sequential(Other(16, 16))))


def test_a_norm_that_stands_alone_stays() -> None:
    """A norm before attention has no convolution to be folded into."""
    module = _lively(nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1)))

    assert not batch_norm.applies(module)


def test_a_norm_of_batch_statistics_stays() -> None:
    """Without running statistics the norm depends on the batch."""
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)).eval()

    assert not batch_norm.applies(module)
    with pytest.raises(ConversionError, match="running statistics"):
        batch_norm.fold_pair(module[0], module[1])


def test_training_mode_is_refused() -> None:
    """Statistics are not settled before eval()."""
    with pytest.raises(ConversionError, match="training mode"):
        batch_norm.apply(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).train(), pictures(1))


def test_only_attention_keeps_its_norm_in_the_toy_tower() -> None:
    """In the whole tower all but the one norm before attention fold."""
    from converter.rewrites import reparameterize

    original = tiny_clip().visual
    merged = reparameterize.apply(copy.deepcopy(original), pictures(1))

    folded = batch_norm.apply(merged, pictures(1))

    norms = [name for name, module in folded.named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms == ["trunk.stages.3.blocks.0.norm"]
    assert difference(run(original, pictures()), run(folded, pictures())) < ROUNDING


def test_twin_a_forgotten_epsilon_shows() -> None:
    """Folding with another epsilon is not taken for equal."""
    module = _lively(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, eps=0.1)))
    x = pictures(2, 16)
    before = run(module, x)
    module[1].eps = 1e-5

    folded = batch_norm.apply(module, x)

    assert difference(before, run(folded, x)) > 100 * ROUNDING
