"""Normalizations agree with coremltools' own values, with torch's modules and with plain sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.mil.building import executed, inferred
from tests.mil.calling import Array, called, drawn

pytest.importorskip("coremltools", reason="needs the extra mcconvert[coreml]")

QUICK = settings(max_examples=20, deadline=None)
SIZES = st.integers(1, 5)
EPSILONS = st.sampled_from([None, 1e-3])


def _epsilon(value: float | None) -> dict[str, Any]:
    return {} if value is None else {"epsilon": np.float32(value)}


@QUICK
@given(st.lists(SIZES, min_size=2, max_size=4), st.sets(st.integers(0, 3), min_size=1), st.booleans(), EPSILONS)
def test_a_layer_norm_is_as_coremltools_computes_it(
    shape: list[int], chosen: set[int], scaled: bool, epsilon: float | None
) -> None:
    """Over any axes, also those that are not the last, counted from either end."""
    axes = sorted({axis % len(shape) for axis in chosen})
    x = drawn(1, *shape)
    given_all: dict[str, Any] = {"x": x, "axes": np.int32([axes[0] - len(shape), *axes[1:]]), **_epsilon(epsilon)}
    if scaled:
        given_all |= {"gamma": drawn(2, *(shape[i] for i in axes)), "beta": drawn(3, *(shape[i] for i in axes))}

    found = called("layer_norm", **given_all)

    assert np.allclose(found, inferred("layer_norm", **given_all)[0], atol=1e-4)


def test_a_layer_norm_without_axes_takes_all() -> None:
    """The default of the specification."""
    x = drawn(1, 3, 4)

    assert np.allclose(called("layer_norm", x=x), (x - x.mean()) / np.sqrt(x.var() + 1e-5), atol=1e-5)


@QUICK
@given(st.lists(SIZES, min_size=3, max_size=5), st.booleans(), EPSILONS)
def test_batch_and_instance_norm_work_by_channel(shape: list[int], scaled: bool, epsilon: float | None) -> None:
    """One with figures from the file, the other with those of each sample's own channel."""
    x, channels = drawn(1, *shape), shape[1]
    mean, variance = drawn(2, channels), np.abs(drawn(3, channels))
    given_all: dict[str, Any] = _epsilon(epsilon)
    if scaled:
        given_all |= {"gamma": drawn(4, channels), "beta": drawn(5, channels)}

    batch = called("batch_norm", x=x, mean=mean, variance=variance, **given_all)
    instance = called("instance_norm", x=x, **given_all)

    for sample in range(shape[0]):
        for c in range(channels):
            part = x[sample, c].astype(np.float64)
            scale, shift = (float(given_all[key][c]) if scaled else one for key, one in (("gamma", 1.0), ("beta", 0.0)))
            small = epsilon or 1e-5
            of_file = scale * (part - mean[c]) / np.sqrt(variance[c] + small) + shift
            of_itself = scale * (part - part.mean()) / np.sqrt(part.var() + small) + shift
            assert np.allclose(batch[sample, c], of_file, rtol=1e-3, atol=1e-3)
            assert np.allclose(instance[sample, c], of_itself, rtol=1e-3, atol=1e-3)


@QUICK
@given(st.lists(SIZES, min_size=3, max_size=5), EPSILONS)
def test_an_l2_norm_is_as_coremltools_computes_it(shape: list[int], epsilon: float | None) -> None:
    """Over the last three axes, the ones before them in parallel."""
    given_all = {"x": drawn(1, *shape), **_epsilon(epsilon)}

    assert np.allclose(called("l2_norm", **given_all), inferred("l2_norm", **given_all)[0], atol=1e-5)


def _plain_response(x: Array, size: int, alpha: float, beta: float, k: float) -> Array:
    found = np.zeros(x.shape)
    for c in range(x.shape[1]):
        near = x[:, max(0, c - size // 2) : c + (size - 1) // 2 + 1].astype(np.float64)
        found[:, c] = x[:, c] / (k + alpha / size * (near**2).sum(1)) ** beta
    return found


@QUICK
@given(st.integers(1, 6), st.integers(1, 7), st.booleans())
def test_a_local_response_norm_looks_at_channels_around(channels: int, size: int, named: bool) -> None:
    """Of an even size the odd channel lies before; defaults are the specification's."""
    x = drawn(1, 2, channels, 3)
    figures = {"alpha": 0.5, "beta": 0.6, "k": 2.0} if named else {}

    found = called("local_response_norm", x=x, size=size, **figures)

    assert np.allclose(
        found, _plain_response(x, size, **({"alpha": 1e-4, "beta": 0.75, "k": 1.0} | figures)), atol=1e-5
    )


def test_every_norm_goes_through_a_file_without_its_optional_arguments() -> None:
    """What the file leaves out, or coremltools writes for it, has the same meaning; against torch's modules."""
    x, variance = drawn(1, 2, 3, 4, 5), np.abs(drawn(2, 3))

    found = executed(
        lambda mb, x: (
            mb.batch_norm(x=x, mean=variance, variance=variance),
            mb.instance_norm(x=x),
            mb.layer_norm(x=x, axes=[1, 3]),
            mb.l2_norm(x=x),
            mb.local_response_norm(x=x, size=2),
        ),
        {"x": x},
    )

    tx, statistics = torch.from_numpy(x), torch.from_numpy(variance)
    expected = [
        torch.nn.functional.batch_norm(tx, statistics, statistics).numpy(),
        torch.nn.InstanceNorm2d(3)(tx).numpy(),
        (x - x.mean((1, 3), keepdims=True)) / np.sqrt(x.var((1, 3), keepdims=True) + 1e-5),
        x / np.sqrt((x**2).sum((1, 2, 3), keepdims=True) + 1e-6),
        torch.nn.LocalResponseNorm(2)(tx).numpy(),
    ]
    assert all(np.allclose(one, other, atol=1e-5) for one, other in zip(found, expected, strict=True))
