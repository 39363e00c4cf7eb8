"""Operations that give the values of a tensor another shape or order, and none another value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from converter.mil.ops import Arguments, Kernel


def kernels() -> dict[str, Kernel]:
    """Kernels by operation."""
    from torch.nn import functional

    return {
        "batch_to_space": _batch_to_space,
        "depth_to_space": _depth_to_space,
        "expand_dims": _expand_dims,
        "flatten2d": _flatten2d,
        "pixel_shuffle": lambda a: functional.pixel_shuffle(a["x"], int(a["upscale_factor"])),
        "pixel_unshuffle": lambda a: functional.pixel_unshuffle(a["x"], int(a["downscale_factor"])),
        "reshape": _reshape,
        "reshape_like": _reshape_like,
        "reverse": lambda a: a["x"].flip(a["axes"].tolist() if "axes" in a else list(range(a["x"].ndim))),
        "reverse_sequence": _reverse_sequence,
        "sliding_windows": _sliding_windows,
        "space_to_batch": _space_to_batch,
        "space_to_depth": _space_to_depth,
        "squeeze": lambda a: a["x"].squeeze(tuple(a["axes"].tolist()) if "axes" in a else tuple(range(a["x"].ndim))),
        "transpose": lambda a: a["x"].permute(a["perm"].tolist()),
    }


def _batch_to_space(a: Arguments) -> torch.Tensor:
    """MIL `batch_to_space` (iOS15): blocks of `block_shape` taken from the batch, then `crops` cut off the result.

    (rows * columns * n, C, H, W) becomes (n, C, H * rows, W * columns) before the crops.
    """
    rows, columns, top, bottom, left, right = _block(a, "crops")
    _, channels, height, width = a["x"].shape
    blocks = a["x"].reshape(rows, columns, -1, channels, height, width).permute(2, 3, 4, 0, 5, 1)
    full: torch.Tensor = blocks.reshape(-1, channels, height * rows, width * columns)
    return full[:, :, top : height * rows - bottom, left : width * columns - right]


def _space_to_batch(a: Arguments) -> torch.Tensor:
    """MIL `space_to_batch` (iOS15): `x` padded with zeros by `paddings`, then its blocks laid into the batch.

    (n, C, H * rows, W * columns) becomes (rows * columns * n, C, H, W); what lies first in all blocks comes first.
    """
    from torch.nn import functional

    rows, columns, top, bottom, left, right = _block(a, "paddings")
    padded = functional.pad(a["x"], (left, right, top, bottom))
    batch, channels, height, width = padded.shape
    blocks = padded.reshape(batch, channels, height // rows, rows, width // columns, columns).permute(3, 5, 0, 1, 2, 4)
    return blocks.reshape(-1, channels, height // rows, width // columns)


def _block(a: Arguments, edges: str) -> list[int]:
    return [*a["block_shape"].tolist(), *a[edges].flatten().tolist()]


def _depth_to_space(a: Arguments) -> torch.Tensor:
    """MIL `depth_to_space` (iOS15): (n, C * size^2, H, W) to (n, C, H * size, W * size).

    The place in the block is the slower part of the channel's number; in `pixel_shuffle` it is the faster.
    """
    size = int(a["block_size"])
    batch, depth, height, width = a["x"].shape
    blocks: torch.Tensor = a["x"].reshape(batch, size, size, -1, height, width).permute(0, 3, 4, 1, 5, 2)
    return blocks.reshape(batch, depth // size**2, height * size, width * size)


def _space_to_depth(a: Arguments) -> torch.Tensor:
    """MIL `space_to_depth` (iOS15): what `depth_to_space` does, undone."""
    size = int(a["block_size"])
    batch, channels, height, width = a["x"].shape
    blocks: torch.Tensor = a["x"].reshape(batch, channels, height // size, size, width // size, size)
    return blocks.permute(0, 3, 5, 1, 2, 4).reshape(batch, channels * size**2, height // size, width // size)


def _expand_dims(a: Arguments) -> torch.Tensor:
    """MIL `expand_dims` (iOS15, iOS17): axes of size 1 at the places `axes` of the result."""
    x, axes = a["x"], a["axes"].tolist()
    for axis in sorted(axis % (x.ndim + len(axes)) for axis in axes):
        x = x.unsqueeze(axis)
    return x


def _flatten2d(a: Arguments) -> torch.Tensor:
    """MIL `flatten2d` (iOS15): a matrix of the axes before `axis`, by default 1, and those from it on."""
    x: torch.Tensor = a["x"]
    return x.reshape(x.shape[: int(a.get("axis", 1))].numel(), -1)


def _reshape(a: Arguments) -> torch.Tensor:
    """MIL `reshape` (iOS15, iOS17): the values of `x` in `shape`; -1 is what remains.

    A 0 is the size of the axis of `x` that lies as far from the last, or 1 where there is none. Before iOS17 it needs
    as many axes as `x` has; then it says the same.
    """
    x: torch.Tensor = a["x"]
    wanted = a["shape"].tolist()
    offset = len(wanted) - x.ndim
    inherited = [1] * offset + list(x.shape) if offset >= 0 else list(x.shape[-offset:])
    return x.reshape([size or held for size, held in zip(wanted, inherited, strict=True)])


def _reshape_like(a: Arguments) -> torch.Tensor:
    """MIL `reshape_like` (iOS16, iOS17): the values of `x` in a shape made of parts of other tensors' shapes.

    The part of each is its axes from `begins` up to `ends`, or up to its last where `end_masks` is true.
    """
    parts = zip(*(_listed(a[key]) for key in ("ref_tensors", "begins", "ends", "end_masks")), strict=True)
    shape = [
        size for one, first, last, to_end in parts for size in one.shape[int(first) : None if to_end else int(last)]
    ]
    x: torch.Tensor = a["x"]
    return x.reshape(shape)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _reverse_sequence(a: Arguments) -> torch.Tensor:
    """MIL `reverse_sequence` (iOS15, iOS17): along `seq_axis` the first `lengths[i]` values in reverse order.

    There is a length for each place i on `batch_axis`. Both axes are 0 by default.
    """
    import torch

    x, lengths = a["x"], a["lengths"]
    along, batch = int(a.get("seq_axis", 0)) % x.ndim, int(a.get("batch_axis", 0)) % x.ndim
    if not ((lengths >= 0) & (lengths <= x.shape[along])).all():
        message = f"lengths {lengths.tolist()} of sequences of {x.shape[along]} values"
        raise ValueError(message)
    places = torch.arange(x.shape[along]).reshape(_on(along, x.ndim))
    counts = lengths.long().reshape(_on(batch, x.ndim))
    return x.gather(along, torch.where(places < counts, counts - 1 - places, places).expand(x.shape))


def _on(axis: int, rank: int) -> list[int]:
    """The shape of a vector that lies on one axis of a tensor."""
    return [-1 if i == axis else 1 for i in range(rank)]


def _sliding_windows(a: Arguments) -> torch.Tensor:
    """MIL `sliding_windows` (iOS15, iOS17): all windows of `size` along `axis`, each `stride`, by default 1, further.

    The windows' places stay on the axis, what is in them lies on a new one after it.
    """
    x: torch.Tensor = a["x"]
    axis = int(a["axis"]) % x.ndim
    return x.unfold(axis, int(a["size"]), int(a.get("stride", 1))).movedim(-1, axis + 1)
