"""Matrix products and attention."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from converter.mil.ops import Arguments, Kernel

EINSUM_FORMS = ((("n", "c", "h", "w"), ("n", "w", "h", "u"), "nchu"), (("c", "h", "w"), ("w", "h", "u"), "chu"))
"""The two equations that MIL defines, in letters of our own: a product over axes -1 and -3, the others in parallel."""


def kernels() -> dict[str, Kernel]:
    """Kernels by operation."""
    return {
        "linear": _linear,
        "matmul": _matmul,
        "einsum": _einsum,
        "scaled_dot_product_attention": _attention,
    }


def _linear(a: Arguments) -> torch.Tensor:
    """MIL `linear`: `x @ weight.T + bias`. Default: bias 0."""
    from torch.nn import functional

    x, weight, bias = a["x"], a["weight"], a.get("bias")
    if x.dtype != weight.dtype:
        message = f"x is {x.dtype}, weight is {weight.dtype}: the specification does not say in which the sum is taken"
        raise ValueError(message)
    if x.dtype.is_floating_point:
        return functional.linear(x, weight, bias)
    found = x @ weight.T
    return found if bias is None else found + bias


def _matmul(a: Arguments) -> torch.Tensor:
    """MIL `matmul`: the product over the last two axes, the others in parallel.

    A vector is a row on the left, a column on the right, and has nothing to transpose. Defaults: transpose_x and
    transpose_y false.
    """
    x, y = _transposed(a, "x"), _transposed(a, "y")
    return x @ y


def _transposed(a: Arguments, key: str) -> torch.Tensor:
    value: torch.Tensor = a[key]
    return value.transpose(-1, -2) if bool(a.get(f"transpose_{key}", False)) and value.ndim > 1 else value


def _einsum(a: Arguments) -> torch.Tensor:
    """MIL `einsum` of two values: `nchw,nwhu->nchu` or `chw,whu->chu` in any letters; axes of size 1 are repeated.

    Raises:
        ValueError: another equation, which MIL does not define.
    """
    import torch

    equation = a["equation"].replace(" ", "")
    if not any(_same_form(equation, f"{''.join(x)},{''.join(y)}->{out}") for x, y, out in EINSUM_FORMS):
        message = f"equation {equation}; MIL defines nchw,nwhu->nchu and chw,whu->chu"
        raise ValueError(message)
    x, y = a["values"]
    return torch.einsum(equation, x, y)


def _same_form(left: str, right: str) -> bool:
    """Whether two equations differ by the names of their letters alone."""
    pairs = set(zip(left, right, strict=False))
    return len(left) == len(right) and len(pairs) == len(set(left)) == len(set(right))


def _attention(a: Arguments) -> torch.Tensor:
    """MIL `scaled_dot_product_attention`: `softmax(query @ key.T / sqrt(width) + mask) @ value`. Default: no mask.

    A bool mask lets through where it is true. A row that lets nothing through is not a number, as the formula says;
    torch's own operation gives zeros there.
    """
    import torch

    scores = a["query"] @ a["key"].transpose(-1, -2) / math.sqrt(a["query"].shape[-1])
    mask = a.get("attn_mask")
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask
    return torch.softmax(scores, dim=-1) @ a["value"]
