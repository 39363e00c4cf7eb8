"""Element types: what a value that a program declares as FLOAT16 or INT16 can hold, and what becomes of one that
does not fit.

Kernels compute in float32, int32 and bool. What they return is brought to the declared type here: a float16 is
rounded to the nearest, ties to even, and becomes infinite beyond 65504, as IEEE 754 says; a narrow integer wraps.
Values stay in float32 and int32 tensors, so that kernels need not care.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

INTEGER_BITS: Mapping[str, tuple[int, bool]] = {
    "INT4": (4, True), "INT8": (8, True), "INT16": (16, True), "INT32": (32, True),
    "UINT1": (1, False), "UINT2": (2, False), "UINT3": (3, False), "UINT4": (4, False), "UINT6": (6, False),
    "UINT8": (8, False), "UINT16": (16, False),
}  # fmt: skip
"""Bits of each integer type, and whether it is signed. UINT32 and INT64 exist in files, not in programs that run."""


def honoured(value: torch.Tensor, kind: str) -> torch.Tensor:
    """The value as an element of MIL type `kind` holds it.

    Raises:
        ValueError: no such type of a computed value.
    """
    import torch

    if kind == "FLOAT16":
        return value.to(torch.float16).to(torch.float32)
    if kind == "FLOAT32":
        return value.to(torch.float32)
    if kind == "BOOL":
        return value.to(torch.bool)
    if kind in INTEGER_BITS:
        return _wrapped(value, *INTEGER_BITS[kind])
    message = (
        f"element type {kind} cannot be computed with; known are FLOAT16, FLOAT32, BOOL, {', '.join(INTEGER_BITS)}"
    )
    raise ValueError(message)


def from_array(array: np.ndarray[Any, Any]) -> torch.Tensor:
    """A stored constant or an input as kernels take it: float32, int32 or bool.

    Raises:
        ValueError: whole numbers that int32 cannot hold.
    """
    import torch

    if array.dtype == np.bool_:
        return torch.from_numpy(np.array(array))
    wide = np.float32 if np.issubdtype(array.dtype, np.floating) else np.int32
    if wide is np.int32 and array.size and not (int(array.min()) >= -(2**31) and int(array.max()) < 2**31):
        message = f"whole numbers from {array.min()} to {array.max()} do not fit int32"
        raise ValueError(message)
    return torch.from_numpy(np.array(array, dtype=wide))


def _wrapped(value: torch.Tensor, bits: int, signed: bool) -> torch.Tensor:
    import torch

    whole = value.to(torch.int32) if bits == 32 else value.to(torch.int32) & ((1 << bits) - 1)
    if signed and bits < 32:
        whole = torch.where(whole >= 1 << (bits - 1), whole - (1 << bits), whole)
    return whole
