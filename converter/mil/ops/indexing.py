"""Operations that read from, or write to, places that are computed.

A negative index counts from the end of its axis. From iOS17 on the specification leaves such an index, and one beyond
the end, undefined unless `validate_indices` (false by default) forbids both. Here a negative one counts from the end
in all versions and one beyond either end is refused: no result of it could be compared with another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from converter.mil.ops import Arguments, Kernel

DEFAULT_MODE = "add"
"""What a scatter does when the file does not say. coremltools always writes the mode; its documentation names `update`
for `scatter`, its code `add` for all three."""


def kernels() -> dict[str, Kernel]:
    """Kernels by operation."""
    return {
        "gather": _gather,
        "gather_along_axis": lambda a: _along_axis(a["x"], a),
        "gather_nd": lambda a: _gather_nd(a["x"], a),
        "scatter": _scatter,
        "scatter_along_axis": lambda a: _scattered(_along_axis(_places(a["data"]), a), a),
        "scatter_nd": lambda a: _scattered(_gather_nd(_places(a["data"]), a), a),
    }


def _gather(a: Arguments) -> torch.Tensor:
    """MIL `gather` (iOS15, iOS16, iOS17): the slices of `x` along `axis`, by default 0, that `indices` name.

    The result has the shape x.shape[:axis] + indices.shape[batch_dims:] + x.shape[axis + 1:]. The first `batch_dims`
    axes, by default none, are common to `x` and `indices`, and each of their places has indices of its own.
    """
    import torch

    x, batch = a["x"], int(a.get("batch_dims", 0))
    axis = int(a.get("axis", 0)) % x.ndim
    shape, indices = x.shape, _within(a["indices"], x.shape[axis], a)
    rows = shape[:batch].numel()
    flat = x.reshape(rows, shape[batch:axis].numel(), shape[axis], -1)
    places = indices.reshape(rows, -1)
    picked = flat[torch.arange(rows).unsqueeze(1), :, places].transpose(1, 2)
    return picked.reshape([*shape[:axis], *indices.shape[batch:], *shape[axis + 1 :]])  # of no axes, a number


def _along_axis(x: torch.Tensor, a: Arguments) -> torch.Tensor:
    """MIL `gather_along_axis` (iOS15, iOS16, iOS17): at each place of `indices`, the value of `x` on its line.

    The line runs along `axis`, by default 0; the index says where on it.
    """
    axis = int(a.get("axis", 0))
    return x.gather(axis, _within(a["indices"], x.shape[axis], a))


def _gather_nd(x: torch.Tensor, a: Arguments) -> torch.Tensor:
    """MIL `gather_nd` (iOS15, iOS16, iOS17): x[i, j, ...] for each row (i, j, ...) of the last axis of `indices`.

    The first `batch_dims` axes, by default none, are common to `x` and `indices`; the rows index the axes after them.
    """
    import torch

    indices, batch = a["indices"], int(a.get("batch_dims", 0))
    outer = indices.shape[:-1]
    common = [
        torch.arange(outer[i]).reshape([-1 if i == j else 1 for j in range(len(outer))]).expand(outer)
        for i in range(batch)
    ]
    named = [_within(one, x.shape[batch + i], a) for i, one in enumerate(indices.unbind(-1))]
    return x[(*common, *named)]


def _scatter(a: Arguments) -> torch.Tensor:
    """MIL `scatter` (iOS15, iOS17): `updates` laid on the slices of `data` along `axis` that `indices` name."""
    places = _gather({**a, "x": _places(a["data"])})
    return _scattered(places, a)


def _places(data: torch.Tensor) -> torch.Tensor:
    """The number of each place of a tensor, in its shape: what gathers them says where a scatter writes."""
    import torch

    return torch.arange(data.numel()).reshape(data.shape)


def _scattered(places: torch.Tensor, a: Arguments) -> torch.Tensor:
    """MIL `scatter`, `scatter_along_axis`, `scatter_nd` (iOS15, iOS17): `data` after the updates, by `mode`.

    The modes are update, add, sub, mul, div, max, min. Several updates of one place all count, in their order: of
    `update` the last one stays.
    """
    import torch

    data, updates = a["data"], a["updates"]
    if updates.shape != places.shape:
        message = f"the updates have shape {list(updates.shape)}, the indices name places of shape {list(places.shape)}"
        raise ValueError(message)
    where, new = places.reshape(-1), updates.reshape(-1)
    flat, mode = data.reshape(-1), a.get("mode", DEFAULT_MODE)
    if mode == "update":
        order = torch.arange(len(where))
        last = torch.full_like(flat, -1, dtype=torch.long).scatter_reduce(0, where, order, "amax")
        result = torch.where(last < 0, flat, new[last.clamp(min=0)])
    elif mode in ("add", "sub"):
        result = flat.index_add(0, where, new, alpha=1 if mode == "add" else -1)
    elif mode == "div":
        divisors = torch.ones_like(flat).scatter_reduce(0, where, new, "prod")
        result = torch.div(flat, divisors, rounding_mode=None if flat.is_floating_point() else "trunc")
    else:
        result = flat.scatter_reduce(0, where, new, _REDUCTIONS[mode])
    return result.reshape(data.shape)


_REDUCTIONS = {"mul": "prod", "max": "amax", "min": "amin"}


def _within(indices: torch.Tensor, size: int, a: Arguments) -> torch.Tensor:
    """Indices as places on an axis of `size`.

    Raises:
        ValueError: one lies outside.
    """
    import torch

    lowest = 0 if a.get("validate_indices", False) else -size
    outside = indices[(indices < lowest) | (indices >= size)]
    if outside.numel():
        message = f"index {int(outside.flatten()[0])} lies outside {lowest} .. {size - 1}"
        raise ValueError(message)
    return torch.where(indices < 0, indices + size, indices).long()
