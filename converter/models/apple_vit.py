"""What Apple's vision transformer (MobileCLIP-B) computes otherwise than timm's, although their weights have one shape.

Measured on equal random weights against Apple's implementation: embeddings differ by up to 4e-2, and by 8e-8 once both
settings are Apple's (see decision 6). A checkpoint of Apple's own was trained with Apple's.
"""

from __future__ import annotations

from typing import Any

PADDING, EPSILON = (1, 1), 1e-5
"""Of the first convolution and of the layer norms; timm 1.0 has 0 and 1e-6."""


def as_apple_computes(clip: Any) -> bool:
    """Give the image tower Apple's settings, in place, if it is a transformer behind a convolutional stem.

    Returns whether it is.
    """
    from torch import nn

    stem = getattr(getattr(getattr(clip.visual, "trunk", None), "patch_embed", None), "backbone", None)
    if stem is None:
        return False
    stem[0].conv.padding = PADDING
    for module in clip.visual.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = EPSILON
    return True
