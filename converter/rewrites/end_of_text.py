# mypy: allow-subclassing-any
"""R4, end-of-text pooling without argmax, in a text tower of constant shapes.

Before: `tokens -> embedding -> + positions[:length] -> blocks -> norm -> x[arange, argmax(tokens)] -> @ projection`.
After: `tokens -> embedding -> + positions -> blocks -> norm -> first_end(tokens) @ x -> linear`.

1. `ends = (tokens == end_token)`; the first of them is `relu((I - L) ends)`, L being ones below the diagonal: an end
   with another one before it falls to zero or below. All values are small whole numbers, exact in float16 too.
2. The pooled row is `first @ x`, a matrix product with one 1 in it: exactly that row.
3. Several ends, as when a file pads with the end token, choose the first, as argmax does.
4. A text without an end token gives the zero vector; argmax would give the row of its largest id. The tokenizer keeps
   the end token when it cuts a text off, so this is a mistake of the caller and shows as one.
5. Positions are added whole, without a slice, so the context length is fixed. Tokens are int32: int64 ids and int64
   ARG_MAX do not prepare in TFLite.
6. open_clip's LayerNorm casts its result to the input's type. In float32 that is nothing but a CAST in the graph:
   torch's own takes its place.
7. The projection becomes a linear with a bias of zeros, which exports as one fully connected layer.

8. Any tower with the parts of open_clip's (`PARTS`) is rewritten, whatever its blocks are: MobileCLIP-S0's has
   convolutional ones among them.

Bound: none up to the projection; there float32 rounding, as it sums in another order.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from converter.errors import ConversionError
from converter.rewrites.layers import linear_of, plain_norm
from converter.rewrites.walking import replace_modules

NUMBER = 4
NAME = "end-of-text pooling without argmax"
PARTS = (
    "token_embedding", "positional_embedding", "attn_mask", "transformer", "ln_final", "text_projection",
    "pool_type", "context_length", "vocab_size", "width",
)  # fmt: skip
"""Attributes by which a text tower is known (rule 8)."""


class EndOfTextPool(nn.Module):
    """Row of the first end token: (batch, length) int32 and (batch, length, width) to (batch, width)."""

    def __init__(self, length: int, width: int, end_token: int) -> None:
        super().__init__()
        self.length, self.width = length, width
        self.end_token = nn.Buffer(torch.tensor(end_token, dtype=torch.int32))
        earlier_ends = torch.ones(length, length).tril(-1)
        self.first_end = nn.Buffer(torch.eye(length) - earlier_ends)
        self.no_bias = nn.Buffer(torch.zeros(length))

    def forward(self, tokens: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Pool."""
        ends = (tokens == self.end_token).to(x.dtype)
        first = torch.relu(functional.linear(ends, self.first_end, self.no_bias))
        return torch.matmul(first.reshape(-1, 1, self.length), x).reshape(-1, self.width)


class StaticTextTower(nn.Module):
    """A text tower over (batch, length) int32 tokens; nothing in it depends on runtime shapes."""

    def __init__(self, text: Any, end_token: int) -> None:
        super().__init__()
        self.embedding = text.token_embedding
        self.positions = nn.Buffer(text.positional_embedding.detach().clone())
        self.attn_mask = None if text.attn_mask is None else nn.Buffer(text.attn_mask.clone())
        self.blocks = text.transformer
        self.norm = text.ln_final
        self.pool = EndOfTextPool(text.context_length, text.width, end_token)
        self.projection = _projection(text.text_projection)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Embed texts."""
        x = self.embedding(tokens) + self.positions
        x = self.blocks(x, attn_mask=self.attn_mask)
        return self.projection(self.pool(tokens, self.norm(x)))


def applies(tower: nn.Module) -> bool:
    """Whether the tower has the parts of open_clip's text tower."""
    return all(hasattr(tower, part) for part in PARTS)


def apply(tower: nn.Module, example: torch.Tensor) -> nn.Module:
    """Build the static tower from the parts of open_clip's.

    Raises:
        ConversionError: the tower has a class token, a padding mask, several outputs or pools elsewhere.
    """
    if not applies(tower):
        lacking = ", ".join(part for part in PARTS if not hasattr(tower, part))
        message = f"expected a text tower with the parts of open_clip's, saw {type(tower).__name__} without {lacking}"
        raise ConversionError(message)
    _check(tower)
    end_token = _end_token(tower)
    replace_modules(tower, lambda _, module: plain_norm(module))
    return StaticTextTower(tower, end_token).eval()


def _end_token(text: Any) -> int:
    return int(text.eos_id if text.pool_type == "eos" else text.vocab_size - 1)  # the largest id, as argmax sees it


def _check(text: Any) -> None:
    strange = {
        "a class token": getattr(text, "cls_emb", None) is not None,
        "a padding mask": getattr(text, "use_pad_mask", False),
        "several outputs": getattr(text, "output_tokens", False),
        f"pooling '{text.pool_type}'": text.pool_type not in ("argmax", "eos"),
        "sequence-first blocks": not text.transformer.batch_first,
    }
    seen = [what for what, is_so in strange.items() if is_so]
    if seen:
        message = f"a text tower with {', '.join(seen)} cannot be made static; expected one as MobileCLIP's"
        raise ConversionError(message)


def _projection(projection: nn.Parameter | nn.Linear | None) -> nn.Module:
    if projection is None:
        return nn.Identity()
    if isinstance(projection, nn.Linear):
        return projection
    return linear_of(projection.T, None)
