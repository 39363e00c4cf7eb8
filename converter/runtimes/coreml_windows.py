"""MIL's operations that slide a window, with PyTorch's kernels: convolution, pooling, and the padding around them.

MIL names every pad, first axis first, before and after; torch's `pad` takes the last axis first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    Arguments = Mapping[str, Any]
    Kernel = Callable[[Arguments], torch.Tensor]

PAD_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "replicate"}


def window_kernels() -> dict[str, Kernel]:
    """Kernels by operation."""
    return {"conv": _conv, "avg_pool": _avg_pool, "max_pool": _max_pool, "pad": _pad}


def _conv(a: Arguments) -> torch.Tensor:
    from torch.nn import functional

    weight = a["weight"]
    convolve: Any = functional.conv1d if weight.ndim == 3 else functional.conv2d
    result: torch.Tensor = convolve(
        _padded(a, 0.0), weight, a.get("bias"), a["strides"].tolist(), 0, a["dilations"].tolist(), int(a["groups"])
    )
    return result


def _avg_pool(a: Arguments) -> torch.Tensor:
    """Padding counts as zeros, or not at all where it is excluded: then the mean of ones says which share counts."""
    import torch

    total = _pool(a, _padded(a, 0.0), "avg_pool")
    if not a["exclude_padding_from_average"]:
        return total
    ones = {**a, "x": torch.ones_like(a["x"][:1, :1])}
    return total / _pool(ones, _padded(ones, 0.0), "avg_pool")


def _max_pool(a: Arguments) -> torch.Tensor:
    return _pool(a, _padded(a, -math.inf), "max_pool")


def _pool(a: Arguments, x: torch.Tensor, kind: str) -> torch.Tensor:
    from torch.nn import functional

    kernel: Any = getattr(functional, f"{kind}{len(a['kernel_sizes'])}d")
    strides = a["strides"].tolist() if "strides" in a else [1] * len(a["kernel_sizes"])
    result: torch.Tensor = kernel(x, a["kernel_sizes"].tolist(), strides, ceil_mode=bool(a.get("ceil_mode", False)))
    return result


def _padded(a: Arguments, value: float) -> torch.Tensor:
    from torch.nn import functional

    if a["pad_type"] not in ("valid", "custom"):
        message = f"padding of kind {a['pad_type']}"
        raise ValueError(message)
    x: torch.Tensor = a["x"]
    return x if a["pad_type"] == "valid" else functional.pad(x, _last_first(a["pad"]), value=value)


def _pad(a: Arguments) -> torch.Tensor:
    from torch.nn import functional

    mode = PAD_MODES[a.get("mode", "constant")]
    if mode != "constant":
        return functional.pad(a["x"], _trimmed(_last_first(a["pad"])), mode)
    return functional.pad(a["x"], _last_first(a["pad"]), mode, float(a.get("constant_val", 0.0)))


def _last_first(pads: torch.Tensor) -> list[int]:
    pairs: list[int] = pads.reshape(-1, 2).flip(0).reshape(-1).tolist()
    return pairs


def _trimmed(pairs: list[int]) -> list[int]:
    """Without the zeros of leading axes, which torch's other modes refuse."""
    while len(pairs) > 2 and pairs[-2:] == [0, 0]:
        pairs = pairs[:-2]
    return pairs
