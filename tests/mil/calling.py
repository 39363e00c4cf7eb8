"""One kernel called as the interpreter calls it: arrays and numbers become tensors, texts stay."""

from __future__ import annotations

from typing import Any

import numpy as np

from converter.mil.ops import all_kernels
from converter.mil.values import from_array

type Array = np.ndarray[Any, Any]


def called(kind: str, **arguments: Any) -> Array:
    """What the kernel gives, as an array; of several results the first."""
    return all_called(kind, **arguments)[0]


def all_called(kind: str, **arguments: Any) -> list[Array]:
    """Every result of the kernel."""
    found: Any = all_kernels()[kind]({key: _held(one) for key, one in arguments.items()})
    return [one.numpy() for one in (found if isinstance(found, tuple) else (found,))]


def _held(value: Any) -> Any:
    if isinstance(value, str | bool):
        return value
    if isinstance(value, tuple):
        return [_held(one) for one in value]
    return from_array(np.asarray(value))


def drawn(seed: int, *shape: int) -> Array:
    """Normal float32 values."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
