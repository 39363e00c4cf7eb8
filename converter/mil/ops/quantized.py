"""Values that are quantized while the program runs, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from converter.mil.ops import Arguments, Kernel

RANGES = {"int8": (-128, 127), "uint8": (0, 255)}


def kernels() -> dict[str, Kernel]:
    """Kernels by operation."""
    return {"quantize": _quantize, "dequantize": _dequantize}


def _quantize(a: Arguments) -> torch.Tensor:
    """MIL `quantize`: `clip(round(input / scale) + zero_point)` to the range of `output_dtype`.

    Rounds to the nearest, ties to even. Scale and zero point are numbers, or vectors along `axis`. Default: zero_point
    0.
    """
    x = a["input"]
    low, high = RANGES[a["output_dtype"]]
    moved = (x / _along(a, "scale", x)).round() + _along(a, "zero_point", x)
    return moved.clamp(low, high)


def _dequantize(a: Arguments) -> torch.Tensor:
    """MIL `dequantize`: `scale * (input - zero_point)`; vectors lie along `axis`. Default: zero_point 0."""
    x = a["input"]
    return _along(a, "scale", x) * (x - _along(a, "zero_point", x)).float()


def _along(a: Arguments, key: str, x: torch.Tensor) -> torch.Tensor:
    """A parameter as it meets the tensor: a number, or a vector along `axis`; 0 where the program says nothing.

    Raises:
        ValueError: a vector without an axis of its length.
    """
    import torch

    values: torch.Tensor = a.get(key, torch.tensor(0))
    if values.ndim == 0:
        return values
    axis = int(a["axis"]) if a.get("axis") is not None else None
    if axis is None or values.ndim > 1 or values.shape[0] != x.shape[axis]:
        message = f"{key} of shape {list(values.shape)} along axis {axis} of {list(x.shape)}"
        raise ValueError(message)
    shape = [1] * x.ndim
    shape[axis] = -1
    return values.reshape(shape)
