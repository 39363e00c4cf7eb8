"""From captions to the text tower's input, by open_clip's own byte-pair tokenizer (OpenAI's), without a network."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from converter.errors import ConversionError
from converter.records import ModelSpec


def tokenize(texts: Sequence[str], spec: ModelSpec) -> npt.NDArray[np.int32]:
    """Tokens as (n, 77) int32: start token, words, end token, zeros. What is too long is cut, the end token stays.

    The text tower reads its result at the end token, so a row without one would read any other position.

    Raises:
        ConversionError: a row has no end token.
    """
    rows = simple_tokenizer()(list(texts), context_length=spec.context_length)
    tokens: npt.NDArray[np.int32] = rows.numpy().astype(np.int32)
    without_end = np.flatnonzero((tokens != spec.end_token).all(axis=1))
    if without_end.size:
        message = (
            f"the tokens of caption {int(without_end[0])} hold no end token {spec.end_token}; expected one in each of "
            f"the {len(tokens)} rows; check `end_token` in configs/models/{spec.id}.yaml"
        )
        raise ConversionError(message)
    return tokens


@cache
def simple_tokenizer() -> Any:
    """open_clip's own tokenizer, which needs no file but its own."""
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()
