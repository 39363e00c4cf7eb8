from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from open_clip.modified_resnet import AttentionPool2d
from open_clip.transformer import Transformer
from timm.models.fastvit import Attention as GridAttention
from timm.models.vision_transformer import Block
from torch import nn

from converter.rewrites import attention
from tests.rewrites.measuring import ROUNDING, difference, run

TOKENS, WIDTH = 7, 32


def _drawn(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(3)
    for parameter in module.parameters():
        nn.init.normal_(parameter, 0.0, 0.3, generator=generator)
    return module.eval()


def _rows(count: int = 3) -> torch.Tensor:
    return torch.randn(count, TOKENS, WIDTH, generator=torch.Generator().manual_seed(4))


CASES: dict[str, Any] = {
    "open_clip": lambda: Transformer(WIDTH, 2, 4),
    "timm": lambda: nn.Sequential(Block(WIDTH, 4, qkv_bias=True), Block(WIDTH, 4, qkv_bias=False, init_values=0.3)),
}


@pytest.mark.parametrize("case", CASES)
def test_blocks_with_explicit_attention_give_the_same(case: str) -> None:
    """Blocks of both libraries agree within float32 rounding, for one sample and for several."""
    module = _drawn(CASES[case]())
    before = run(module, _rows())
    assert attention.applies(module)

    explicit = attention.apply(copy.deepcopy(module), _rows(1))

    assert difference(before, run(explicit, _rows())) < ROUNDING
    assert not attention.applies(explicit)


def test_a_mask_is_added_to_the_scores() -> None:
    """Masked attention agrees too."""
    module = _drawn(Transformer(WIDTH, 2, 4))
    mask = torch.full((TOKENS, TOKENS), -256.0).triu(1)
    with torch.no_grad():
        before = module(_rows(), attn_mask=mask)

    explicit = attention.apply(copy.deepcopy(module), _rows(1))

    assert difference(before, run(explicit, _rows(), mask)) < ROUNDING
    assert difference(before, run(explicit, _rows())) > 100 * ROUNDING


def test_attention_on_a_grid_gives_the_same() -> None:
    """FastViT's attention agrees on a grid that is not square."""
    module = _drawn(nn.Sequential(GridAttention(64)))
    x = torch.randn(3, 64, 3, 5, generator=torch.Generator().manual_seed(4))

    explicit = attention.apply(copy.deepcopy(module), x[:1])

    assert difference(run(module, x), run(explicit, x)) < ROUNDING


@pytest.mark.parametrize("case", CASES)
def test_a_trace_of_one_sample_serves_five(case: str) -> None:
    """No constant of the trace depends on the batch, and no fused or slicing operator is left."""
    explicit = attention.apply(_drawn(CASES[case]()), _rows(1)).requires_grad_(False)

    traced = torch.jit.trace(explicit, (_rows(1),), check_trace=False)

    assert torch.allclose(run(traced, _rows(5)), run(explicit, _rows(5)), atol=1e-6)
    kinds = {node.kind() for node in traced.inlined_graph.nodes()}
    assert not kinds & {
        "aten::scaled_dot_product_attention",
        "aten::unbind",
        "aten::slice",
        "aten::size",
        "aten::chunk",
    }


def _extra_keys() -> Any:
    module = Transformer(WIDTH, 1, 4)
    module.resblocks[0].attn.add_zero_attn = True
    return module


@pytest.mark.parametrize(
    "build",
    [
        lambda: nn.Sequential(Block(WIDTH, 4, qk_norm=True)),
        lambda: nn.Sequential(Block(WIDTH, 4), Block(WIDTH, 4, qk_norm=True)),
        _extra_keys,
        lambda: Transformer(WIDTH, 1, 4, batch_first=False),
        lambda: Transformer(WIDTH, 1, 4, qk_norm=True),
    ],
)
def test_attention_with_other_parts_is_left_alone(build: Any) -> None:
    """What is not known is not rewritten wrongly, and not refused either: it is traced as it is."""
    module = _drawn(build())
    before = [type(one) for one in module.modules()]

    assert not attention.applies(module)
    assert [type(one) for one in attention.apply(module, _rows(1)).modules()] == before


def _pool() -> Any:
    return _drawn(nn.Sequential(AttentionPool2d(3, 64, 4, 16)))


def test_the_attention_pool_of_openai_s_resnets_gives_the_same() -> None:
    """Only the first query is computed, and its row returned; twin: with its position moved it is not the same."""
    module = _pool()
    x = torch.randn(3, 64, 3, 3, generator=torch.Generator().manual_seed(4))

    explicit = attention.apply(copy.deepcopy(module), x[:1])
    traced = torch.jit.trace(explicit.requires_grad_(False), (x[:1],), check_trace=False)

    assert difference(run(module, x), run(explicit, x)) < ROUNDING
    assert difference(run(module, x), run(traced, x)) < ROUNDING
    explicit[0].first.add_(0.1)
    assert difference(run(module, x), run(explicit, x)) > 100 * ROUNDING


def test_projections_are_cut_in_the_order_of_queries_keys_values() -> None:
    """Only queries carry the scale."""
    weight = torch.arange(24.0).reshape(12, 2)
    q, k, v = attention.split_projection(weight, None, heads=1)

    assert torch.equal(q.weight, weight[:4] * 0.5)
    assert torch.equal(torch.cat([k.weight, v.weight]), weight[4:])
    assert not k.bias.any()


def test_twin_swapped_keys_and_values_show() -> None:
    """Attention whose keys and values changed places is not taken for equal."""
    module = _drawn(Transformer(WIDTH, 1, 4))
    explicit = attention.apply(copy.deepcopy(module), _rows(1))
    core = explicit.blocks[0].attn
    core.k, core.v = core.v, core.k

    assert difference(run(module, _rows()), run(explicit, _rows())) > 100 * ROUNDING
