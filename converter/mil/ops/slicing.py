"""Operations that read or write a rectangular part of a tensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from converter.mil.ops import Arguments, Kernel


def kernels() -> dict[str, Kernel]:
    """Kernels by operation."""
    return {"slice_by_index": _slice_by_index, "slice_by_size": _slice_by_size, "slice_update": _slice_update}


@dataclass(frozen=True, kw_only=True)
class _Part:
    """A part of a tensor: slices with positive steps, the axes to reverse in it, then the axes to drop from it."""

    slices: tuple[slice, ...]
    reversed: tuple[int, ...]
    dropped: tuple[int, ...]


def _slice_by_index(a: Arguments) -> torch.Tensor:
    """MIL `slice_by_index` (iOS15, iOS17): x[begin:end:stride] on each axis, read as Python reads it.

    `stride` is 1 by default and may be negative. Where `begin_mask` or `end_mask` is true, the slice starts or ends at
    the end of the axis; where `squeeze_mask` is, the axis is dropped and only the value at `begin` stays. All masks
    are false by default.
    """
    part = _part(a)
    x: torch.Tensor = a["x"][part.slices].flip(part.reversed)
    return x.squeeze(part.dropped)


def _slice_update(a: Arguments) -> torch.Tensor:
    """MIL `slice_update` (iOS18): `x` with `update` in the place of what `slice_by_index` would read."""
    part = _part(a)
    result: torch.Tensor = a["x"].clone()
    place = result[part.slices]
    expected = list(place.squeeze(part.dropped).shape)
    if list(a["update"].shape) != expected:
        message = f"the update has shape {list(a['update'].shape)}, the part that it replaces {expected}"
        raise ValueError(message)
    place.copy_(a["update"].reshape(place.shape).flip(part.reversed))
    return result


def _slice_by_size(a: Arguments) -> torch.Tensor:
    """MIL `slice_by_size` (iOS15, iOS17): `size` values from `begin` on each axis; -1 takes all that follow.

    A negative `begin` counts from the end of the axis, as in `slice_by_index`.
    """
    x: torch.Tensor = a["x"]
    for axis, (first, size) in enumerate(zip(a["begin"].tolist(), a["size"].tolist(), strict=True)):
        start = first + x.shape[axis] if first < 0 else first
        x = x.narrow(axis, start, x.shape[axis] - start if size == -1 else size)
    return x


def _part(a: Arguments) -> _Part:
    shape = a["x"].shape
    begin, end = a["begin"].tolist(), a["end"].tolist()
    stride = a["stride"].tolist() if "stride" in a else [1] * len(shape)
    open_begin, open_end, single = (_flags(a, key, len(shape)) for key in ("begin_mask", "end_mask", "squeeze_mask"))
    places = [
        _single(0 if open_begin[i] else begin[i], shape[i])
        if single[i]
        else range(shape[i])[None if open_begin[i] else begin[i] : None if open_end[i] else end[i] : stride[i]]
        for i in range(len(shape))
    ]
    return _Part(
        slices=tuple(_ascending(one) for one in places),
        reversed=tuple(i for i, one in enumerate(places) if one.step < 0),
        dropped=tuple(i for i in range(len(shape)) if single[i]),
    )


def _flags(a: Arguments, key: str, count: int) -> list[bool]:
    return a[key].tolist() if key in a else [False] * count


def _single(index: int, size: int) -> range:
    if not -size <= index < size:
        message = f"index {index} lies outside an axis of {size}"
        raise ValueError(message)
    return range(index % size, index % size + 1)


def _ascending(places: range) -> slice:
    """The same places as a slice that torch takes: from the lowest up, never with a negative end."""
    if not places:
        return slice(0, 0)
    low, high = sorted((places[0], places[-1]))
    return slice(low, high + 1, abs(places.step))
