"""Activations: what stands between layers.

NaN gives NaN in all of them. Those with a parameter for each channel take the channels from the second axis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from converter.mil.ops import Arguments, Kernel

SIGMOID_GELU_SLOPE = 1.702
"""The slope in MIL's SIGMOID_APPROXIMATION of gelu."""


def kernels() -> dict[str, Kernel]:
    """Kernels by operation."""
    import torch
    from torch.nn import functional

    return {
        "clamped_relu": _clamped_relu,
        "elu": _elu,
        "gelu": _gelu,
        "leaky_relu": _leaky_relu,
        "linear_activation": lambda a: a["alpha"] * a["x"] + a["beta"],
        "prelu": _prelu,
        "relu": lambda a: torch.relu(a["x"]),
        "relu6": lambda a: functional.relu6(a["x"]),
        "scaled_tanh": lambda a: a["alpha"] * torch.tanh(a["beta"] * a["x"]),
        "sigmoid": lambda a: torch.sigmoid(a["x"]),
        "sigmoid_hard": lambda a: (a["alpha"] * a["x"] + a["beta"]).clamp(0.0, 1.0),
        "silu": lambda a: functional.silu(a["x"]),
        "softmax": _softmax,
        "softplus": lambda a: _softplus(a["x"]),
        "softplus_parametric": _softplus_parametric,
        "softsign": lambda a: functional.softsign(a["x"]),
        "thresholded_relu": _thresholded_relu,
    }


def _clamped_relu(a: Arguments) -> torch.Tensor:
    """MIL `clamped_relu` (iOS15, iOS17): min(beta, x) where x >= 0, else min(beta, alpha * x)."""
    import torch

    return torch.minimum(_leaky_relu(a), a["beta"])


def _elu(a: Arguments) -> torch.Tensor:
    """MIL `elu` (iOS15, iOS17): x where x > 0, else alpha * (e^x - 1)."""
    import torch

    return torch.where(a["x"] > 0, a["x"], a["alpha"] * torch.expm1(a["x"]))


def _gelu(a: Arguments) -> torch.Tensor:
    """MIL `gelu` (iOS15), by `mode`.

    EXACT, the default: x / 2 * (1 + erf(x / sqrt(2))). TANH_APPROXIMATION: x / 2 * (1 + tanh(sqrt(2 / pi) *
    (x + 0.044715 x^3))). SIGMOID_APPROXIMATION: x * sigmoid(1.702 x).
    """
    import torch
    from torch.nn import functional

    mode = a.get("mode", "EXACT")
    if mode == "SIGMOID_APPROXIMATION":
        result: torch.Tensor = a["x"] * torch.sigmoid(SIGMOID_GELU_SLOPE * a["x"])
        return result
    modes = {"EXACT": "none", "TANH_APPROXIMATION": "tanh"}
    if mode not in modes:
        message = f"no gelu of mode {mode}; known are {', '.join(modes)}, SIGMOID_APPROXIMATION"
        raise ValueError(message)
    return functional.gelu(a["x"], approximate=modes[mode])


def _leaky_relu(a: Arguments) -> torch.Tensor:
    """MIL `leaky_relu` (iOS15, iOS17): x where x >= 0, else alpha * x."""
    import torch

    return torch.where(a["x"] >= 0, a["x"], a["alpha"] * a["x"])


def _prelu(a: Arguments) -> torch.Tensor:
    """MIL `prelu` (iOS15, iOS17): x where x > 0, else alpha * x, with an alpha for each channel."""
    import torch

    return torch.where(a["x"] > 0, a["x"], _by_channel(a["alpha"], a["x"]) * a["x"])


def _softmax(a: Arguments) -> torch.Tensor:
    """MIL `softmax` (iOS15): e^x / sum(e^x) along `axis`, the last one by default."""
    import torch

    return torch.softmax(a["x"], dim=int(a.get("axis", -1)))


def _softplus(x: torch.Tensor) -> torch.Tensor:
    """MIL `softplus` (iOS15): log(1 + e^x), which no large x makes overflow."""
    import torch

    return torch.logaddexp(x, torch.zeros_like(x))


def _softplus_parametric(a: Arguments) -> torch.Tensor:
    """MIL `softplus_parametric` (iOS15, iOS17): alpha * log(1 + e^(beta * x)), with both for each channel."""
    x = a["x"]
    return _by_channel(a["alpha"], x) * _softplus(_by_channel(a["beta"], x) * x)


def _thresholded_relu(a: Arguments) -> torch.Tensor:
    """MIL `thresholded_relu` (iOS15, iOS17): x where x >= alpha, else 0."""
    import torch

    return torch.where(a["x"] < a["alpha"], 0.0, a["x"])


def _by_channel(parameter: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return parameter.reshape(-1, *[1] * (x.ndim - 2))
