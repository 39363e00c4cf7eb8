"""One tower of a CLIP model, rewritten for export: the room's only entry for others.

The original model is never changed. What comes back takes (batch, 3, size, size) float32 images, or (batch, length)
int32 tokens, gives (batch, width) float32 embeddings of unit length, and can be traced and scripted for any batch.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, cast

from converter.errors import ConversionError
from converter.records import Preprocessing, Tower
from converter.rewrites import Rewrite

if TYPE_CHECKING:
    import torch
    from torch import nn


def rewrite_tower(clip: nn.Module, tower: Tower, preprocessing: Preprocessing | None = None) -> nn.Module:
    """The rewritten copy of one tower of open_clip's CustomTextCLIP.

    Its attribute `applied` names the rewrites that found something to change, in their order. Where `preprocessing` is
    to happen inside the graph, the image tower takes uint8 pixels.

    Raises:
        ConversionError: the model is in training mode, or the tower is of a kind that cannot be rewritten.
    """
    import torch

    from converter.rewrites import pixels

    module = _copy(clip, tower)
    example = _example(clip, tower)
    applied = []
    with torch.no_grad():
        for rewrite in _in_order(tower):
            if rewrite.applies(module):
                module = rewrite.apply(module, example).eval()
                applied.append(_title(rewrite))
    if tower == "image" and preprocessing is not None and preprocessing.inside_graph:
        module = pixels.PixelsIn(module, preprocessing.mean, preprocessing.std).eval()
        applied.append(f"R{pixels.NUMBER} {pixels.NAME}")
    module.applied = tuple(applied)
    return module.requires_grad_(False)


def rewrites_of(tower: Tower) -> tuple[str, ...]:
    """Titles of the rewrites that a tower goes through, in their order; some models need only part of them."""
    return tuple(_title(rewrite) for rewrite in _in_order(tower))


def _copy(clip: Any, tower: Tower) -> nn.Module:
    source = clip.visual if tower == "image" else clip.text
    if any(module.training for module in source.modules()):
        message = f"the {tower} tower is in training mode; call eval() on the model before rewriting it"
        raise ConversionError(message)
    return cast("nn.Module", copy.deepcopy(source).requires_grad_(False))


def _example(clip: Any, tower: Tower) -> torch.Tensor:
    import torch

    if tower == "image":
        size = clip.visual.image_size  # an int in open_clip's ModifiedResNet, else (height, width)
        return torch.zeros(1, 3, *((size, size) if isinstance(size, int) else size))
    return torch.zeros(1, clip.text.context_length, dtype=torch.int32)


def _in_order(tower: Tower) -> tuple[Rewrite, ...]:
    """R8 and R4 come before R3, which wants to see the blocks; R9 after R3, whose projections it scales; R7 last."""
    from converter.rewrites import (
        attention,
        batch_norm,
        causal_mask,
        end_of_text,
        layer_scale,
        reparameterize,
        static_mean,
        unit_length,
        vision_tokens,
    )

    orders: dict[Tower, tuple[Rewrite, ...]] = {
        "image": (reparameterize, batch_norm, vision_tokens, attention, static_mean, layer_scale, unit_length),
        "text": (reparameterize, batch_norm, end_of_text, causal_mask, attention, layer_scale, unit_length),
    }
    return orders[tower]


def _title(rewrite: Rewrite) -> str:
    return f"R{rewrite.NUMBER} {rewrite.NAME}"
