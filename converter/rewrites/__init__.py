"""Rewrites: each module turns a part of a CLIP tower into an equal one that every exporter can take.

A rewrite is a module with the names of `Rewrite` below. It works on a copy in eval mode, may change that copy in
place, and states in its docstring the graph before and after, its rules by number, and how far the result may lie
from the original. `converter.rewrites.tower` holds their order and is the only entry for other rooms. Checking the
result on real samples is left to parity.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch
    from torch import nn


class Rewrite(Protocol):
    """The contract of a rewrite module. Importing one imports torch; importing this room does not."""

    NUMBER: int
    """Its number, R1 to R9 (R10 stands outside of the order); numbers name rewrites and are not their order."""
    NAME: str
    """What it does, in a few words, for notes and manifests."""

    def applies(self, tower: nn.Module) -> bool:
        """Whether `tower` holds anything that this rewrite would change."""
        ...

    def apply(self, tower: nn.Module, example: torch.Tensor) -> nn.Module:
        """Rewrite `tower`, in place where that is enough, and return it or its replacement.

        `example` is one input of the tower's final shape; only shapes are taken from it.

        Raises:
            ConversionError: the tower is of a kind that cannot be rewritten; the message says what was seen.
        """
        ...
