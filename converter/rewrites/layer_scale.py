"""R9, fold layer scale: FastViT's and ConvNeXt's learned factor of each channel becomes part of the layer before it.

Before: `x + gamma * (fc2(...))` and `x + gamma * attention(...)`.
After: `x + fc2'(...)` and `x + attention'(...)`.

1. `w' = gamma * w` and `b' = gamma * b` of each output channel, in float64, rounded once to float32.
2. Folded are the second layer of a block's Mlp, and the output projection of an attention that R3 made explicit.
   Dropout and stochastic depth between them do nothing in eval mode.
3. It saves one pass over the feature map for each block: 44 of them in MobileCLIP-S1.

Bound: float32 rounding of one layer.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.models.convnext import ConvNeXtBlock
from timm.models.fastvit import AttentionBlock, LayerScale2d
from torch import nn

from converter.rewrites.attention import ExplicitGridAttention
from converter.rewrites.walking import holds

NUMBER = 9
NAME = "fold layer scale"


def applies(tower: nn.Module) -> bool:
    """Whether any layer scale can be folded."""
    return holds(tower, lambda module: bool(_scaled_layers(module)) or _has_gamma(module))


def apply(tower: nn.Module, example: torch.Tensor) -> nn.Module:
    """Fold every layer scale, in place."""
    for module in tower.modules():
        for name, layer in _scaled_layers(module).items():
            _fold(getattr(module, name).gamma, layer)
            setattr(module, name, nn.Identity())
        if _has_gamma(module):
            block: Any = module
            _fold(block.gamma, block.mlp.fc2)
            block.gamma = None
    return tower


def _has_gamma(module: Any) -> bool:
    return isinstance(module, ConvNeXtBlock) and module.gamma is not None


def _scaled_layers(module: Any) -> dict[str, Any]:
    """The layer in front of each layer scale of a block, by the scale's name (rule 2)."""
    layers: dict[str, Any] = {}
    if isinstance(getattr(module, "layer_scale", None), LayerScale2d) and hasattr(module, "mlp"):
        layers["layer_scale"] = module.mlp.fc2
    if isinstance(module, AttentionBlock):
        layers["layer_scale_2"] = module.mlp.fc2
        if isinstance(module.token_mixer, ExplicitGridAttention):
            layers["layer_scale_1"] = module.token_mixer.core.out
    return {name: layer for name, layer in layers.items() if isinstance(getattr(module, name), LayerScale2d)}


def _fold(gamma: torch.Tensor, layer: Any) -> None:
    factor = gamma.detach().double().flatten()
    weight = layer.weight.detach().double() * factor.reshape(-1, *[1] * (layer.weight.ndim - 1))
    layer.weight = nn.Parameter(weight.float(), requires_grad=False)
    if layer.bias is not None:
        layer.bias = nn.Parameter((layer.bias.detach().double() * factor).float(), requires_grad=False)
