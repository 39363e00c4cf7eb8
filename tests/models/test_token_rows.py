"""Compact weights give back what was stored of them, and nothing that does not fit together."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from converter.errors import WeightsError
from converter.models.checkpoint import read_state_dict
from converter.models.token_rows import IDS, ROWS, TABLE, VOCABULARY, compact, expand


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    """A table of token embeddings, another weight, and a counter."""
    return {
        TABLE: torch.randn(VOCABULARY, 4).half().float(),
        "visual.weight": torch.randn(3, 2).half().float(),
        "count": torch.tensor(70000),
    }


def test_stored_rows_come_back_and_all_others_are_zero(state: dict[str, torch.Tensor]) -> None:
    """Float16 for all floats; integers as they are; ids in any order, twice too."""
    small = compact(state, [49407, 5, 5, 0])

    whole = expand(small)

    assert small[ROWS].shape == (3, 4) and small["visual.weight"].dtype == torch.float16
    assert torch.equal(whole[TABLE][[0, 5, 49407]].float(), state[TABLE][[0, 5, 49407]])
    assert whole[TABLE].count_nonzero() == small[ROWS].count_nonzero()
    assert torch.equal(whole["visual.weight"].float(), state["visual.weight"]) and whole["count"] == 70000


def test_whole_weights_are_left_alone(state: dict[str, torch.Tensor]) -> None:
    """Every checkpoint passes through here."""
    assert expand(state) == state


def test_a_checkpoint_is_expanded_when_it_is_read(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    """So that --weights FILE takes what training wrote."""
    save_file(compact(state, [1]), tmp_path / "small.safetensors")

    assert set(read_state_dict(tmp_path / "small.safetensors")) == set(state)


@pytest.mark.parametrize(
    "change",
    [{IDS: None}, {ROWS: None}, {IDS: torch.tensor([1, 2])}, {IDS: torch.tensor([49408])}, {IDS: torch.tensor([-1])}],
    ids=["no ids", "no rows", "too many ids", "beyond the vocabulary", "negative"],
)
def test_ids_that_do_not_fit_the_rows_are_refused(
    state: dict[str, torch.Tensor], change: dict[str, torch.Tensor | None]
) -> None:
    """With what was found, instead of a table of the wrong words."""
    small = {name: tensor for name, tensor in (compact(state, [1]) | change).items() if tensor is not None}

    with pytest.raises(WeightsError, match="compact weights have"):
        expand(small)
