from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from converter.rewrites import unit_length


def _rows(scale: float) -> torch.Tensor:
    return torch.randn(6, 512, generator=torch.Generator().manual_seed(10)) * scale


@pytest.mark.parametrize("scale", [1e-3, 1.0, 300.0, 1e18])
def test_agrees_with_normalize(scale: float) -> None:
    """Within float32 rounding of torch's normalize, whatever the length."""
    expected = functional.normalize(_rows(scale).double(), dim=-1).float()

    assert torch.allclose(unit_length.unit_length(_rows(scale)), expected, atol=2e-7, rtol=0)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1000.0])
def test_survives_half_precision(scale: float) -> None:
    """In float16 rows of any length that float16 holds come out with length 1."""
    lengths = unit_length.unit_length(_rows(scale).half()).float().norm(dim=-1)

    assert torch.allclose(lengths, torch.ones(6), atol=2e-3)


@pytest.mark.parametrize("scale", [1e-4, 1000.0])
def test_twin_plain_normalizing_does_not_survive_half_precision(scale: float) -> None:
    """The check above would catch squares that are summed in float16 as they are."""
    rows = _rows(scale).half()
    lengths = (rows / (rows * rows).sum(dim=-1, keepdim=True).sqrt()).float().norm(dim=-1)

    assert not torch.allclose(lengths, torch.ones(6), atol=2e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_zero_stays_zero(dtype: torch.dtype) -> None:
    """Nothing is divided by nothing."""
    assert not unit_length.unit_length(torch.zeros(2, 8, dtype=dtype)).any()


def test_wraps_a_tower_once() -> None:
    """A tower that ends in this step is left alone."""
    tower = unit_length.apply(nn.Linear(4, 4), torch.zeros(1, 4))

    assert not unit_length.applies(tower)
    assert tower(torch.ones(1, 4)).norm().item() == pytest.approx(1.0)
