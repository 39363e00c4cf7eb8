from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from open_clip.timm_model import TimmModel
from timm.layers import HybridEmbed
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_hybrid import ConvStem
from torch import nn

from converter.rewrites import attention, batch_norm, vision_tokens
from tests.rewrites.measuring import ROUNDING, difference, pictures, run


def _wrapped(trunk: nn.Module) -> Any:
    generator = torch.Generator().manual_seed(11)
    for parameter in trunk.parameters():
        nn.init.normal_(parameter, 0.1, 0.3, generator=generator)
    wrapper = TimmModel.__new__(TimmModel)
    nn.Module.__init__(wrapper)
    wrapper.image_size, wrapper.trunk, wrapper.head = (64, 64), trunk, nn.Sequential()
    return wrapper.eval()


def _hybrid(**changes: Any) -> Any:
    """As MobileCLIP-B: a stem of convolutions, positions without a row for the class token."""
    stem = ConvStem(channels=(8, 8, 32), stride=(4, 2, 2), kernel_size=(4, 2, 2), padding=0, act_layer=nn.GELU)

    def embed(**kwargs: Any) -> nn.Module:
        return HybridEmbed(stem, proj=False, **kwargs)

    given = {"no_embed_class": True, "embed_layer": embed, "patch_size": 1, "global_pool": "token", **changes}
    return _wrapped(VisionTransformer(64, embed_dim=32, depth=2, num_heads=2, num_classes=16, **given))


def _plain() -> Any:
    """As MobileCLIP2-L-14: one patch convolution, a norm before the blocks, a position for the class token."""
    return _wrapped(
        VisionTransformer(
            64, 16, embed_dim=32, depth=2, num_heads=2, num_classes=16, pre_norm=True, global_pool="token"
        )
    )


@pytest.mark.parametrize("build", [_hybrid, _plain])
def test_the_static_tower_gives_exactly_the_same(build: Any) -> None:
    """Bit by bit, for one sample and for several."""
    original = build()
    image = pictures()
    assert vision_tokens.applies(original)

    static = vision_tokens.apply(copy.deepcopy(original), image[:1])

    assert torch.equal(run(original, image), run(static, image))
    assert not vision_tokens.applies(static)


@pytest.mark.parametrize("build", [_hybrid, _plain])
def test_a_trace_of_one_sample_serves_five(build: Any) -> None:
    """With explicit attention nothing in the trace depends on the batch; it scripts, too."""
    original = build()
    image = pictures(5)
    static = vision_tokens.apply(batch_norm.apply(copy.deepcopy(original), image[:1]), image[:1])
    static = attention.apply(static, image[:1]).requires_grad_(False)

    traced = torch.jit.trace(static, (image[:1],), check_trace=False)

    assert difference(run(original, image), run(traced, image)) < ROUNDING
    assert difference(run(original, image), run(torch.jit.script(static), image)) < ROUNDING
    kinds = {node.kind() for node in traced.inlined_graph.nodes()}
    assert not kinds & {"aten::size", "aten::slice", "aten::select", "aten::expand"}


@pytest.mark.parametrize(
    "changes",
    [
        {"global_pool": "avg"},
        {"global_pool": "avg", "class_token": False},
        {"global_pool": "avg", "reg_tokens": 2, "no_embed_class": False},
        {"reg_tokens": 2},
        {"reg_tokens": 2, "no_embed_class": False},
        {"pos_embed": "none"},
        {"dynamic_img_size": True},
    ],
)
def test_other_tokens_and_means_give_the_same(changes: dict[str, Any]) -> None:
    """Register tokens, no class token, no positions, the mean of the patches; for one sample and for several."""
    original = _wrapped(
        VisionTransformer(
            64, 16, embed_dim=32, depth=2, num_heads=2, num_classes=16,
            **{"no_embed_class": True, "global_pool": "token", **changes},
        )
    )  # fmt: skip
    static = vision_tokens.apply(copy.deepcopy(original), pictures(1))

    assert difference(run(original, pictures()), run(static, pictures())) < ROUNDING
    assert not vision_tokens.applies(static)


@pytest.mark.parametrize("changes", [{"global_pool": "max"}, {"global_pool": "map"}, {"dynamic_img_pad": True}])
def test_other_transformers_are_left_alone(changes: dict[str, Any]) -> None:
    """What cannot be made static is not rewritten wrongly, and not refused either."""
    original = _wrapped(VisionTransformer(64, 16, embed_dim=32, depth=1, num_heads=2, num_classes=16, **changes))

    assert not vision_tokens.applies(original)
    assert vision_tokens.apply(original, pictures(1)) is original
    assert type(original.trunk) is VisionTransformer


def test_a_subclass_is_left_alone() -> None:
    """It may compute anything."""

    class Other(VisionTransformer):
        pass

    assert not vision_tokens.applies(_wrapped(Other(64, 16, embed_dim=32, depth=1, num_heads=2, num_classes=16)))


def test_twin_a_class_token_in_the_wrong_place_shows() -> None:
    """A tower that pools another row is not taken for equal."""
    original = _hybrid()
    static = vision_tokens.apply(copy.deepcopy(original), pictures(1))
    static.trunk.weights.copy_(static.trunk.weights.roll(1, 0))

    assert difference(run(original, pictures()), run(static, pictures())) > 100 * ROUNDING
