# mypy: allow-subclassing-any
"""R8, static vision tokens: timm's vision transformer without anything that depends on the batch.

Before: `image -> patches -> flatten -> concat(class_token.expand(batch), x) + positions -> blocks -> norm -> x[:, 0]`.
After: `image -> patches -> reshape -> concat(0, x) + constant -> blocks -> norm -> sum(x * first row) -> head`.

1. The class token is not expanded to the batch, which would need SHAPE: a row of zeros is put in front, and one
   constant holds the class token above the positions. Adding to zero is exact. The zeros are the largest patch values
   times 0, because a padding becomes CONSTANTOFSHAPE and SLICE in torch's ONNX export.
2. Where positions have a row for the class token, that row is added to it beforehand, rounded once as the original's.
3. The class token's row is taken as a sum with a constant of one 1: exactly that row, and no SLICE or GATHER.
4. Patches are flattened by a reshape with constants and one -1, which is the batch.
5. Refused: register tokens, several prefix tokens, runtime image sizes, pooling other than the class token, and
   attention pooling. MobileCLIP has none.

Bound: none.
"""

from __future__ import annotations

from typing import Any

import torch
from open_clip.timm_model import TimmModel
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from converter.errors import ConversionError

NUMBER = 8
NAME = "static vision tokens"


class StaticVisionTower(nn.Module):
    """A vision transformer over (batch, 3, size, size) float32; nothing in it depends on runtime shapes."""

    def __init__(self, trunk: Any, head: nn.Module) -> None:
        super().__init__()
        self.patches = _patches(trunk.patch_embed)
        self.patch_norm = getattr(trunk.patch_embed, "norm", nn.Identity())
        self.constant = nn.Buffer(_constant(trunk))
        self.tokens, self.width = self.constant.shape
        self.first_row = nn.Buffer(torch.eye(self.tokens)[:, :1].clone())
        self.norm_pre, self.blocks, self.norm = trunk.norm_pre, trunk.blocks, trunk.norm
        self.head = nn.Sequential(trunk.fc_norm, trunk.head, head)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Embed images."""
        x = self.patches(image).reshape(-1, self.width, self.tokens - 1).permute(0, 2, 1)
        x = self.patch_norm(x)
        x = torch.cat([x.amax(dim=1, keepdim=True) * 0.0, x], dim=1) + self.constant
        x = self.norm(self.blocks(self.norm_pre(x)))
        return self.head((x * self.first_row).sum(dim=1))


def applies(tower: nn.Module) -> bool:
    """Whether the tower is a vision transformer of timm's inside open_clip's wrapper."""
    return isinstance(tower, TimmModel) and isinstance(tower.trunk, VisionTransformer)


def apply(tower: nn.Module, example: torch.Tensor) -> nn.Module:
    """Build the static tower from the parts of timm's.

    Raises:
        ConversionError: the transformer is not of MobileCLIP's kind (rule 5).
    """
    if not isinstance(tower, TimmModel):
        message = f"expected open_clip's TimmModel, saw {type(tower).__name__}"
        raise ConversionError(message)
    _check(tower.trunk)
    return StaticVisionTower(tower.trunk, tower.head).eval()


def _check(trunk: Any) -> None:
    strange = {
        "no class token": trunk.cls_token is None,
        "register tokens": trunk.reg_token is not None or trunk.num_prefix_tokens != 1,
        "no positions": trunk.pos_embed is None,
        "runtime image sizes": trunk.dynamic_img_size,
        f"pooling '{trunk.global_pool}'": trunk.global_pool != "token" or trunk.attn_pool is not None,
    }
    seen = [what for what, is_so in strange.items() if is_so]
    if seen:
        message = f"a vision transformer with {', '.join(seen)} cannot be made static (R8, rule 5)"
        raise ConversionError(message)


def _patches(embed: Any) -> nn.Module:
    backbone = getattr(embed, "backbone", None)
    return embed.proj if backbone is None else nn.Sequential(backbone, embed.proj)


def _constant(trunk: Any) -> torch.Tensor:
    """(tokens, width): the class token above the positions (rules 1 and 2)."""
    class_token, positions = trunk.cls_token.detach()[0], trunk.pos_embed.detach()[0]
    if trunk.no_embed_class:
        return torch.cat([class_token, positions])
    return torch.cat([class_token + positions[:1], positions[1:]])
