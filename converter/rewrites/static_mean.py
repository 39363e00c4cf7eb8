# mypy: allow-subclassing-any
"""R6, static mean: squeeze-excite and the last pooling take their mean one axis after the other.

Before: `x.mean((2, 3))`, or an average pooling whose kernel is known only when running.
After: `x.mean(3).mean(2)`.

1. timm's SEModule and SqueezeExcite keep their two convolutions, their activation and their gate.
2. timm's average SelectAdaptivePool2d becomes the same mean, flattened by leaving the axes out where it flattens.
3. Two axes at once have returned NaN on some phone GPUs; one after the other has not.
4. Activations that worked in place work on a copy.

Bound: float32 rounding; the sum is taken in another order.
"""

from __future__ import annotations

import torch
from timm.layers import SelectAdaptivePool2d
from timm.layers.adaptive_avgmax_pool import FastAdaptiveAvgPool
from timm.layers.squeeze_excite import SEModule
from timm.models._efficientnet_blocks import SqueezeExcite
from torch import nn

from converter.rewrites.walking import holds, replace_modules

NUMBER = 6
NAME = "static mean in squeeze-excite and pooling"
HEIGHT_AND_WIDTH = (2, 3)
"""Axes of a pooling that sees channels first; Swin's see them last and are left alone."""


class StaticSqueezeExcite(nn.Module):
    """`x * gate(fc2(act(fc1(mean(x)))))` over (batch, channels, height, width)."""

    def __init__(self, fc1: nn.Module, act: nn.Module, fc2: nn.Module, gate: nn.Module) -> None:
        super().__init__()
        self.fc1, self.act = fc1, _on_copy(act)
        self.fc2, self.gate = fc2, _on_copy(gate)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Weigh the channels."""
        mean = x.mean(3, keepdim=True).mean(2, keepdim=True)
        return x * self.gate(self.fc2(self.act(self.fc1(mean))))


class StaticAveragePool(nn.Module):
    """(batch, channels, height, width) to (batch, channels), or to (batch, channels, 1, 1) where axes are kept."""

    def __init__(self, keep_axes: bool = False) -> None:
        super().__init__()
        self.keep_axes = keep_axes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Take the mean."""
        return x.mean(3, keepdim=self.keep_axes).mean(2, keepdim=self.keep_axes)


def applies(tower: nn.Module) -> bool:
    """Whether any squeeze-excite or average pooling of timm's is left."""
    return holds(tower, lambda module: _static(module) is not None)


def apply(tower: nn.Module, example: torch.Tensor) -> nn.Module:
    """Replace them all."""
    return replace_modules(tower, lambda _, module: _static(module))


def _static(module: nn.Module) -> nn.Module | None:
    if type(module) is SEModule and not module.add_maxpool:
        first = nn.Sequential(module.fc1, module.bn)
        return StaticSqueezeExcite(first, module.act, module.fc2, module.gate).eval()
    if type(module) is SqueezeExcite:
        return StaticSqueezeExcite(module.conv_reduce, module.act1, module.conv_expand, module.gate).eval()
    if type(module) is SelectAdaptivePool2d and _is_average(module.pool):
        flattens = isinstance(module.flatten, nn.Flatten) or getattr(module.pool, "flatten", False)
        return StaticAveragePool(keep_axes=not flattens).eval()
    return None


def _is_average(pool: nn.Module) -> bool:
    if isinstance(pool, FastAdaptiveAvgPool):
        return tuple(pool.dim) == HEIGHT_AND_WIDTH
    return isinstance(pool, nn.AdaptiveAvgPool2d) and pool.output_size in (1, (1, 1))


def _on_copy(activation: nn.Module) -> nn.Module:
    if hasattr(activation, "inplace"):
        activation.inplace = False
    return activation
