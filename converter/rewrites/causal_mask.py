"""R5, finite causal mask: a large negative number in place of minus infinity.

Before: `softmax(scores + mask)`, the mask holding -inf above the diagonal.
After: the same with -256.

1. Every -inf of a buffer of the tower becomes `MASKED`.
2. `exp(MASKED + gap)` is 0 in float32 while a masked score exceeds the best allowed one by less than 152, and below
   float32 rounding of the sum while it exceeds it by less than 239. Scores of trained towers stay within tens.
3. Much lower, as -10000, would be as equal in float32, but would leave 16-bit quantized scores a step of 0.15;
   -inf itself makes NaN and has no quantized form at all.

Bound: none under rule 2.
"""

from __future__ import annotations

import torch
from torch import nn

NUMBER = 5
NAME = "finite causal mask"
MASKED = -256.0
"""What a score that must not count is lowered by (rules 2 and 3)."""


def applies(tower: nn.Module) -> bool:
    """Whether a buffer of the tower holds -inf."""
    return any(_has_infinity(buffer) for buffer in tower.buffers())


def apply(tower: nn.Module, example: torch.Tensor) -> nn.Module:
    """Make every mask finite, in place."""
    for module in tower.modules():
        for name, buffer in list(module.named_buffers(recurse=False)):
            if _has_infinity(buffer):
                setattr(module, name, torch.where(torch.isneginf(buffer), MASKED, buffer).to(buffer.dtype))
    return tower


def _has_infinity(buffer: torch.Tensor) -> bool:
    return buffer.is_floating_point() and bool(torch.isneginf(buffer).any())
