# mypy: allow-subclassing-any
"""R3, explicit attention: separate queries, keys and values of constant shape, and no fused attention operator.

Before: `x -> linear to 3 * width -> 5-D reshape -> unbind -> scaled_dot_product_attention -> linear`, or
`nn.MultiheadAttention`.
After: `rows -> three linears -> reshape to heads -> q @ k (+ mask) -> softmax -> @ v -> reshape to rows -> linear`.

1. The joint projection is cut into three linears, so that no SLICE, GATHER or SQUEEZE is left in the graph.
2. The scale `head_dim ** -0.5` is multiplied into the query projection, in float64, and rounded once.
3. Every reshape has constants and one -1, which is the batch: a trace is right for any batch.
4. Linears see rows, (batch * tokens, width), and have a bias, of zeros if need be: so they become GEMM and
   FULLY_CONNECTED. In three dimensions, or without bias, they become batched products (and additions), and onnx2tf
   2.6 joins q, k and v into one and slices it again.
5. FastViT's attention on (batch, channels, height, width) gets its constants from the tower's input size.
6. Transformer blocks become `PreNormBlock`; dropout and stochastic depth do nothing in eval mode and are left out.
7. Left alone, and traced as it is: attention with normalised queries, gates or a normalised output, separate or extra
   keys, sequence-first blocks.
8. The attention pool of OpenAI's ResNets returns the first token's row alone, so only that query is computed: the mean
   of the grid in front of it. It gets its constants as rule 5 says.

Bound: float32 rounding; the fused operator sums in another order.
"""

from __future__ import annotations

from typing import Any

import torch
from open_clip.modified_resnet import AttentionPool2d
from open_clip.transformer import ResidualAttentionBlock, Transformer
from timm.layers import Attention as TokenAttention
from timm.models.fastvit import Attention as GridAttention
from timm.models.vision_transformer import Block
from torch import nn

from converter.rewrites.layers import linear_of
from converter.rewrites.walking import holds, input_shapes, replace_modules

NUMBER = 3
NAME = "explicit attention with constant shapes"


class ExplicitAttention(nn.Module):
    """Self-attention over (batch * tokens, width) rows; `attn_mask` (tokens, tokens) is added to the scores."""

    def __init__(self, tokens: int, heads: int, qkv: tuple[nn.Linear, nn.Linear, nn.Linear], out: nn.Linear) -> None:
        super().__init__()
        self.tokens, self.heads = tokens, heads
        self.head_dim = qkv[0].out_features // heads
        self.q, self.k, self.v = qkv
        self.out = out

    def forward(self, rows: torch.Tensor, attn_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Mix the tokens of every sample."""
        q = self.q(rows).reshape(-1, self.tokens, self.heads, self.head_dim).permute(0, 2, 1, 3)
        k = self.k(rows).reshape(-1, self.tokens, self.heads, self.head_dim).permute(0, 2, 3, 1)
        v = self.v(rows).reshape(-1, self.tokens, self.heads, self.head_dim).permute(0, 2, 1, 3)
        scores = torch.matmul(q, k)
        if attn_mask is not None:
            scores = scores + attn_mask
        mixed = torch.matmul(torch.softmax(scores, dim=-1), v)
        return self.out(mixed.permute(0, 2, 1, 3).reshape(-1, self.heads * self.head_dim))


class ExplicitGridAttention(nn.Module):
    """The same over (batch, channels, height, width)."""

    def __init__(self, core: ExplicitAttention, channels: int, height: int, width: int) -> None:
        super().__init__()
        self.core = core
        self.channels, self.height, self.width = channels, height, width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Mix the grid points of every sample."""
        rows = x.permute(0, 2, 3, 1).reshape(-1, self.channels)
        return self.core(rows).reshape(-1, self.height, self.width, self.channels).permute(0, 3, 1, 2)


class ExplicitAttentionPool(nn.Module):
    """(batch, channels, height, width) to (batch, out): what the mean of the grid sees in it and in itself (rule 8)."""

    def __init__(self, pool: AttentionPool2d, points: int) -> None:
        super().__init__()
        self.points, self.width, self.heads = points, pool.q_proj.in_features, pool.num_heads
        self.head_dim = self.width // self.heads
        scale = self.head_dim**-0.5
        query, bias = pool.q_proj.weight.detach().double() * scale, pool.q_proj.bias.detach().double() * scale
        self.q, self.k, self.v, self.out = linear_of(query, bias), pool.k_proj, pool.v_proj, pool.c_proj
        self.first = nn.Buffer(pool.positional_embedding.detach()[:1].clone())
        self.others = nn.Buffer(pool.positional_embedding.detach()[1:].clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pool."""
        grid = x.reshape(-1, self.width, self.points).permute(0, 2, 1)
        mean = grid.mean(dim=1, keepdim=True) + self.first
        rows = torch.cat([mean, grid + self.others], dim=1).reshape(-1, self.width)
        q = self.q(mean.reshape(-1, self.width)).reshape(-1, self.heads, 1, self.head_dim)
        k = self.k(rows).reshape(-1, self.points + 1, self.heads, self.head_dim).permute(0, 2, 3, 1)
        v = self.v(rows).reshape(-1, self.points + 1, self.heads, self.head_dim).permute(0, 2, 1, 3)
        mixed = torch.matmul(torch.softmax(torch.matmul(q, k), dim=-1), v)
        return self.out(mixed.reshape(-1, self.width))


class PreNormBlock(nn.Module):
    """A transformer block over rows: `x + scale(attention(norm(x)))`, then `x + scale(mlp(norm(x)))`."""

    def __init__(self, norms: tuple[Any, Any], attn: ExplicitAttention, mlp: Any, scales: tuple[Any, Any]) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = norms
        self.attn, self.mlp = attn, mlp
        self.scale_1, self.scale_2 = scales

    def forward(self, rows: torch.Tensor, attn_mask: torch.Tensor | None = None) -> torch.Tensor:
        """(batch * tokens, width) to the same."""
        rows = rows + self.scale_1(self.attn(self.norm_1(rows), attn_mask))
        return rows + self.scale_2(self.mlp(self.norm_2(rows)))


class RowBlocks(nn.Module):
    """Transformer blocks over (batch, tokens, width), flattened to rows once for all of them."""

    def __init__(self, blocks: list[PreNormBlock], tokens: int, width: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.tokens, self.width = tokens, width

    def forward(self, x: torch.Tensor, attn_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Run the blocks in order."""
        rows = x.reshape(-1, self.width)
        for block in self.blocks:
            rows = block(rows, attn_mask)
        return rows.reshape(-1, self.tokens, self.width)


def applies(tower: nn.Module) -> bool:
    """Whether any part of a known kind holds fused attention."""
    return holds(tower, _is_known)


def apply(tower: nn.Module, example: torch.Tensor) -> nn.Module:
    """Replace every attention of a known kind, or the blocks around it."""
    shapes = input_shapes(tower, example, _is_known)
    return replace_modules(tower, lambda path, module: _explicit(module, shapes[path]) if _is_known(module) else None)


def split_projection(
    weight: torch.Tensor, bias: torch.Tensor | None, heads: int
) -> tuple[nn.Linear, nn.Linear, nn.Linear]:
    """Queries, keys and values of a joint projection (3 * width, width), queries scaled (rules 1 and 2)."""
    scale = (weight.shape[0] // 3 // heads) ** -0.5
    q, k, v = weight.detach().double().chunk(3)
    q_bias, k_bias, v_bias = (None,) * 3 if bias is None else bias.detach().double().chunk(3)
    return linear_of(q * scale, None if q_bias is None else q_bias * scale), linear_of(k, k_bias), linear_of(v, v_bias)


def _is_known(module: Any) -> bool:
    if type(module) is nn.Sequential:
        return len(module) > 0 and all(type(block) is Block and _is_plain_timm(block.attn) for block in module)
    if type(module) is Transformer:
        plain = (type(block) is ResidualAttentionBlock and _is_plain_torch(block.attn) for block in module.resblocks)
        return module.batch_first and all(plain)
    return type(module) in (GridAttention, AttentionPool2d)


def _is_plain_timm(attn: Any) -> bool:
    """Rule 7."""
    extras = (getattr(attn, name, None) for name in ("q_norm", "k_norm", "norm", "gate"))
    return type(attn) is TokenAttention and all(isinstance(part, nn.Identity | None) for part in extras)


def _is_plain_torch(attn: Any) -> bool:
    """Rule 7."""
    joint = type(attn) is nn.MultiheadAttention and attn.in_proj_weight is not None
    return joint and attn.bias_k is None and not attn.add_zero_attn and attn.batch_first


def _explicit(module: Any, shape: tuple[int, ...]) -> nn.Module:
    if isinstance(module, GridAttention):
        channels, height, width = shape[1:]
        qkv = split_projection(module.qkv.weight, module.qkv.bias, module.num_heads)
        core = ExplicitAttention(height * width, module.num_heads, qkv, module.proj)
        return ExplicitGridAttention(core, channels, height, width).eval()
    if isinstance(module, AttentionPool2d):
        return ExplicitAttentionPool(module, shape[2] * shape[3]).eval()
    tokens, width = shape[1:]
    if isinstance(module, Transformer):
        return RowBlocks([_block_of_open_clip(block, tokens) for block in module.resblocks], tokens, width).eval()
    return RowBlocks([_block_of_timm(block, tokens) for block in module], tokens, width).eval()


def _block_of_open_clip(block: Any, tokens: int) -> PreNormBlock:
    attn = _from_torch(block.attn, tokens)
    return PreNormBlock((block.ln_1, block.ln_2), attn, block.mlp, (block.ls_1, block.ls_2))


def _block_of_timm(block: Any, tokens: int) -> PreNormBlock:
    return PreNormBlock((block.norm1, block.norm2), _from_timm(block.attn, tokens), block.mlp, (block.ls1, block.ls2))


def _from_timm(attn: Any, tokens: int) -> ExplicitAttention:
    qkv = split_projection(attn.qkv.weight, attn.qkv.bias, attn.num_heads)
    return ExplicitAttention(tokens, attn.num_heads, qkv, attn.proj)


def _from_torch(attn: nn.MultiheadAttention, tokens: int) -> ExplicitAttention:
    qkv = split_projection(attn.in_proj_weight, attn.in_proj_bias, attn.num_heads)
    return ExplicitAttention(tokens, attn.num_heads, qkv, linear_of(attn.out_proj.weight, attn.out_proj.bias))
