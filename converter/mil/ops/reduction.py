"""Operations that reduce axes to one value.

All take `keep_dims`, false by default. Sums are taken in float32; of whole numbers the result is computed without
rounding and loses its fraction, as the declared integer type cannot hold it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from converter.mil.ops import Arguments, Kernel

    Reduce = Callable[[torch.Tensor], torch.Tensor]


def kernels() -> dict[str, Kernel]:
    """Kernels by operation."""
    import torch

    return {
        "reduce_argmax": _located(torch.argmax),
        "reduce_argmin": _located(torch.argmin),
        "reduce_l1_norm": _reduced(lambda x: x.abs().sum(-1)),
        "reduce_l2_norm": _reduced(lambda x: torch.linalg.vector_norm(_real(x), dim=-1)),
        "reduce_log_sum": _reduced(lambda x: _real(x).sum(-1).log()),
        "reduce_log_sum_exp": _reduced(lambda x: _real(x).logsumexp(-1)),
        "reduce_max": _reduced(lambda x: x.amax(-1)),
        "reduce_mean": _reduced(_mean),
        "reduce_min": _reduced(lambda x: x.amin(-1)),
        "reduce_prod": _reduced(lambda x: x.prod(-1)),
        "reduce_sum": _reduced(lambda x: x.sum(-1)),
        "reduce_sum_square": _reduced(lambda x: x.square().sum(-1)),
    }


def _reduced(last: Reduce) -> Kernel:
    """A kernel that reduces `axes`, by default all of them, with a function that reduces the last axis.

    An empty `axes` reduces nothing: each value is then the only one of its group.
    """

    def kernel(a: Arguments) -> torch.Tensor:
        x: torch.Tensor = a["x"]
        axes = [axis % x.ndim for axis in a["axes"].tolist()] if "axes" in a else list(range(x.ndim))
        kept = [axis for axis in range(x.ndim) if axis not in axes]
        grouped = x.permute(*kept, *axes).reshape(*(x.shape[axis] for axis in kept), -1)
        result = last(grouped)
        return result.reshape([1 if i in axes else x.shape[i] for i in range(x.ndim)]) if _keeps(a) else result

    return kernel


def _located(function: Callable[..., torch.Tensor]) -> Kernel:
    """MIL `reduce_argmax`, `reduce_argmin` (iOS15, iOS17): the first place along `axis`, by default the last axis."""
    return lambda a: function(a["x"], dim=int(a.get("axis", -1)), keepdim=_keeps(a))


def _mean(x: torch.Tensor) -> torch.Tensor:
    """MIL `reduce_mean` (iOS15)."""
    import torch

    return x.mean(-1) if x.is_floating_point() else x.sum(-1).div(x.shape[-1], rounding_mode="trunc").to(torch.int32)


def _real(x: torch.Tensor) -> torch.Tensor:
    return x if x.is_floating_point() else x.double()


def _keeps(a: Arguments) -> bool:
    return bool(a.get("keep_dims", False))
