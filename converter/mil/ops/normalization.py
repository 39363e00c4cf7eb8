"""Normalizations: values brought to a common size, then scaled by `gamma` and moved by `beta`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from converter.mil.ops import Arguments, Kernel

EPSILON, L2_EPSILON = 1e-5, 1e-6
"""Defaults of the specification; `l2_norm` has its own."""


def kernels() -> dict[str, Kernel]:
    """Kernels by operation."""
    return {
        "batch_norm": _batch_norm,
        "instance_norm": _instance_norm,
        "layer_norm": _layer_norm,
        "l2_norm": _l2_norm,
        "local_response_norm": _local_response_norm,
    }


def _batch_norm(a: Arguments) -> torch.Tensor:
    """MIL `batch_norm`: `gamma * (x - mean) / sqrt(variance + epsilon) + beta`, each of a channel (axis 1).

    Defaults: gamma 1, beta 0, epsilon 1e-5.
    """
    from torch.nn import functional

    return functional.batch_norm(
        a["x"], a["mean"], a["variance"], a.get("gamma"), a.get("beta"), eps=float(a.get("epsilon", EPSILON))
    )


def _instance_norm(a: Arguments) -> torch.Tensor:
    """MIL `instance_norm`: as `batch_norm`, with mean and variance of each sample's own channel. Defaults as there."""
    x = a["x"]
    shape = [1, -1, *[1] * (x.ndim - 2)]
    scale, shift = (_shaped(a.get(key), shape) for key in ("gamma", "beta"))
    return _normal(x, list(range(2, x.ndim)), scale, shift, float(a.get("epsilon", EPSILON)))


def _layer_norm(a: Arguments) -> torch.Tensor:
    """MIL `layer_norm`: `gamma * (x - mean) / sqrt(variance + epsilon) + beta` over `axes`.

    Defaults: axes all, gamma 1, beta 0, epsilon 1e-5.
    """
    from torch.nn import functional

    x, epsilon = a["x"], float(a.get("epsilon", EPSILON))
    given = a["axes"].tolist() if a.get("axes") is not None else range(x.ndim)
    axes = sorted({axis % x.ndim for axis in given})
    if axes == list(range(axes[0], x.ndim)):
        return functional.layer_norm(x, x.shape[axes[0] :], a.get("gamma"), a.get("beta"), epsilon)
    shape = [x.shape[axis] if axis in axes else 1 for axis in range(x.ndim)]
    return _normal(x, axes, _shaped(a.get("gamma"), shape), _shaped(a.get("beta"), shape), epsilon)


def _l2_norm(a: Arguments) -> torch.Tensor:
    """MIL `l2_norm`: `x / sqrt(sum of x^2 + epsilon)`, the sum over the last three axes. Default: epsilon 1e-6."""
    x: torch.Tensor = a["x"]
    energy = x.square().sum(dim=(-3, -2, -1), keepdim=True)
    return x / (energy + float(a.get("epsilon", L2_EPSILON))).sqrt()


def _local_response_norm(a: Arguments) -> torch.Tensor:
    """MIL `local_response_norm`: `x / (k + alpha / size * sum of x^2)^beta`, the sum over `size` channels around.

    Of an even size the odd channel lies before. Defaults: alpha 1e-4, beta 0.75, k 1.
    """
    from torch.nn import functional

    return functional.local_response_norm(
        a["x"], int(a["size"]), float(a.get("alpha", 1e-4)), float(a.get("beta", 0.75)), float(a.get("k", 1.0))
    )


def _normal(
    x: torch.Tensor, axes: list[int], scale: torch.Tensor | None, shift: torch.Tensor | None, epsilon: float
) -> torch.Tensor:
    import torch

    variance, mean = torch.var_mean(x, dim=axes, correction=0, keepdim=True)
    found = (x - mean) / (variance + epsilon).sqrt()
    found = found if scale is None else found * scale
    return found if shift is None else found + shift


def _shaped(values: torch.Tensor | None, shape: list[int]) -> torch.Tensor | None:
    return None if values is None else values.reshape(shape)
