"""Operations that make tensors, join them and cut them into pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from converter.mil.ops import Arguments, Kernel


def kernels() -> dict[str, Kernel]:
    """Kernels by operation."""
    import torch

    return {
        "band_part": _band_part,
        "concat": _concat,
        "cumsum": _cumsum,
        "fill": lambda a: _filled(a["shape"].tolist(), a),
        "fill_like": lambda a: _filled(list(a["ref_tensor"].shape), a),
        "identity": lambda a: a["x"],
        "non_zero": lambda a: torch.nonzero(a["x"]),
        "one_hot": _one_hot,
        "range_1d": _range_1d,
        "shape": lambda a: torch.tensor(a["x"].shape, dtype=torch.int32),
        "split": _split,
        "stack": lambda a: torch.stack(a["values"], dim=int(a["axis"])),
        "tile": lambda a: a["x"].tile(a["reps"].tolist()),
    }


def _band_part(a: Arguments) -> torch.Tensor:
    """MIL `band_part` (iOS15): the innermost matrices with zeros outside a band around their diagonal.

    The band has `lower` diagonals below and `upper` above; -1, the default of both, keeps that whole triangle. What is
    outside becomes zero even where it is infinite or NaN.
    """
    import torch

    x = a["x"]
    above = torch.arange(x.shape[-1]) - torch.arange(x.shape[-2]).unsqueeze(1)
    lower, upper = int(a.get("lower", -1)), int(a.get("upper", -1))
    kept = torch.ones_like(above, dtype=torch.bool)
    if lower >= 0:
        kept &= above >= -lower
    if upper >= 0:
        kept &= above <= upper
    return torch.where(kept, x, torch.zeros_like(x))


def _concat(a: Arguments) -> torch.Tensor:
    """MIL `concat` (iOS15): the `values` one after the other along `axis`; scalars become a vector.

    With `interleave`, false by default, the values take turns, one slice each: they must have one shape.
    """
    import torch

    values = [one if one.ndim else one.reshape(1) for one in a["values"]]
    axis = int(a["axis"]) % values[0].ndim
    if not a.get("interleave", False):
        return torch.cat(values, dim=axis)
    return torch.stack(values, dim=axis + 1).flatten(axis, axis + 1)


def _cumsum(a: Arguments) -> torch.Tensor:
    """MIL `cumsum` (iOS15): sums along `axis`, by default 0, of all values up to each.

    With `exclusive` a value itself does not count; with `reverse` the sums start at the end. Both default to false.
    """
    import torch

    axis = int(a.get("axis", 0))
    x: torch.Tensor = a["x"].flip(axis) if a.get("reverse", False) else a["x"]
    sums = x.cumsum(axis)
    if a.get("exclusive", False):
        before = torch.zeros_like(sums.narrow(axis, 0, 1))
        sums = torch.cat([before, sums.narrow(axis, 0, x.shape[axis] - 1)], dim=axis)
    return sums.flip(axis) if a.get("reverse", False) else sums


def _filled(shape: list[int], a: Arguments) -> torch.Tensor:
    """MIL `fill` (iOS15), `fill_like` (iOS16): `value`, 0.0 by default, at every place."""
    import torch

    value: torch.Tensor = a.get("value", torch.tensor(0.0))
    return value.expand(shape)


def _one_hot(a: Arguments) -> torch.Tensor:
    """MIL `one_hot` (iOS15): `on_value` at the place that each index names on a new `axis`, elsewhere `off_value`.

    The axis is the last by default, the values 1 and 0. An index outside 0 .. `one_hot_vector_size` - 1 names none.
    """
    import torch

    indices = a["indices"]
    axis = int(a.get("axis", -1)) % (indices.ndim + 1)
    places = torch.arange(int(a["one_hot_vector_size"])).reshape(-1, *[1] * (indices.ndim - axis))
    on, off = (a.get(key, torch.tensor(value)) for key, value in (("on_value", 1), ("off_value", 0)))
    return torch.where(indices.unsqueeze(axis) == places, on, off)


def _range_1d(a: Arguments) -> torch.Tensor:
    """MIL `range_1d` (iOS15): start, start + step, ... before `end`: ceil((end - start) / step) values."""
    import torch

    start, end, step = a["start"], a["end"], a["step"]
    if not step:
        message = "a range needs a step other than 0"
        raise ValueError(message)
    whole = not start.is_floating_point()
    steps = -torch.div(start - end, step, rounding_mode="floor") if whole else torch.ceil((end - start) / step)
    return start + torch.arange(max(int(steps), 0)) * step


def _split(a: Arguments) -> tuple[torch.Tensor, ...]:
    """MIL `split` (iOS15): pieces along `axis` of `split_sizes`, or `num_splits` equal ones."""
    x, axis = a["x"], int(a["axis"])
    if "split_sizes" in a:
        return tuple(x.split(a["split_sizes"].tolist(), dim=axis))
    size, rest = divmod(x.shape[axis], int(a["num_splits"]))
    if rest:
        message = f"axis {axis} of {x.shape[axis]} values does not divide into {int(a['num_splits'])} equal pieces"
        raise ValueError(message)
    return tuple(x.split(size, dim=axis))
