"""Operations that compute each value on its own: arithmetic, comparisons, logic, casts.

Both operands of a binary operation broadcast as NumPy's do. A NaN operand gives NaN, also in `maximum`, `minimum`,
`clip`, `threshold` and `sign`, where the specification is silent: what went wrong stays visible. Whole numbers wrap
at 32 bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from converter.mil.ops import Arguments, Kernel

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
INTEGER_CASTS = ("int8", "uint8", "int16", "uint16", "int32")


def kernels() -> dict[str, Kernel]:
    """Kernels by operation."""
    import torch

    unary = {
        "abs": torch.abs, "acos": torch.acos, "asin": torch.asin, "atan": torch.atan, "atanh": torch.atanh,
        "ceil": torch.ceil, "cos": torch.cos, "cosh": torch.cosh, "erf": torch.erf, "exp": torch.exp,
        "floor": torch.floor, "logical_not": torch.logical_not, "round": torch.round, "sin": torch.sin,
        "sinh": torch.sinh, "sqrt": torch.sqrt, "square": torch.square, "tan": torch.tan, "tanh": torch.tanh,
    }  # fmt: skip
    binary = {
        "add": torch.add, "sub": torch.sub, "mul": torch.mul, "floor_div": torch.floor_divide, "mod": torch.remainder,
        "maximum": torch.maximum, "minimum": torch.minimum, "equal": torch.eq, "not_equal": torch.ne,
        "greater": torch.gt, "greater_equal": torch.ge, "less": torch.lt, "less_equal": torch.le,
        "logical_and": torch.logical_and, "logical_or": torch.logical_or, "logical_xor": torch.logical_xor,
    }  # fmt: skip
    return {
        **{name: _unary(function) for name, function in unary.items()},
        **{name: _binary(function) for name, function in binary.items()},
        "cast": _cast,
        "clip": _clip,
        "exp2": _exp2,
        "inverse": _inverse,
        "log": _log,
        "pow": _pow,
        "real_div": _real_div,
        "rsqrt": _rsqrt,
        "select": _select,
        "sign": _sign,
        "threshold": _threshold,
    }


def _unary(function: Callable[[Any], Any]) -> Kernel:
    return lambda a: function(a["x"])


def _binary(function: Callable[[Any, Any], Any]) -> Kernel:
    return lambda a: function(a["x"], a["y"])


def _cast(a: Arguments) -> torch.Tensor:
    """MIL `cast` (iOS15, iOS17): the values of `x` as elements of `dtype`.

    A float loses its fraction on the way to a whole number. Beyond int32 it stops at the nearest end, and NaN becomes
    0: the specification is silent, Apple's processors do this. A narrower type then wraps: token 49407 is no int16.
    """
    import torch

    x, kind = a["x"], a["dtype"]
    if kind in ("fp16", "fp32"):
        return x.to(torch.float32)
    if kind == "bool":
        return x.to(torch.bool)
    if kind not in INTEGER_CASTS:
        message = f"no cast to {kind}; known are fp16, fp32, bool, {', '.join(INTEGER_CASTS)}"
        raise ValueError(message)
    if x.is_floating_point():
        x = x.double().nan_to_num(nan=0.0).clamp(INT32_MIN, INT32_MAX)
    return x.to(torch.int32)


def _clip(a: Arguments) -> torch.Tensor:
    """MIL `clip` (iOS15, iOS17): min(max(x, alpha), beta)."""
    x: torch.Tensor = a["x"]
    return x.clamp(a["alpha"].item(), a["beta"].item())


def _exp2(a: Arguments) -> torch.Tensor:
    """MIL `exp2` (iOS15): 2^x; of whole numbers the whole part."""
    import torch

    return torch.exp2(a["x"]) if a["x"].is_floating_point() else torch.pow(torch.full_like(a["x"], 2), a["x"])


def _inverse(a: Arguments) -> torch.Tensor:
    """MIL `inverse` (iOS15, iOS17): 1 / (x + epsilon), with epsilon 1e-4 by default."""
    result: torch.Tensor = 1.0 / (a["x"] + a.get("epsilon", 1e-4))
    return result


def _log(a: Arguments) -> torch.Tensor:
    """MIL `log` (iOS15, iOS17): the natural logarithm of x + epsilon, with epsilon 1e-45 by default."""
    import torch

    return torch.log(a["x"] + a.get("epsilon", 1e-45))


def _pow(a: Arguments) -> torch.Tensor:
    """MIL `pow` (iOS15): x^y; of whole numbers the whole part, so that 2^-1 is 0."""
    import torch

    return torch.pow(*torch.broadcast_tensors(a["x"], a["y"]))


def _real_div(a: Arguments) -> torch.Tensor:
    """MIL `real_div` (iOS15): x / y; whole numbers give the quotient without its fraction."""
    import torch

    return torch.div(a["x"], a["y"], rounding_mode=None if a["x"].is_floating_point() else "trunc")


def _rsqrt(a: Arguments) -> torch.Tensor:
    """MIL `rsqrt` (iOS15, iOS17): 1 / sqrt(x + epsilon), with epsilon 1e-12 by default."""
    import torch

    return torch.rsqrt(a["x"] + a.get("epsilon", 1e-12))


def _select(a: Arguments) -> torch.Tensor:
    """MIL `select` (iOS15): `a` where `cond` is true, else `b`; without both, the places where it is, a row each."""
    import torch

    if "a" not in a and "b" not in a:
        return torch.nonzero(a["cond"])
    return torch.where(a["cond"], a["a"], a["b"])


def _sign(a: Arguments) -> torch.Tensor:
    """MIL `sign` (iOS15): 1, 0 or -1."""
    import torch

    x: torch.Tensor = a["x"]
    return torch.where(torch.isnan(x), x, torch.sign(x))


def _threshold(a: Arguments) -> torch.Tensor:
    """MIL `threshold` (iOS15): max(x, alpha)."""
    import torch

    return torch.maximum(a["x"], a["alpha"])
