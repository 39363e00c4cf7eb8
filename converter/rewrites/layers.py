"""Layers in the form that exporters take best: linears that have a bias, norms that cast nothing."""

from __future__ import annotations

import torch
from open_clip.transformer import LayerNorm
from torch import nn


def linear_of(weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Linear:
    """A float32 linear of (out, in) weights, with a bias of zeros if need be: it becomes one fully connected layer."""
    linear = nn.Linear(weight.shape[1], weight.shape[0])
    linear.weight = nn.Parameter(weight.detach().float().contiguous(), requires_grad=False)
    values = torch.zeros(weight.shape[0]) if bias is None else bias.detach().float().contiguous()
    linear.bias = nn.Parameter(values, requires_grad=False)
    return linear.eval()


def plain_norm(module: nn.Module) -> nn.Module | None:
    """Torch's own norm for open_clip's, which casts its result to the input's type: in float32 only a CAST."""
    if type(module) is not LayerNorm:
        return None
    norm = nn.LayerNorm(module.normalized_shape, eps=module.eps)
    norm.weight, norm.bias = module.weight, module.bias
    return norm.eval()
