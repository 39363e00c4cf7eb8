from __future__ import annotations

import copy

import pytest
import torch
from timm.models.fastvit import MobileOneBlock, RepMixer
from torch import nn

from converter.errors import ConversionError
from converter.rewrites import reparameterize
from tests.rewrites.measuring import ROUNDING, difference, pictures, run
from tests.tiny import tiny_clip


def test_a_tower_without_branches_gives_the_same() -> None:
    """All branches of the toy tower merge, within float32 rounding."""
    original = tiny_clip().visual
    image = pictures()

    merged = reparameterize.apply(copy.deepcopy(original), image[:1])

    assert not reparameterize.applies(merged)
    assert difference(run(original, image), run(merged, image)) < ROUNDING
    assert {parameter.dtype for parameter in merged.parameters()} == {torch.float32}


def test_fewer_convolutions_are_left() -> None:
    """It really merges: the training branches are gone."""
    original = tiny_clip().visual
    merged = reparameterize.apply(copy.deepcopy(original), pictures(1))

    count = [sum(isinstance(module, nn.Conv2d) for module in tower.modules()) for tower in (original, merged)]

    assert count[1] < count[0]


def test_leftover_tensors_are_dropped() -> None:
    """A scripted file must not carry the identity kernels of the arithmetic."""
    merged = reparameterize.apply(tiny_clip().visual, pictures(1))

    assert not any("id_tensor" in vars(module) for module in merged.modules())


def test_a_merged_tower_is_left_alone() -> None:
    """Twice is as once."""
    once = reparameterize.apply(tiny_clip().visual, pictures(1))
    before = run(once, pictures())

    twice = reparameterize.apply(once, pictures(1))

    assert torch.equal(run(twice, pictures()), before)


def test_training_mode_is_refused() -> None:
    """Statistics of a norm in training mode are those of the last batch."""
    with pytest.raises(ConversionError, match="training mode"):
        reparameterize.apply(tiny_clip().visual.train(), pictures(1))


@pytest.mark.parametrize("block", [MobileOneBlock(8, 8, 3, group_size=1), RepMixer(8)])
def test_twin_a_lost_branch_shows(block: nn.Module) -> None:
    """A block merged without its identity branch is not taken for equal."""
    block.eval()
    norm = next(module for module in block.modules() if isinstance(module, nn.BatchNorm2d))
    x = torch.rand(2, 8, 9, 9, generator=torch.Generator().manual_seed(1))
    before = run(block, x)
    with torch.no_grad():
        norm.weight.zero_()
        for module in block.modules():
            if hasattr(module, "gamma"):
                module.gamma.fill_(0.3)

    merged = reparameterize.apply(nn.Sequential(block), x)

    assert difference(before, run(merged, x)) > 100 * ROUNDING
