from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from converter.errors import ConversionError
from converter.rewrites import end_of_text
from converter.rewrites.end_of_text import EndOfTextPool
from tests.rewrites.measuring import ROUNDING, difference, run, texts
from tests.tiny import tiny_clip

END = 49407


def _states(count: int) -> torch.Tensor:
    return torch.randn(count, 77, 16, generator=torch.Generator().manual_seed(8))


def _pool() -> EndOfTextPool:
    return EndOfTextPool(77, 16, END)


def _by_argmax(tokens: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return x[torch.arange(len(x)), tokens.argmax(dim=-1)]


def test_pools_exactly_the_row_that_argmax_finds() -> None:
    """Bit by bit the same row, at the first, at the last and at other places."""
    tokens = texts(1, 2, 30, 75, 76)

    assert torch.equal(run(_pool(), tokens, _states(5)), _by_argmax(tokens, _states(5)))


@pytest.mark.parametrize("second", [11, 12, 76])
def test_of_several_ends_the_first_counts(second: int) -> None:
    """As argmax does it, also when the end token is the padding."""
    tokens = texts(10, 10)
    tokens[0, second] = END
    tokens[1, 10:] = END

    assert torch.equal(run(_pool(), tokens, _states(2)), _by_argmax(tokens, _states(2)))


def test_a_text_without_end_gives_zero() -> None:
    """A text that lost its end token shows, instead of giving another row."""
    tokens = texts(10)
    tokens[tokens == END] = 5

    assert not run(_pool(), tokens, _states(1)).any()


def test_counts_are_exact_in_half_precision() -> None:
    """Whole numbers up to 77 survive float16."""
    tokens = texts(10)
    tokens[0, 10:] = END
    x = _states(1).half()

    assert torch.equal(run(_pool().half(), tokens, x), _by_argmax(tokens, x))


@pytest.mark.parametrize("causal", [False, True])
def test_the_static_tower_gives_the_same(causal: bool) -> None:
    """The whole text tower agrees within float32 rounding, before and after its projection."""
    original = tiny_clip(causal=causal).text
    tokens = texts(1, 9, 40, 76)

    static = end_of_text.apply(copy.deepcopy(original), tokens[:1])

    assert difference(run(original, tokens), run(static, tokens)) < ROUNDING
    assert not end_of_text.applies(static)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("pool_type", "last", "pooling 'last'"),
        ("use_pad_mask", True, "padding mask"),
        ("output_tokens", True, "several"),
    ],
)
def test_other_text_towers_are_refused(name: str, value: object, said: str) -> None:
    """What MobileCLIP has not is named, not converted wrongly."""
    text = tiny_clip().text
    setattr(text, name, value)

    with pytest.raises(ConversionError, match=said):
        end_of_text.apply(text, texts(3))


def test_another_kind_of_tower_is_refused() -> None:
    """The rewrite says what it saw."""
    assert not end_of_text.applies(nn.Linear(1, 1))
    with pytest.raises(ConversionError, match="saw Linear"):
        end_of_text.apply(nn.Linear(1, 1), texts(3))


def test_a_bias_of_the_projection_is_kept() -> None:
    """A tower whose projection is a linear keeps it; one without keeps none."""
    text = tiny_clip().text
    text.text_projection = None
    tokens = texts(4, 8)

    static = end_of_text.apply(copy.deepcopy(text), tokens[:1])

    assert difference(run(text, tokens), run(static, tokens)) < ROUNDING


def test_twin_the_last_of_several_ends_shows() -> None:
    """Pooling the last end is not taken for equal."""
    tokens = texts(10)
    tokens[0, 20] = END
    pool = _pool()
    pool.first_end.copy_(pool.first_end.flip(0, 1))

    assert not torch.equal(run(pool, tokens, _states(1)), _by_argmax(tokens, _states(1)))
