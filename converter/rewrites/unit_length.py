# mypy: allow-subclassing-any
"""R7, unit length: the tower's own last step makes its embedding unit length, safely in float16 too.

Before: `normalize(tower(x))`, outside the tower, that is `y / max(sqrt(sum(y * y)), 1e-12)`.
After: `z = y / max(max(abs(y)), 2 ** -14)`, then `z / max(sqrt(sum(z * z)), 1)`.

1. The largest component becomes 1, so the squares sum to between 1 and the width: in float16 neither a long
   embedding (squares above 65504) nor a short one (squares below 6e-8) is lost.
2. The outer bound of 1 does nothing to an embedding that rule 1 scaled; it keeps the zero vector, and what is shorter
   than 2 ** -14, from being divided by nothing. Zero stays zero, as with torch's normalize.
3. 2 ** -14 is the smallest normal float16. torch's 1e-12 is 0 there, and 0 / 0 is NaN.

Bound: float32 rounding, for embeddings whose largest component is at least 2 ** -14; shorter ones come out shorter
than 1, as they do from torch's normalize below 1e-12.
"""

from __future__ import annotations

import torch
from torch import nn

NUMBER = 7
NAME = "unit-length output"
SMALLEST = 2.0**-14
"""Divisor of embeddings whose components are all smaller still (rules 2 and 3)."""


class UnitLength(nn.Module):
    """A tower whose (batch, width) output has unit length."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Embed."""
        return unit_length(self.tower(x))


def unit_length(y: torch.Tensor, smallest: float = SMALLEST) -> torch.Tensor:
    """Rows of (batch, width) scaled to length 1."""
    z = y / y.abs().amax(dim=-1, keepdim=True).clamp(min=smallest)
    return z / (z * z).sum(dim=-1, keepdim=True).clamp(min=1.0).sqrt()


def applies(tower: nn.Module) -> bool:
    """Whether the tower does not end in this step yet."""
    return not isinstance(tower, UnitLength)


def apply(tower: nn.Module, example: torch.Tensor) -> nn.Module:
    """Wrap the tower."""
    return UnitLength(tower).eval()
