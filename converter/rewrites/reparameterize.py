"""R1, reparameterize: parallel training branches become one convolution.

Before: `x -> conv kxk + bn | conv 1x1 + bn | bn -> add -> act`, and `x + scale * (mixer(x) - norm(x))`.
After: `x -> conv kxk with bias -> act`.

1. Every module with an unused `reparameterize()` is asked to use it, parents first: timm's FastViT has such modules,
   and the text tower `mct`.
2. The arithmetic is done in float64 and rounded once to float32.
3. Leftovers of the arithmetic (`id_tensor`) are dropped, else a scripted file would carry them.
4. Batch norm must have settled statistics: a module in training mode is refused.

Bound: float32 rounding of one convolution; sums are taken in another order.
"""

from __future__ import annotations

import torch
from torch import nn

from converter.errors import ConversionError
from converter.rewrites.walking import holds

NUMBER = 1
NAME = "reparameterize"


def applies(tower: nn.Module) -> bool:
    """Whether any block still has its training branches."""
    return holds(tower, _has_branches)


def apply(tower: nn.Module, example: torch.Tensor) -> nn.Module:
    """Merge the branches of every block of `tower`, in place.

    Raises:
        ConversionError: a block is in training mode.
    """
    if holds(tower, lambda module: _has_branches(module) and module.training):
        message = "the tower is in training mode, so its batch norms have no settled statistics; call eval() first"
        raise ConversionError(message)
    tower.double()
    _merge(tower)
    return tower.float()


def _has_branches(module: nn.Module) -> bool:
    return callable(getattr(module, "reparameterize", None)) and getattr(module, "reparam_conv", None) is None


def _merge(module: nn.Module) -> None:
    if _has_branches(module):
        module.reparameterize()
    module.__dict__.pop("id_tensor", None)  # rule 3
    for child in module.children():
        _merge(child)
