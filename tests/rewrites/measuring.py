"""How the tests of this room run a tower and measure differences."""

from __future__ import annotations

from typing import Any

import torch

ROUNDING = 2e-5
"""float32 rounding of a few layers, relative to the largest value."""


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """Largest absolute difference over the largest value of `one`."""
    assert one.shape == other.shape
    return float((one - other).abs().max() / one.abs().max())


def run(module: Any, *arguments: Any) -> torch.Tensor:
    """One forward pass without gradients."""
    with torch.no_grad():
        result: torch.Tensor = module(*arguments)
    return result


def pictures(count: int = 3, size: int = 64) -> torch.Tensor:
    """(count, 3, size, size) in [0, 1]."""
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(5))


def texts(*ends: int, length: int = 77, end_token: int = 49407) -> torch.Tensor:
    """One row of random int32 tokens for each place of its end token, then padding."""
    generator = torch.Generator().manual_seed(6)
    rows = torch.zeros(len(ends), length, dtype=torch.int32)
    for row, end in zip(rows, ends, strict=True):
        row[:end] = torch.randint(1, 49405, (end,), generator=generator, dtype=torch.int32)
        row[end] = end_token
    return rows
