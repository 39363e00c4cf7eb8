"""Constants that lie compressed in the file: `constexpr_*`, decoded once when a program is opened.

Until iOS17 a table's indices and a mask are packed bits beside the shape that they fill; from iOS18 on they are tensors
of narrow types, and scales and tables may belong to blocks of the tensor. A sparse operation of iOS18 takes and gives a
mask and the values that are not zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from converter.mil.ops import Arguments, Kernel


def kernels() -> dict[str, Kernel]:
    """Kernels by operation."""
    return {
        "constexpr_affine_dequantize": _affine_dequantize,
        "constexpr_cast": _cast,
        "constexpr_lut_to_dense": _lut_to_dense,
        "constexpr_sparse_to_dense": _sparse_to_dense,
        "constexpr_blockwise_shift_scale": _blockwise_shift_scale,
        "constexpr_lut_to_sparse": _lut_to_sparse,
        "constexpr_sparse_blockwise_shift_scale": _sparse_blockwise_shift_scale,
    }


def _affine_dequantize(a: Arguments) -> torch.Tensor:
    """MIL `constexpr_affine_dequantize`: `scale * (quantized_data - zero_point)`; vectors lie along `axis`."""
    data = a["quantized_data"].float()
    shape = [1] * data.ndim
    shape[int(a["axis"])] = -1
    scale, zero_point = (a[key] if a[key].ndim == 0 else a[key].reshape(shape) for key in ("scale", "zero_point"))
    return (data - zero_point) * scale


def _cast(a: Arguments) -> torch.Tensor:
    """MIL `constexpr_cast`: a float16 constant as float32.

    Raises:
        ValueError: another type, which the specification does not allow.
    """
    if a["output_dtype"] != "fp32":
        message = f"cast of a constant to {a['output_dtype']}; the specification has fp32"
        raise ValueError(message)
    value: torch.Tensor = a["source_val"]
    return value


def _lut_to_dense(a: Arguments) -> torch.Tensor:
    """MIL `constexpr_lut_to_dense`: each index's value, or vector along `vector_axis`, in its block's table."""
    if "shape" not in a:
        return _looked_up(a["indices"], a["lut"], a.get("vector_axis"))
    shape, lut = a["shape"].tolist(), a["lut"]
    indices = _unpacked(a["indices"], int(math.log2(lut.numel())), math.prod(shape))
    found: torch.Tensor = lut[indices].reshape(shape)
    return found


def _sparse_to_dense(a: Arguments) -> torch.Tensor:
    """MIL `constexpr_sparse_to_dense`: the values that are not zero where the mask has a one, row by row."""
    if "shape" not in a:
        return _filled(a["mask"], a["nonzero_data"])
    shape = a["shape"].tolist()
    return _filled(_unpacked(a["mask"], 1, math.prod(shape)).reshape(shape), a["nonzero_data"])


def _blockwise_shift_scale(a: Arguments) -> torch.Tensor:
    """MIL `constexpr_blockwise_shift_scale`: `scale * (data - offset)`, each of the block. Default: offset 0."""
    return _shifted(a["data"], a["scale"], a.get("offset"))


def _lut_to_sparse(a: Arguments) -> tuple[torch.Tensor, torch.Tensor]:
    """MIL `constexpr_lut_to_sparse`: as `constexpr_lut_to_dense` on the values alone; a vector repeats its mask."""
    mask, axis = a["indices_mask"], a.get("vector_axis")
    dense = _looked_up(_filled(mask, a["indices_nonzero_data"]), a["lut"], axis)
    if axis is not None:
        mask = mask.repeat_interleave(a["lut"].shape[-1], dim=int(axis))
    return mask, dense[mask != 0]


def _sparse_blockwise_shift_scale(a: Arguments) -> tuple[torch.Tensor, torch.Tensor]:
    """MIL `constexpr_sparse_blockwise_shift_scale`: as `constexpr_blockwise_shift_scale` on the values alone."""
    mask = a["data_mask"]
    return mask, _shifted(_filled(mask, a["nonzero_data"]), a["scale"], a.get("offset"))[mask != 0]


def _looked_up(indices: torch.Tensor, lut: torch.Tensor, vector_axis: torch.Tensor | None) -> torch.Tensor:
    """Tables of shape `(*blocks, entries, width)`; a width above 1 lengthens the vector's axis that many times."""
    import torch

    if lut.ndim != indices.ndim + 2:
        message = f"tables of shape {list(lut.shape)} for indices of shape {list(indices.shape)}"
        raise ValueError(message)
    blocks = [
        torch.arange(size)
        .div(_block(size, count), rounding_mode="floor")
        .reshape([-1, *[1] * (indices.ndim - 1 - axis)])
        for axis, (size, count) in enumerate(zip(indices.shape, lut.shape[:-2], strict=True))
    ]
    found: torch.Tensor = lut[(*blocks, indices.long())]
    if lut.shape[-1] == 1:
        return found.squeeze(-1)
    if vector_axis is None:
        message = f"tables of vectors of {lut.shape[-1]} without the axis along which they lie"
        raise ValueError(message)
    axis = int(vector_axis) % indices.ndim
    return found.movedim(-1, axis + 1).flatten(axis, axis + 1)


def _shifted(data: torch.Tensor, scale: torch.Tensor, offset: torch.Tensor | None) -> torch.Tensor:
    moved = data if offset is None else data - _repeated(offset, data.shape)
    return moved.float() * _repeated(scale, data.shape)


def _repeated(values: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """A value for each block as one for each element."""
    for axis, (size, count) in enumerate(zip(shape, values.shape, strict=True)):
        values = values.repeat_interleave(_block(size, count), dim=axis)
    return values


def _block(size: int, count: int) -> int:
    if size % count:
        message = f"{count} blocks along {size} values; a block must hold a whole number"
        raise ValueError(message)
    return size // count


def _filled(mask: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Zeros, with the values in their order where the mask is not zero."""
    import torch

    places = mask != 0
    if int(places.sum()) != values.numel():
        message = f"a mask with {int(places.sum())} ones for {values.numel()} values"
        raise ValueError(message)
    found = torch.zeros(mask.shape, dtype=values.dtype)
    found[places] = values
    return found


def _unpacked(packed: torch.Tensor, bits: int, count: int) -> torch.Tensor:
    """Whole numbers of `bits` each out of bytes, the lowest bit first.

    Raises:
        ValueError: the bytes are not as many as the count needs.
    """
    import torch

    if packed.numel() != math.ceil(bits * count / 8):
        message = f"{packed.numel()} bytes for {count} numbers of {bits} bits"
        raise ValueError(message)
    every_bit = (packed.reshape(-1, 1) >> torch.arange(8)) & 1
    return (every_bit.reshape(-1)[: bits * count].reshape(count, bits) << torch.arange(bits)).sum(dim=1)
