# mypy: allow-subclassing-any
"""R10, pixels in: an image tower that takes uint8 pixels, and scales and normalises them by itself.

Before: `tower(x)`, where x is float32, scaled and normalised by the app.
After: `tower((pixels / 255 - mean) * (1 / std))`, where pixels are uint8.

1. A division by 255, a subtraction, a product, each with constants and each rounded to float32. Nothing is folded into
   the first convolution: that one pads with zeros, which stand for the mean, so folding would be wrong along the border
   wherever the mean is not 0.
2. A mean of 0 and a deviation of 1 leave no operation behind.
3. The product with 1 / std stands for a division: converters write a division by constants in this way themselves
   (coremltools does), and the constants are then the same in every file.

Bound: equal bits where std is 1. Elsewhere the product is at most 2 roundings of float32 from the quotient, 2.4e-7 of
its value: 6.4e-7 for OpenAI's and ImageNet's statistics, whose values stay below 2.7.

Order: after everything else, and only where the app asks for it, so `converter.rewrites.tower` calls it by itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

NUMBER = 10
NAME = "pixels in"


class PixelsIn(nn.Module):
    """A tower of (batch, 3, size, size) float32 that takes uint8 of the same shape, RGB from 0 to 255."""

    def __init__(self, tower: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.tower = tower
        self.centred = not any(mean)
        self.unscaled = all(one == 1.0 for one in std)
        self.register_buffer("mean", _per_channel(mean))
        self.register_buffer("scale", 1.0 / _per_channel(std))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Scale, normalise, embed."""
        x = pixels.float() / 255.0
        if not self.centred:
            x = x - self.mean
        if not self.unscaled:
            x = x * self.scale
        embedding: torch.Tensor = self.tower(x)
        return embedding


def _per_channel(values: Sequence[float]) -> torch.Tensor:
    return torch.tensor(list(values), dtype=torch.float32).reshape(1, -1, 1, 1)
