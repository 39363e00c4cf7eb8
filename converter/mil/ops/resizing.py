"""Operations that bring an image to another size, and where they read it.

Along an axis of `n` pixels, pixel `i` has its centre at `i`. Every operation first says at which places it reads, then
mixes the neighbours of each place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from converter.mil.ops import Arguments, Kernel

FRONTEND_EXCESS = 2e-4
"""Coremltools writes the scale of a wanted size as (size + 1e-4) / pixels; float32 rounds it by less than as much."""


def kernels() -> dict[str, Kernel]:
    """Kernels by operation."""
    return {
        "crop": _crop,
        "resize": _resize,
        "resize_bilinear": _resize_bilinear,
        "resize_nearest_neighbor": _resize_nearest,
        "upsample_bilinear": _upsample_bilinear,
        "upsample_nearest_neighbor": _upsample_nearest,
    }


def places(mode: str, pixels: int, count: int, first: float = 0.0, last: float | None = None) -> torch.Tensor:
    """Where `count` values of an axis are read, by MIL's sampling mode, between pixel `first` and pixel `last`.

    Raises:
        ValueError: no such mode.
    """
    import torch

    last = pixels - 1.0 if last is None else last
    index = torch.arange(count, dtype=torch.float64)
    if mode == "ALIGN_CORNERS" and count == 1:
        return index + (first + last) / 2
    if mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        return first + index * ((last - first) / max(1, count - 1))
    if mode == "OFFSET_CORNERS":
        return first + (index + 0.5) * (max(1.0, last - first) / count)
    if mode == "DEFAULT":
        return first + index * (pixels / count)
    if mode == "UNALIGN_CORNERS":
        return first + (index + 0.5) * (pixels / count) - 0.5
    message = f"sampling mode {mode}"
    raise ValueError(message)


def _resize_bilinear(a: Arguments) -> torch.Tensor:
    """MIL `resize_bilinear`: the last two axes brought to a size. Defaults: sizes 1, sampling_mode "DEFAULT"."""
    sizes = [int(a.get(f"target_size_{side}", 1)) for side in ("height", "width")]
    return _linear(a["x"], sizes, a.get("sampling_mode", "DEFAULT"))


def _resize_nearest(a: Arguments) -> torch.Tensor:
    """MIL `resize_nearest_neighbor`: the pixel that holds `(i + 0.5) * pixels / size`.

    The specification gives no formula; this is the one that coremltools maps from TensorFlow's `half_pixel_centers`.
    """
    return _nearest(a["x"], [int(a[f"target_size_{side}"]) for side in ("height", "width")])


def _resize(a: Arguments) -> torch.Tensor:
    """MIL `resize`: the last `resized_dims` axes brought to the end of `shape`, where 0 keeps the input's size.

    Defaults: interpolation_mode "LINEAR", sampling_mode "DEFAULT".

    Raises:
        ValueError: nearest neighbours with another sampling mode, or linear mixing of whole numbers: not defined.
    """
    x, count = a["x"], int(a["resized_dims"])
    if count > min(a["shape"].numel(), x.ndim):
        message = f"resized_dims {count} of shape {a['shape'].tolist()} for a tensor of {x.ndim} axes"
        raise ValueError(message)
    wanted = a["shape"].tolist()[a["shape"].numel() - count :]
    sizes = [size or kept for size, kept in zip(wanted, x.shape[x.ndim - count :], strict=True)]
    interpolation, mode = a.get("interpolation_mode", "LINEAR"), a.get("sampling_mode", "DEFAULT")
    if interpolation == "LINEAR" and x.dtype.is_floating_point:
        return _linear(x, sizes, mode)
    if interpolation == "NEAREST_NEIGHBOR" and mode == "DEFAULT":
        return _nearest(x, sizes)
    message = f"interpolation {interpolation} in sampling mode {mode} of {x.dtype}: what it gives is not defined"
    raise ValueError(message)


def _upsample_bilinear(a: Arguments) -> torch.Tensor:
    """MIL `upsample_bilinear`: the last two axes times a scale, rounded down; then the scale is taken from the sizes.

    Defaults: scales 1, align_corners true, half_pixel_centers the opposite of align_corners.

    Raises:
        ValueError: corners aligned and pixels halved at once.
    """
    aligned = bool(a.get("align_corners", True))
    halved = bool(a.get("half_pixel_centers", not aligned))
    if aligned and halved:
        message = "align_corners and half_pixel_centers are both true: what it gives is not defined"
        raise ValueError(message)
    mode = "STRICT_ALIGN_CORNERS" if aligned else "UNALIGN_CORNERS" if halved else "DEFAULT"
    return _linear(a["x"], _scaled_sizes(a), mode)


def _upsample_nearest(a: Arguments) -> torch.Tensor:
    """MIL `upsample_nearest_neighbor`: the pixel at `floor(i * pixels / size)`, where `size = floor(pixels * scale)`.

    Defaults: scales 1.

    Raises:
        ValueError: the scale would choose other pixels than the sizes do, and the specification does not say which.
    """
    x, sizes = a["x"], _scaled_sizes(a)
    for axis, size, scale in zip((-2, -1), sizes, _scales(a), strict=True):
        pixels = x.shape[axis]
        chosen = [index * pixels // size for index in range(size)]
        by_scale = [min(pixels - 1, int(index / scale)) for index in range(size)]
        if chosen != by_scale and pixels * scale - size > FRONTEND_EXCESS:
            message = f"{pixels} pixels times {float(scale):g}: sizes and scale choose different pixels"
            raise ValueError(message)
        x = x.index_select(axis, _index(chosen))
    return x


def _scales(a: Arguments) -> list[Any]:
    """Scales of height and width in float32, as the size is computed from them."""
    import numpy as np

    return [np.float32(float(a.get(f"scale_factor_{side}", 1))) for side in ("height", "width")]


def _scaled_sizes(a: Arguments) -> list[int]:
    return [int(size * scale) for size, scale in zip(a["x"].shape[-2:], _scales(a), strict=True)]


def _linear(x: torch.Tensor, sizes: Sequence[int], mode: str) -> torch.Tensor:
    """The last axes resized one after the other; beyond the first and last pixel stands that pixel."""
    for axis, size in enumerate(sizes, start=x.ndim - len(sizes)):
        pixels = x.shape[axis]
        where = places(mode, pixels, size).clamp(0, pixels - 1)
        below = where.floor().long()
        above = (below + 1).clamp(max=pixels - 1)
        share = (where - below).float().reshape([-1, *[1] * (x.ndim - 1 - axis)])
        x = x.index_select(axis, below) * (1 - share) + x.index_select(axis, above) * share
    return x


def _nearest(x: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    for axis, size in enumerate(sizes, start=x.ndim - len(sizes)):
        pixels = x.shape[axis]
        x = x.index_select(axis, _index([(2 * index + 1) * pixels // (2 * size) for index in range(size)]))
    return x


def _index(values: list[int]) -> torch.Tensor:
    import torch

    return torch.tensor(values, dtype=torch.long)


def _crop(a: Arguments) -> torch.Tensor:
    """MIL `crop`: the last two axes without `crop_height` and `crop_width`, each (before, after)."""
    x: torch.Tensor = a["x"]
    (top, bottom), (left, right) = a["crop_height"].tolist(), a["crop_width"].tolist()
    height, width = x.shape[-2:]
    return x[..., top : height - bottom, left : width - right]
