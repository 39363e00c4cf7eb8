"""R2, fold batch norm: a batch norm right behind a convolution becomes part of its weights.

Before: `x -> conv -> (x - mean) / sqrt(var + eps) * weight + bias -> act`.
After: `x -> conv with bias -> act`.

1. `w' = w * s` and `b' = (b - mean) * s + bias`, with `s = weight / sqrt(var + eps)` of each output channel.
2. The arithmetic is done in float64 and rounded once to float32.
3. An activation inside the norm (timm's BatchNormAct2d) stays, as a module of its own.
4. Folded are timm's ConvNormAct, neighbours in a Sequential, and the pairs that residual blocks keep under names of
   their own (`SIBLINGS`). A batch norm that stands alone, as before FastViT's attention, stays: it evens out the ranges
   of channels, which 8-bit activations need.
5. Left alone: convolutions whose class changes weights while running, and norms without running statistics.

Bound: float32 rounding of one convolution.
"""

from __future__ import annotations

from typing import Any

import torch
from open_clip.modified_resnet import Bottleneck as ClipBottleneck
from open_clip.modified_resnet import ModifiedResNet
from timm.layers import BatchNormAct2d, ConvNormAct
from timm.models._efficientnet_blocks import DepthwiseSeparableConv, InvertedResidual
from timm.models.efficientnet import EfficientNet
from timm.models.mobilenetv3 import MobileNetV3
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from torch import nn

from converter.errors import ConversionError
from converter.rewrites.walking import holds, replace_modules

NUMBER = 2
NAME = "fold batch norm into convolutions"
_NUMBERED = (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"))
SIBLINGS: dict[type[nn.Module], tuple[tuple[str, str], ...]] = {
    ModifiedResNet: _NUMBERED,
    ClipBottleneck: _NUMBERED,
    ResNet: _NUMBERED[:1],
    BasicBlock: _NUMBERED[:2],
    Bottleneck: _NUMBERED,
    EfficientNet: (("conv_stem", "bn1"), ("conv_head", "bn2")),
    MobileNetV3: (("conv_stem", "bn1"),),
    DepthwiseSeparableConv: (("conv_dw", "bn1"), ("conv_pw", "bn2")),
    InvertedResidual: (("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3")),
}
"""Attributes of a class whose `forward` feeds the first to the second and to nothing else (rule 4)."""


def applies(tower: nn.Module) -> bool:
    """Whether any convolution is followed by a batch norm."""
    return holds(tower, lambda module: _folded(module) is not None or bool(_siblings(module)))


def apply(tower: nn.Module, example: torch.Tensor) -> nn.Module:
    """Fold every pair of `tower`.

    Raises:
        ConversionError: the tower is in training mode.
    """
    if tower.training:
        message = "the tower is in training mode, so its batch norms have no settled statistics; call eval() first"
        raise ConversionError(message)
    for module in tower.modules():
        for conv, norm in _siblings(module):
            pair: Any = getattr(module, norm)
            setattr(module, conv, fold_pair(getattr(module, conv), pair))
            setattr(module, norm, _activation(pair) or nn.Identity())
    return replace_modules(tower, lambda _, module: _folded(module))


def fold_pair(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """A new convolution that does the work of both (rules 1 and 2)."""
    if norm.running_mean is None or norm.running_var is None:
        message = "a batch norm without running statistics cannot be folded"
        raise ConversionError(message)
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.double()
    shift = -norm.running_mean.double() * scale
    if norm.bias is not None:
        shift = shift + norm.bias.double()
    if conv.bias is not None:
        shift = shift + conv.bias.double() * scale
    weight = conv.weight.double() * scale.reshape(-1, 1, 1, 1)
    return _conv_like(conv, weight.to(conv.weight.dtype), shift.to(conv.weight.dtype))


def _folded(module: nn.Module) -> nn.Module | None:
    if isinstance(module, ConvNormAct) and _is_pair(module.conv, module.bn):
        steps = [fold_pair(module.conv, module.bn), _activation(module.bn), getattr(module, "aa", None)]
        return _chain([step for step in steps if step is not None])
    if type(module) is nn.Sequential:
        return _fold_sequence(list(module))
    return None


def _siblings(module: nn.Module) -> list[tuple[str, str]]:
    pairs = SIBLINGS.get(type(module), ())
    return [pair for pair in pairs if _is_pair(*(getattr(module, name, None) for name in pair))]


def _fold_sequence(steps: list[nn.Module]) -> nn.Module | None:
    for at in range(len(steps) - 1):
        conv, norm = steps[at], steps[at + 1]
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and _is_pair(conv, norm):
            return _fold_rest([*steps[:at], fold_pair(conv, norm), _activation(norm), *steps[at + 2 :]])
    return None


def _fold_rest(steps: list[nn.Module | None]) -> nn.Module:
    kept = [step for step in steps if step is not None]
    folded = _fold_sequence(kept)
    if folded is not None:
        return folded
    return _chain([replace_modules(step, lambda _, module: _folded(module)) for step in kept])


def _is_pair(conv: object, norm: object) -> bool:
    return type(conv) is nn.Conv2d and isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None


def _activation(norm: nn.BatchNorm2d) -> nn.Module | None:
    act = norm.act if isinstance(norm, BatchNormAct2d) else None
    return None if act is None or isinstance(act, nn.Identity) else act


def _chain(steps: list[nn.Module]) -> nn.Module:
    return steps[0] if len(steps) == 1 else nn.Sequential(*steps).eval()


def _conv_like(conv: nn.Conv2d, weight: torch.Tensor, bias: torch.Tensor) -> nn.Conv2d:
    new = nn.Conv2d(
        conv.in_channels, conv.out_channels, conv.kernel_size, stride=conv.stride, padding=conv.padding,
        dilation=conv.dilation, groups=conv.groups, padding_mode=conv.padding_mode,
    )  # fmt: skip
    new.weight = nn.Parameter(weight, requires_grad=False)
    new.bias = nn.Parameter(bias, requires_grad=False)
    return new.eval()
