"""Tokens are open_clip's, as int32, and always end."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from converter.errors import ConversionError
from converter.models.captions import parity_captions
from converter.models.tokenizer import tokenize
from converter.records import ModelSpec


def test_tokens_are_those_of_open_clip(spec: ModelSpec) -> None:
    """Equal to open_clip's tokenizer for the model, in int32."""
    import open_clip

    captions = parity_captions()

    tokens = tokenize(captions, spec)

    assert tokens.dtype == np.int32
    assert tokens.shape == (len(captions), 77)
    assert np.array_equal(tokens, open_clip.get_tokenizer("MobileCLIP-S1")(list(captions)).numpy())


def test_the_end_token_survives_a_cut(spec: ModelSpec) -> None:
    """A text of 200 words ends at the last position, and the empty one at the second."""
    long, empty = tokenize(["cat " * 200, ""], spec)

    assert long[-1] == spec.end_token
    assert empty[:3].tolist() == [49406, 49407, 0]


def test_rows_without_the_end_token_are_refused(spec: ModelSpec) -> None:
    """A wrong `end_token` in a YAML is noticed, and the file is named."""
    wrong = dataclasses.replace(spec, end_token=49408)

    with pytest.raises(ConversionError, match=r"end token 49408.*mobileclip_s1\.yaml"):
        tokenize(["a cat"], wrong)
