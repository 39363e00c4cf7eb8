"""Operations that slide a window: convolution, pooling, and the padding around them.

MIL names every pad first axis first, before and after; torch's `pad` takes the last axis first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from converter.mil.ops import Arguments, Kernel

type Pair = tuple[int, int]
"""What stands before an axis and after it."""


def kernels() -> dict[str, Kernel]:
    """Kernels by operation."""
    return {
        "conv": _conv,
        "conv_quantized": _conv_quantized,
        "conv_transpose": _conv_transpose,
        "avg_pool": _avg_pool,
        "max_pool": _max_pool,
        "l2_pool": _l2_pool,
        "pad": _pad,
    }


def _conv(a: Arguments) -> torch.Tensor:
    """MIL `conv` over 1, 2 or 3 axes: `y[o] = bias[o] + sum over i, k of weight[o, i, k] * x[i, stride * p + k]`.

    Defaults: pad_type "valid", strides and dilations 1, groups 1, no bias.
    """
    from torch.nn import functional

    x, weight = a["x"], a["weight"]
    count = weight.ndim - 2
    strides, dilations = _per_axis(a, "strides", count), _per_axis(a, "dilations", count)
    pads = _pads(a, x.shape[2:], _extents(weight, dilations), strides)
    convolve: Any = getattr(functional, f"conv{count}d")
    result: torch.Tensor = convolve(
        _surrounded(x, pads, 0.0), weight, a.get("bias"), strides, 0, dilations, int(a.get("groups", 1))
    )
    return result


def _conv_quantized(a: Arguments) -> torch.Tensor:
    """MIL `conv_quantized`: `conv` with `weight * quant_scale + quant_bias`, a number or one for each output channel.

    Default: nbits 8. The specification leaves open how narrower weights are packed, what a table looks like and whether
    a bias is quantized as well.

    Raises:
        ValueError: the specification does not say what this means.
    """
    if a["quantization_type"] != "linear" or int(a.get("nbits", 8)) != 8 or "bias" in a:
        message = (
            f"weights quantized as {a['quantization_type']} to {int(a.get('nbits', 8))} bits, "
            f"{'with' if 'bias' in a else 'without'} a bias; only linear 8 bits without a bias are defined"
        )
        raise ValueError(message)
    scale, bias = (_per_channel(a[key], a["weight"]) for key in ("quant_scale", "quant_bias"))
    return _conv({**a, "weight": a["weight"] * scale + bias})


def _per_channel(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    if values.numel() not in (1, weight.shape[0]):
        message = f"{values.numel()} values for {weight.shape[0]} output channels; expected one, or one for each"
        raise ValueError(message)
    return values.reshape(-1, *[1] * (weight.ndim - 1))


def _conv_transpose(a: Arguments) -> torch.Tensor:
    """MIL `conv_transpose`: the gradient of `conv` by its input, cut to what the pads leave, then plus bias.

    Without pads a size is `(n - 1) * stride + extent`; "same" makes it `n * stride`, or what `output_shape` says, and
    cuts half of the surplus before (the smaller half). Where the result is longer than the whole, zeros follow.
    Defaults: pad_type "valid", strides and dilations 1, groups 1, no bias.
    """
    from torch.nn import functional

    x, weight = a["x"], a["weight"]
    count = weight.ndim - 2
    strides, dilations = _per_axis(a, "strides", count), _per_axis(a, "dilations", count)
    transpose: Any = getattr(functional, f"conv_transpose{count}d")
    whole: torch.Tensor = transpose(x, weight, None, strides, 0, 0, int(a.get("groups", 1)), dilations)
    pads = _cuts(a, x.shape[2:], whole.shape[2:], strides)
    found = _surrounded(whole, [(-before, -after) for before, after in pads], 0.0)
    return found if a.get("bias") is None else found + a["bias"].reshape(-1, *[1] * count)


def _cuts(a: Arguments, sizes: Sequence[int], whole: Sequence[int], strides: Sequence[int]) -> list[Pair]:
    """What a transposed convolution loses before and after each axis; below zero where it gains."""
    kind = a.get("pad_type", "valid").lower()
    if kind not in ("valid", "custom", "same"):
        message = f"padding of kind {kind} around a transposed convolution; known are valid, custom, same"
        raise ValueError(message)
    if kind == "same":
        wanted = [size * stride for size, stride in zip(sizes, strides, strict=True)]
    else:
        pairs = _pairs(a["pad"]) if kind == "custom" and "pad" in a else [(0, 0)] * len(sizes)
        wanted = [size - before - after for size, (before, after) in zip(whole, pairs, strict=True)]
    target = a["output_shape"].tolist()[2:] if a.get("output_shape") is not None else wanted
    if kind == "same":
        pairs = [(max(full - size, 0) // 2, 0) for full, size in zip(whole, target, strict=True)]
    for size, stride, usual, given in zip(sizes, strides, wanted, target, strict=True):
        fits = math.ceil(given / stride) == size if kind == "same" else usual <= given < usual + stride
        if not fits:
            message = f"no convolution of stride {stride} makes {size} of the {given} that output_shape asks for"
            raise ValueError(message)
    return [(before, full - before - size) for full, (before, _), size in zip(whole, pairs, target, strict=True)]


def _avg_pool(a: Arguments) -> torch.Tensor:
    """MIL `avg_pool`: the mean of each window; padding counts as zeros, or not at all where it is excluded.

    What `ceil_mode` adds beyond the padding never counts. Defaults: strides 1, pads 0, ceil_mode and
    exclude_padding_from_average false.
    """
    import torch

    excluded = bool(a.get("exclude_padding_from_average", False))
    spans = _spans(a, empty_allowed=not excluded)
    total = _pooled(a, _spread(a["x"], spans, 0.0, 0.0), "avg_pool")
    if not excluded and all(span.overhang <= 0 for span in spans):
        return total
    ones = torch.ones_like(a["x"][:1, :1])
    return total / _pooled(a, _spread(ones, spans, 0.0 if excluded else 1.0, 0.0), "avg_pool")


def _max_pool(a: Arguments) -> torch.Tensor:
    """MIL `max_pool`: the largest value of each window; padding never wins. Defaults as `avg_pool`."""
    return _pooled(a, _spread(a["x"], _spans(a, empty_allowed=False), -math.inf, -math.inf), "max_pool")


def _l2_pool(a: Arguments) -> torch.Tensor:
    """MIL `l2_pool`: the square root of the sum of squares of each window. Defaults as `avg_pool`."""
    squares = _spread(a["x"].square(), _spans(a, empty_allowed=True), 0.0, 0.0)
    return (_pooled(a, squares, "avg_pool") * math.prod(a["kernel_sizes"].tolist())).sqrt()


@dataclass(frozen=True, kw_only=True)
class _Span:
    """How windows lie along one axis."""

    pads: Pair
    overhang: int
    """How far the last window reaches beyond the padded axis; below 0, how far it falls short."""
    is_void: bool
    """A window lies beyond the padding."""
    has_empty: bool
    """A window holds padding alone."""


def _span(size: int, pads: Pair, kernel: int, stride: int, *, rounded_up: bool) -> _Span:
    """Rule of `ceil_mode`: a last window that would start in the padding after the axis is dropped."""
    before, padded = pads[0], size + sum(pads)
    count = (padded - kernel + (stride - 1 if rounded_up else 0)) // stride + 1
    if rounded_up and sum(pads) > 0 and (count - 1) * stride >= size + before:
        count -= 1
    if count < 1:
        message = f"a window of {kernel} does not fit into {padded}"
        raise ValueError(message)
    starts = range(0, count * stride, stride)
    return _Span(
        pads=pads,
        overhang=starts[-1] + kernel - padded,
        is_void=starts[-1] >= padded,
        has_empty=any(start + kernel <= before or start >= before + size for start in starts),
    )


def _spans(a: Arguments, *, empty_allowed: bool) -> list[_Span]:
    sizes = a["x"].shape[2:]
    kernel = a["kernel_sizes"].tolist()
    strides = _per_axis(a, "strides", len(kernel))
    pads = _pads(a, sizes, kernel, strides)
    rounded_up = bool(a.get("ceil_mode", False))
    if rounded_up and (a["pad_type"].lower().startswith("same") or any(before != after for before, after in pads)):
        message = f"ceil_mode with padding {a['pad_type']} {pads}; it must be the same before and after"
        raise ValueError(message)
    found = [_span(*one, rounded_up=rounded_up) for one in zip(sizes, pads, kernel, strides, strict=True)]
    if any(span.is_void or (span.has_empty and not empty_allowed) for span in found):
        message = f"a window of {kernel} holds nothing but padding: what it gives is not defined"
        raise ValueError(message)
    return found


def _spread(x: torch.Tensor, spans: Sequence[_Span], padding: float, beyond: float) -> torch.Tensor:
    """The input with its pads, then cut or extended to where the last window ends."""
    padded = _surrounded(x, [span.pads for span in spans], padding)
    return _surrounded(padded, [(0, span.overhang) for span in spans], beyond)


def _pooled(a: Arguments, x: torch.Tensor, kind: str) -> torch.Tensor:
    from torch.nn import functional

    kernel = a["kernel_sizes"].tolist()
    pool: Any = getattr(functional, f"{kind}{len(kernel)}d")
    result: torch.Tensor = pool(x, kernel, _per_axis(a, "strides", len(kernel)))
    return result


def _per_axis(a: Arguments, key: str, count: int) -> list[int]:
    """One whole number for each axis, 1 where the program says nothing."""
    return [1] * count if a.get(key) is None else [int(one) for one in a[key].tolist()]


def _extents(weight: torch.Tensor, dilations: Sequence[int]) -> list[int]:
    return [(size - 1) * gap + 1 for size, gap in zip(weight.shape[2:], dilations, strict=True)]


def _pads(a: Arguments, sizes: Sequence[int], extents: Sequence[int], strides: Sequence[int]) -> list[Pair]:
    """Padding by its kind: "same" makes `ceil(size / stride)` windows, the odd one after, "same_lower" before."""
    kind = a.get("pad_type", "valid").lower()
    if kind == "valid":
        return [(0, 0)] * len(sizes)
    if kind == "custom":
        return _pairs(a["pad"]) if "pad" in a else [(0, 0)] * len(sizes)
    if kind not in ("same", "same_lower"):
        message = f"padding of kind {kind}; known are valid, custom, same, same_lower"
        raise ValueError(message)
    totals = [
        max(0, (math.ceil(size / stride) - 1) * stride + extent - size)
        for size, extent, stride in zip(sizes, extents, strides, strict=True)
    ]
    halves = [(total // 2, total - total // 2) for total in totals]
    return halves if kind == "same" else [(after, before) for before, after in halves]


def _pairs(pads: torch.Tensor) -> list[Pair]:
    return [(int(before), int(after)) for before, after in pads.reshape(-1, 2).tolist()]


def _surrounded(x: torch.Tensor, pairs: Sequence[Pair], value: float) -> torch.Tensor:
    """The last axes with that many values before and after; below zero cuts."""
    from torch.nn import functional

    last_first = [one for pair in reversed(pairs) for one in pair]
    return functional.pad(x, last_first, value=value) if any(last_first) else x


def _pad(a: Arguments) -> torch.Tensor:
    """MIL `pad`: the last axes extended by a constant, by their edge ("replicate"), or mirrored about it ("reflect").

    Defaults: mode "constant", constant_val 0.
    """
    x, mode = a["x"], a.get("mode", "constant")
    pairs = _pairs(a["pad"])
    if len(pairs) > x.ndim or min(min(pair) for pair in pairs) < 0:
        message = f"pads {pairs} for a tensor of {x.ndim} axes; expected at most one pair an axis, none below zero"
        raise ValueError(message)
    if mode == "constant":
        value = a.get("constant_val", 0.0)
        return _surrounded(x, pairs, int(value) if not x.dtype.is_floating_point else float(value))
    for axis, pair in enumerate(pairs, start=x.ndim - len(pairs)):
        x = x.index_select(axis, _taken(x.shape[axis], pair, mode))
    return x


def _taken(size: int, pair: Pair, mode: str) -> torch.Tensor:
    """Which values of an axis stand where once it is padded."""
    import torch

    places = torch.arange(-pair[0], size + pair[1])
    if mode == "replicate":
        return places.clamp(0, size - 1)
    if mode != "reflect" or max(pair) >= size:
        message = f"padding {mode} by {pair} of {size} values; known are replicate, and reflect by less than the size"
        raise ValueError(message)
    mirrored = places.abs()
    return torch.where(mirrored >= size, 2 * (size - 1) - mirrored, mirrored)
