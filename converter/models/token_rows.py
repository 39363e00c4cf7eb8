"""Small files of weights: of all token embeddings, only the rows that training used.

CLIP's vocabulary has 49408 tokens, and the captions of drawn scenes use some sixty. A compact file holds the rows of
those as `text.token_embedding.rows`, and their token ids as `text.token_embedding.ids`; all other rows are zero. So a
word that training never saw does no more than take a place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from converter.errors import WeightsError

if TYPE_CHECKING:
    import torch

TABLE = "text.token_embedding.weight"
IDS = "text.token_embedding.ids"
ROWS = "text.token_embedding.rows"
VOCABULARY = 49408


def compact(state: Mapping[str, torch.Tensor], ids: Sequence[int]) -> dict[str, torch.Tensor]:
    """A state dict to store: float16, and of the token embeddings (49408, width) only the rows of `ids`."""
    import torch

    small = {name: tensor for name, tensor in state.items() if name != TABLE}
    small[IDS] = torch.tensor(sorted(set(ids)), dtype=torch.int32)
    small[ROWS] = state[TABLE][small[IDS].long()]
    return {name: (t.half() if t.is_floating_point() else t).contiguous() for name, t in small.items()}


def expand(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state dict with a whole table of token embeddings; what `compact` did not make comes back as it was.

    Raises:
        WeightsError: ids and rows do not belong together.
    """
    import torch

    if IDS not in state and ROWS not in state:
        return dict(state)
    full = {name: tensor for name, tensor in state.items() if name not in (IDS, ROWS)}
    ids, rows = state.get(IDS), state.get(ROWS)
    if ids is None or rows is None or len(ids) != len(rows) or not ((ids >= 0) & (ids < VOCABULARY)).all():
        message = (
            f"compact weights have {IDS} (n) below {VOCABULARY} and {ROWS} (n, width), but these have {_shape(ids)} "
            f"and {_shape(rows)}; write them again with scripts/train_nano.py"
        )
        raise WeightsError(message)
    full[TABLE] = torch.zeros(VOCABULARY, rows.shape[1], dtype=rows.dtype)
    full[TABLE][ids.long()] = rows
    return full


def _shape(tensor: torch.Tensor | None) -> str:
    return "nothing" if tensor is None else str(tuple(tensor.shape))
