# mypy: allow-subclassing-any
"""A CLIP that has an image tower and nothing else; torch is imported with it."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class ImageOnly(nn.Module):
    """The image half of open_clip's CustomTextCLIP, under the same names."""

    def __init__(self, visual: nn.Module) -> None:
        super().__init__()
        self.visual = visual

    def encode_image(self, image: torch.Tensor, normalize: bool = False) -> torch.Tensor:
        """(batch, 3, size, size) to (batch, embed_dim)."""
        features: torch.Tensor = self.visual(image)
        return functional.normalize(features, dim=-1) if normalize else features


class TrunkTower(nn.Module):
    """An image tower that is nothing but one library's model; `image_size` is (height, width)."""

    def __init__(self, trunk: nn.Module, size: int) -> None:
        super().__init__()
        self.image_size = (size, size)
        self.trunk = trunk

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(batch, 3, size, size) to (batch, embed_dim)."""
        features: torch.Tensor = self.trunk(image)
        return features
