"""Sliding windows are computed as MIL defines them, which is not always as torch's defaults do."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.mil.building import executed, inferred
from tests.mil.calling import Array, called, drawn

pytest.importorskip("coremltools", reason="needs the extra mcconvert[coreml]")

QUICK = settings(max_examples=25, deadline=None)
PAD_TYPES = ("valid", "custom", "same", "same_lower")


def _windows(x: Array, kernel: Any, strides: Any, dilations: Any) -> Any:
    """For each place of the output the part of the input that its window covers."""
    counts = [
        (size - (k - 1) * d - 1) // s + 1 for size, k, s, d in zip(x.shape[2:], kernel, strides, dilations, strict=True)
    ]
    for place in itertools.product(*map(range, counts)):
        cut = [
            slice(i * s, i * s + (k - 1) * d + 1, d)
            for i, k, s, d in zip(place, kernel, strides, dilations, strict=True)
        ]
        yield (*place,), x[(slice(None), slice(None), *cut)], counts


def _plain_conv(x: Array, weight: Array, bias: Array, strides: Any, dilations: Any, groups: int) -> Array:
    found: Any = None
    for place, part, counts in _windows(x, weight.shape[2:], strides, dilations):
        found = np.zeros((len(x), len(weight), *counts)) if found is None else found
        for out, kernel in enumerate(weight):
            first = out // (len(weight) // groups) * weight.shape[1]
            product = part[:, first : first + weight.shape[1]].astype(np.float64) * kernel
            found[(slice(None), out, *place)] = product.reshape(len(x), -1).sum(1) + bias[out]
    return np.asarray(found)


def _plain_pads(pad_type: str, pads: Any, sizes: Any, extents: Any, strides: Any) -> Any:
    """As many windows as the size divided by the stride, rounded up; the odd value after, or before."""
    if pad_type == "valid":
        return [(0, 0)] * len(sizes)
    if pad_type == "custom":
        return list(zip(pads[0::2], pads[1::2], strict=True))
    found = []
    for size, extent, stride in zip(sizes, extents, strides, strict=True):
        total = 0
        while (size + total - extent) // stride + 1 < math.ceil(size / stride):
            total += 1
        odd = (total // 2, total - total // 2)
        found.append(odd if pad_type == "same" else odd[::-1])
    return found


@st.composite
def _layouts(draw: Any, max_axes: int = 3) -> dict[str, Any]:
    count = draw(st.integers(1, max_axes))
    several = lambda low, high: draw(st.lists(st.integers(low, high), min_size=count, max_size=count))  # noqa: E731
    return {
        "sizes": several(5, 8 if count < 3 else 5), "kernel": several(1, 3), "strides": several(1, 3),
        "dilations": several(1, 2), "pad_type": draw(st.sampled_from(PAD_TYPES)),
        "pad": draw(st.lists(st.integers(0, 2), min_size=2 * count, max_size=2 * count)),
        "seed": draw(st.integers(0, 99)),
    }  # fmt: skip


@QUICK
@given(_layouts(), st.sampled_from([1, 2, 4]))
def test_a_convolution_is_the_sum_over_its_window(layout: dict[str, Any], groups: int) -> None:
    """Over one, two or three axes, with every kind of padding, strides, dilations, groups and a bias."""
    kernel, strides, dilations = layout["kernel"], layout["strides"], layout["dilations"]
    x, bias = drawn(layout["seed"], 2, 4, *layout["sizes"]), drawn(1, 8)
    weight = drawn(2, 8, 4 // groups, *kernel)
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    pads = _plain_pads(layout["pad_type"], layout["pad"], layout["sizes"], extents, strides)
    padded = np.pad(x, [(0, 0), (0, 0), *pads])

    found = called(
        "conv", x=x, weight=weight, bias=bias, strides=strides, dilations=dilations, groups=groups,
        pad_type=layout["pad_type"], pad=layout["pad"],
    )  # fmt: skip

    assert np.allclose(found, _plain_conv(padded, weight, bias, strides, dilations, groups), atol=1e-4)


def test_an_odd_value_of_padding_goes_after_or_before() -> None:
    """A kernel of two shifts by one: "same" pads after the axis, "same_lower" before it."""
    x, weight = np.float32([[[1, 2, 3]]]), np.float32([[[1, 10]]])

    after = called("conv", x=x, weight=weight, pad_type="same")
    before = called("conv", x=x, weight=weight, pad_type="same_lower")

    assert after.tolist() == [[[21, 32, 3]]]
    assert before.tolist() == [[[10, 21, 32]]]


@QUICK
@given(_layouts(max_axes=2), st.sampled_from([1, 2]))
def test_a_transposed_convolution_scatters_each_value(layout: dict[str, Any], groups: int) -> None:
    """Each input value adds its kernel to the output, from which the pads are cut."""
    kernel, strides, dilations = layout["kernel"], layout["strides"], layout["dilations"]
    x, weight, bias = drawn(layout["seed"], 2, 4, *layout["sizes"]), drawn(2, 4, 3, *kernel), drawn(1, 3 * groups)
    whole = [
        (n - 1) * s + (k - 1) * d + 1
        for n, s, k, d in zip(layout["sizes"], strides, kernel, dilations, strict=True)
    ]  # fmt: skip
    expected = np.zeros((2, 3 * groups, *whole))
    for place in itertools.product(*map(range, layout["sizes"])):
        for tap in itertools.product(*map(range, kernel)):
            at = tuple(p * s + t * d for p, s, t, d in zip(place, strides, tap, dilations, strict=True))
            for channel in range(4):
                group = channel // (4 // groups)
                added = x[(slice(None), channel, *place)][:, None] * weight[(channel, slice(None), *tap)]
                expected[(slice(None), slice(3 * group, 3 * group + 3), *at)] += added
    pads = layout["pad"] if layout["pad_type"] == "custom" else [0] * len(layout["pad"])
    cuts = [slice(b, n - a) for b, a, n in zip(pads[0::2], pads[1::2], whole, strict=True)]
    assume(all(n - a > b for b, a, n in zip(pads[0::2], pads[1::2], whole, strict=True)))

    found = called(
        "conv_transpose", x=x, weight=weight, bias=bias, strides=strides, dilations=dilations, groups=groups,
        pad_type="custom", pad=pads,
    )  # fmt: skip

    expected = expected[(slice(None), slice(None), *cuts)] + bias.reshape(-1, *[1] * len(kernel))
    assert np.allclose(found, expected, atol=1e-4)


@QUICK
@given(_layouts(max_axes=2))
def test_a_same_transposed_convolution_is_the_gradient_of_a_same_convolution(layout: dict[str, Any]) -> None:
    """For any size that `output_shape` names: the product of conv(x) with y is that of x with the transposed y."""
    kernel, strides, dilations, sizes = (layout[key] for key in ("kernel", "strides", "dilations", "sizes"))
    x, weight = drawn(layout["seed"], 1, 3, *sizes), drawn(2, 4, 3, *kernel)
    y = drawn(3, 1, 4, *(math.ceil(n / s) for n, s in zip(sizes, strides, strict=True)))
    given_all = {"weight": weight, "strides": strides, "dilations": dilations, "pad_type": "same"}

    ahead = called("conv", x=x, **given_all)
    back = called("conv_transpose", x=y, output_shape=[1, 3, *sizes], **given_all)

    assert math.isclose(float((ahead * y).sum()), float((x * back).sum()), rel_tol=1e-3, abs_tol=1e-3)


def test_a_same_transposed_convolution_multiplies_sizes_by_strides() -> None:
    """Without `output_shape`, whether the kernel is longer than the stride or shorter."""
    long = called("conv_transpose", x=np.ones((1, 1, 4)), weight=np.ones((1, 1, 5)), strides=[2], pad_type="same")
    short = called("conv_transpose", x=np.ones((1, 1, 4)), weight=np.ones((1, 1, 1)), strides=[3], pad_type="same")

    assert long.shape == (1, 1, 8)
    assert short.tolist() == [[[1, 0, 0] * 4]]


def test_an_output_shape_that_no_convolution_has_is_an_error() -> None:
    """Stride 2 makes 4 values of 7 or 8, not of 9."""
    with pytest.raises(ValueError, match="output_shape"):
        called(
            "conv_transpose", x=np.ones((1, 1, 4)), weight=np.ones((1, 1, 3)), strides=[2], pad_type="same",
            output_shape=[1, 1, 9],
        )  # fmt: skip


def test_a_quantized_convolution_scales_its_weights() -> None:
    """Linear 8 bits, one scale for each output channel; what the specification leaves open is refused."""
    x, weight = drawn(1, 1, 3, 5), np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    scale, shift = np.float32([0.5, 2.0]), np.float32([-1.0, 0.25])
    given_all = {"x": x, "weight": weight, "quant_scale": scale, "quant_bias": shift}
    dense = weight * scale.reshape(-1, 1, 1) + shift.reshape(-1, 1, 1)

    found = called("conv_quantized", quantization_type="linear", **given_all)

    assert np.allclose(found, _plain_conv(x, dense, np.zeros(2), [1], [1], 1), atol=1e-4)
    with pytest.raises(ValueError, match="lut"):
        called("conv_quantized", quantization_type="lut", **given_all)


def _plain_pool(kind: str, x: Array, layout: dict[str, Any], pads: Any, *, excluded: bool = False) -> Array:
    fill = -np.inf if kind == "max_pool" else 0.0
    padded = np.pad(x, [(0, 0), (0, 0), *pads], constant_values=fill)
    ones = np.pad(np.ones_like(x), [(0, 0), (0, 0), *pads])
    axes = tuple(range(2, x.ndim))
    once = [1] * len(layout["kernel"])
    found: Any = None
    pairs = zip(*(_windows(one, layout["kernel"], layout["strides"], once) for one in (padded, ones)), strict=True)
    for (place, part, counts), (_, held, _) in pairs:
        found = np.zeros((*x.shape[:2], *counts)) if found is None else found
        if kind == "max_pool":
            value = part.max(axes)
        elif kind == "l2_pool":
            value = np.sqrt((part.astype(np.float64) ** 2).sum(axes))
        else:
            value = part.sum(axes) / (held.sum(axes) if excluded else math.prod(layout["kernel"]))
        found[(slice(None), slice(None), *place)] = value
    return np.asarray(found)


@QUICK
@given(_layouts(), st.sampled_from(["avg_pool", "max_pool", "l2_pool"]), st.booleans())
def test_pooling_reduces_each_window(layout: dict[str, Any], kind: str, excluded: bool) -> None:
    """Mean, maximum and norm, over one, two or three axes, with every kind of padding."""
    assume(layout["pad_type"] != "custom" or all(p < k for p, k in zip(layout["pad"], np.repeat(layout["kernel"], 2))))  # noqa: B905
    x = drawn(layout["seed"], 2, 3, *layout["sizes"]) - 3
    pads = _plain_pads(layout["pad_type"], layout["pad"], layout["sizes"], layout["kernel"], layout["strides"])

    found = called(
        kind, x=x, kernel_sizes=layout["kernel"], strides=layout["strides"], pad_type=layout["pad_type"],
        pad=layout["pad"], exclude_padding_from_average=excluded,
    )  # fmt: skip

    assert np.allclose(found, _plain_pool(kind, x, layout, pads, excluded=excluded), atol=1e-4)


@QUICK
@given(st.integers(3, 9), st.integers(1, 4), st.integers(1, 4), st.integers(0, 2), st.booleans())
def test_rounding_up_is_as_torch_rounds_up(size: int, kernel: int, stride: int, pad: int, excluded: bool) -> None:
    """A window that starts in the padding is dropped; what reaches beyond the padding does not count."""
    assume(pad <= kernel // 2 and size + 2 * pad >= kernel)
    windows = -(-(size + 2 * pad - kernel) // stride) + 1
    assume(pad > 0 or (windows - 1) * stride < size)
    x = drawn(size, 1, 2, size, size)
    given_all = {
        "x": x, "kernel_sizes": [kernel] * 2, "strides": [stride] * 2, "pad_type": "custom", "pad": [pad] * 4,
        "ceil_mode": True,
    }  # fmt: skip

    mean = called("avg_pool", exclude_padding_from_average=excluded, **given_all)
    largest = called("max_pool", **given_all)

    average = torch.nn.AvgPool2d(kernel, stride, pad, ceil_mode=True, count_include_pad=not excluded)
    assert np.allclose(mean, average(torch.from_numpy(x)).numpy(), atol=1e-5)
    assert np.array_equal(largest, torch.nn.MaxPool2d(kernel, stride, pad, ceil_mode=True)(torch.from_numpy(x)).numpy())


def test_average_pooling_counts_padding_or_not() -> None:
    """Padding is zeros in the mean, or is left out of it."""
    given_all = {"x": np.float32([[[4, 8]]]), "kernel_sizes": [2], "pad_type": "custom", "pad": [1, 0]}

    counted = called("avg_pool", **given_all)
    excluded = called("avg_pool", exclude_padding_from_average=True, **given_all)

    assert counted.tolist() == [[[2, 6]]]
    assert excluded.tolist() == [[[4, 6]]]


@pytest.mark.parametrize(
    "changes",
    [
        {"pad_type": "custom", "pad": [2, 0]},
        {"pad_type": "valid", "strides": [5], "ceil_mode": True},
        {"pad_type": "same", "ceil_mode": True},
        {"pad_type": "custom", "pad": [0, 1], "ceil_mode": True},
        {"pad_type": "sideways"},
    ],
)
def test_what_a_pooling_leaves_undefined_is_an_error(changes: dict[str, Any]) -> None:
    """A window of padding alone, a window beyond the axis, uneven rounding up, an unknown kind: nothing is guessed."""
    given_all: dict[str, Any] = {"x": drawn(1, 1, 1, 6), "kernel_sizes": [2], **changes}
    if given_all.get("strides"):
        given_all["x"] = drawn(1, 1, 1, 4)
        given_all["kernel_sizes"] = [1]

    with pytest.raises(ValueError, match=r"padding|fit"):
        called("max_pool", **given_all)


@QUICK
@given(st.lists(st.integers(0, 2), min_size=4, max_size=4), st.sampled_from(["constant", "reflect", "replicate"]))
def test_padding_is_as_coremltools_computes_it(pads: list[int], mode: str) -> None:
    """Of the last axes, in every mode; a tensor may have axes before them."""
    x = drawn(5, 2, 1, 3, 4, 3)

    found = called("pad", x=x, pad=pads, mode=mode, constant_val=np.float32(5))

    (expected,) = inferred("pad", x=x, pad=np.int32(pads), mode=mode, constant_val=np.float32(5))
    assert np.array_equal(found, expected)


def test_reflecting_more_than_there_is_is_an_error() -> None:
    """Three values give at most two mirrored ones on a side."""
    with pytest.raises(ValueError, match="reflect"):
        called("pad", x=drawn(1, 1, 3), pad=[3, 0], mode="reflect")


def test_every_window_operation_goes_through_a_file() -> None:
    """Built by coremltools, saved, read back: the same values as the kernel gives with every argument named."""
    x, weight = drawn(1, 1, 4, 6, 6), drawn(2, 4, 4, 3, 3)
    whole = np.arange(144, dtype=np.uint8).reshape(4, 4, 3, 3)
    pool: dict[str, Any] = {"kernel_sizes": [2, 3], "strides": [2, 1], "pad_type": "same"}

    found = executed(
        lambda mb, x: (
            mb.conv(x=x, weight=weight, pad_type="same_lower", strides=[2, 2]),
            mb.conv_transpose(x=x, weight=weight, strides=[2, 2], pad_type="custom", pad=[1, 1, 0, 1]),
            mb.conv_quantized(
                x=x, weight=whole, quantization_type="linear", quant_scale=np.float32(0.5), quant_bias=np.float32(-3)
            ),
            mb.avg_pool(x=x, exclude_padding_from_average=True, **pool),
            mb.max_pool(x=x, **pool),
            mb.l2_pool(x=x, **pool),
            mb.pad(x=x, pad=[1, 2], mode="reflect"),
        ),
        {"x": x},
    )

    expected = [
        called("conv", x=x, weight=weight, pad_type="same_lower", strides=[2, 2]),
        called("conv_transpose", x=x, weight=weight, strides=[2, 2], pad_type="custom", pad=[1, 1, 0, 1]),
        called("conv", x=x, weight=whole * np.float32(0.5) - 3),
        called("avg_pool", x=x, exclude_padding_from_average=True, **pool),
        called("max_pool", x=x, **pool),
        called("l2_pool", x=x, **pool),
        np.pad(x, [(0, 0)] * 3 + [(1, 2)], mode="reflect"),
    ]
    assert [one.shape for one in found] == [one.shape for one in expected]
    assert all(np.allclose(one, other, atol=1e-5) for one, other in zip(found, expected, strict=True))
