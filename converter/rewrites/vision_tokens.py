# mypy: allow-subclassing-any
"""R8, static vision tokens: vision transformers of timm and open_clip without anything that depends on the batch.

Before: `image -> patches -> flatten -> concat(tokens.expand(batch), x) + positions -> blocks -> norm -> x[:, 0]`.
After: `image -> patches -> reshape -> concat(0, x) + constant -> blocks -> norm -> sum(x * weights) -> head`.

1. Class and register tokens are not expanded to the batch, which would need SHAPE: rows of zeros are put in front, and
   one constant holds the tokens above the positions. Adding to zero is exact. The zeros are the largest patch values
   times 0, because a padding becomes CONSTANTOFSHAPE and SLICE in torch's ONNX export.
2. Where positions have rows for these tokens, they are added beforehand, rounded once as the original's.
3. Pooling is a sum with constant weights, and no SLICE or GATHER: one 1 for the class token, which is exactly that row;
   1 / patches for the mean of the patches, which sums in another order.
4. Patches are flattened by a reshape with constants and one -1, which is the batch.
5. Left alone: padding at run time, pooling by attention or maximum, sequence-first blocks, several outputs, and
   subclasses, which may compute anything.
6. open_clip's projection becomes a linear with a bias of zeros, and its norms torch's own.

Bound: none for class tokens of timm's; float32 rounding for the mean and for open_clip's projection.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from open_clip.transformer import Transformer
from open_clip.transformer import VisionTransformer as OpenClipTransformer
from timm.layers import HybridEmbed, PatchEmbed
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from converter.rewrites.layers import linear_of, plain_norm
from converter.rewrites.walking import holds, replace_modules

NUMBER = 8
NAME = "static vision tokens"


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What both libraries' transformers are made of. `constant` is (tokens, width), `prefix` of them before patches."""

    patches: nn.Module
    patch_norm: nn.Module
    constant: torch.Tensor
    prefix: int
    pool: str
    norm_pre: nn.Module
    blocks: nn.Module
    norm: nn.Module
    head: nn.Module


class StaticVisionTower(nn.Module):
    """A vision transformer over (batch, 3, size, size) float32; nothing in it depends on runtime shapes."""

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        self.patches, self.patch_norm = parts.patches, parts.patch_norm
        self.constant = nn.Buffer(parts.constant)
        self.tokens, self.width = self.constant.shape
        self.prefix = parts.prefix
        self.weights = nn.Buffer(_pool_weights(parts))
        self.norm_pre, self.blocks, self.norm = parts.norm_pre, parts.blocks, parts.norm
        self.head = parts.head

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Embed images."""
        x = self.patches(image).reshape(-1, self.width, self.tokens - self.prefix).permute(0, 2, 1)
        x = self.patch_norm(x)
        if self.prefix > 0:
            x = torch.cat([x.amax(dim=1, keepdim=True) * 0.0] * self.prefix + [x], dim=1)
        x = self.norm(self.blocks(self.norm_pre(x + self.constant)))
        return self.head((x * self.weights).sum(dim=1))


def applies(tower: nn.Module) -> bool:
    """Whether the tower holds a vision transformer of a kind that is known."""
    return holds(tower, lambda module: _parts_of(module) is not None)


def apply(tower: nn.Module, example: torch.Tensor) -> nn.Module:
    """Build static transformers from the parts of the libraries'."""
    return replace_modules(tower, lambda _, module: _static(module))


def _static(module: nn.Module) -> nn.Module | None:
    parts = _parts_of(module)
    return None if parts is None else replace_modules(StaticVisionTower(parts), lambda _, one: plain_norm(one)).eval()


def _parts_of(module: Any) -> Parts | None:
    if type(module) is VisionTransformer and _is_plain_timm(module):
        return _parts_of_timm(module)
    if type(module) is OpenClipTransformer and _is_plain_open_clip(module):
        return _parts_of_open_clip(module)
    return None


def _is_plain_timm(trunk: Any) -> bool:
    """Rule 5."""
    embed = trunk.patch_embed
    known = type(embed) in (PatchEmbed, HybridEmbed) and not getattr(embed, "dynamic_img_pad", False)
    pools = trunk.attn_pool is None and _is_known_pool(trunk.global_pool, trunk.num_prefix_tokens)
    return known and pools and not trunk.pool_include_prefix


def _is_plain_open_clip(trunk: Any) -> bool:
    """Rule 5."""
    plain = trunk.attn_pool is None and not trunk.output_tokens and trunk.pool_type in ("tok", "avg")
    return plain and type(trunk.transformer) is Transformer and trunk.transformer.batch_first


def _is_known_pool(pool: str, prefix: int) -> bool:
    return pool == "avg" or (pool == "token" and prefix > 0)


def _parts_of_timm(trunk: Any) -> Parts:
    backbone = getattr(trunk.patch_embed, "backbone", None)
    projection = trunk.patch_embed.proj
    return Parts(
        patches=projection if backbone is None else nn.Sequential(backbone, projection),
        patch_norm=getattr(trunk.patch_embed, "norm", nn.Identity()),
        constant=_constant(trunk),
        prefix=trunk.num_prefix_tokens,
        pool=trunk.global_pool,
        norm_pre=trunk.norm_pre,
        blocks=trunk.blocks,
        norm=trunk.norm,
        head=nn.Sequential(trunk.fc_norm, trunk.head),
    )


def _constant(trunk: Any) -> torch.Tensor:
    """(tokens, width): class and register tokens above the positions (rules 1 and 2)."""
    tokens = [one.detach()[0] for one in (trunk.cls_token, trunk.reg_token) if one is not None]
    patches = trunk.patch_embed.num_patches
    if trunk.pos_embed is None:
        return torch.cat([*tokens, torch.zeros(patches, trunk.embed_dim)])
    positions = trunk.pos_embed.detach()[0]
    if trunk.no_embed_class or not tokens:
        return torch.cat([*tokens, positions])
    prefix = torch.cat(tokens)
    return torch.cat([prefix + positions[: len(prefix)], positions[len(prefix) :]])


def _parts_of_open_clip(trunk: Any) -> Parts:
    positions = trunk.positional_embedding.detach()
    projection = nn.Identity() if trunk.proj is None else linear_of(trunk.proj.T, None)
    after = trunk.final_ln_after_pool
    return Parts(
        patches=trunk.conv1,
        patch_norm=nn.Identity(),
        constant=torch.cat([trunk.class_embedding.detach()[None] + positions[:1], positions[1:]]),
        prefix=1,
        pool="token" if trunk.pool_type == "tok" else "avg",
        norm_pre=trunk.ln_pre,
        blocks=trunk.transformer,
        norm=nn.Identity() if after else trunk.ln_post,
        head=nn.Sequential(trunk.ln_post, projection) if after else projection,
    )


def _pool_weights(parts: Parts) -> torch.Tensor:
    """(tokens, 1), rule 3."""
    tokens = len(parts.constant)
    if parts.pool == "token":
        return torch.eye(tokens)[:, :1].clone()
    weights = torch.full((tokens, 1), 1.0 / (tokens - parts.prefix))
    weights[: parts.prefix] = 0.0
    return weights
