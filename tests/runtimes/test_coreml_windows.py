"""Sliding windows are computed as MIL defines them, which is not always as torch's defaults do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from converter.runtimes.coreml_windows import window_kernels

KERNELS = window_kernels()
X = torch.randn(2, 3, 7, 9, generator=torch.Generator().manual_seed(1))


def _pool(kind: str, **changes: Any) -> torch.Tensor:
    given = {
        "x": X, "kernel_sizes": torch.tensor([3, 3]), "strides": torch.tensor([2, 2]), "pad_type": "custom",
        "pad": torch.tensor([1, 1, 1, 1]), "exclude_padding_from_average": False, "ceil_mode": False, **changes,
    }  # fmt: skip
    return KERNELS[kind](given)


def test_average_pooling_counts_padding_or_not() -> None:
    """Both ways agree with torch's, and differ from each other."""
    counted = _pool("avg_pool")
    excluded = _pool("avg_pool", exclude_padding_from_average=True)

    assert torch.allclose(counted, functional.avg_pool2d(X, 3, 2, 1), atol=1e-6)
    assert torch.allclose(excluded, functional.avg_pool2d(X, 3, 2, 1, count_include_pad=False), atol=1e-6)
    assert not torch.allclose(counted, excluded, atol=1e-3)


def test_maximum_pooling_ignores_padding() -> None:
    """A border of zeros would win over negative values."""
    below_zero = -X.abs() - 1

    assert torch.equal(_pool("max_pool", x=below_zero), functional.max_pool2d(below_zero, 3, 2, 1))


@pytest.mark.parametrize("kind", ["avg_pool", "max_pool"])
def test_rounding_up_adds_a_window(kind: str) -> None:
    """`ceil_mode` without padding, as torch's."""
    kernel = functional.avg_pool2d if kind == "avg_pool" else functional.max_pool2d

    found = _pool(kind, pad_type="valid", kernel_sizes=torch.tensor([2, 2]), ceil_mode=True)

    assert torch.allclose(found, kernel(X, 2, 2, ceil_mode=True), atol=1e-6)


def test_pads_are_named_first_axis_first() -> None:
    """Of two axes, (top, bottom, left, right); other modes take zeros for the leading axes."""
    constant = KERNELS["pad"](
        {"x": X, "pad": torch.tensor([1, 2, 3, 4]), "mode": "constant", "constant_val": torch.tensor(5.0)}
    )
    reflected = KERNELS["pad"]({"x": X, "pad": torch.tensor([0, 0, 0, 0, 1, 2, 3, 4]), "mode": "reflect"})

    assert constant.shape == reflected.shape == (2, 3, 10, 16)
    assert torch.equal(constant[..., 1:-2, 3:-4], X)
    assert bool((constant[..., 0, :] == 5.0).all())
    assert torch.equal(reflected, functional.pad(X, (3, 4, 1, 2), "reflect"))


def test_padding_of_another_kind_is_an_error() -> None:
    """What is not known is not guessed."""
    with pytest.raises(ValueError, match="same_lower"):
        _pool("avg_pool", pad_type="same_lower")
