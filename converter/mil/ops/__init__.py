"""Kernels of MIL operations, a module for each group of Apple's specification.

A kernel is a function of its operation's arguments by their MIL names: a float tensor is float32 (holding values that
its declared type can hold), an integer one int32, a bool one bool; scalars are 0-dimensional tensors; a string is a
str, a constant bool a bool; a variadic parameter such as `values` is a list. An optional parameter may be absent: the
kernel knows the specification's default. It returns a tensor, or a tuple of them in the operation's order; rounding to
the declared type is the interpreter's work. It raises `ValueError` for what the specification does not allow.

The specification is the one that coremltools publishes: https://apple.github.io/coremltools/source/
coremltools.converters.mil.mil.ops.defs.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    Arguments = Mapping[str, Any]
    Kernel = Callable[[Arguments], torch.Tensor | tuple[torch.Tensor, ...]]

GROUPS = (
    "elementwise", "activation", "reduction", "tensors", "shapes", "slicing", "indexing", "ordering", "lists",
    "linear", "windows", "normalization", "resizing", "sampling", "recurrent", "compressed", "quantized",
)  # fmt: skip

_NOT_REPRODUCIBLE = "it draws random numbers as the device does"
_STATEFUL = "its state outlives a prediction, and verification compares single predictions"
REFUSED: Mapping[str, str] = {
    "classify": "it names a class by a dictionary; mcconvert compares tensors",
    "const": "a constant is read with the program, not executed",
    "coreml_update_state": _STATEFUL,
    "random_bernoulli": _NOT_REPRODUCIBLE,
    "random_categorical": _NOT_REPRODUCIBLE,
    "random_normal": _NOT_REPRODUCIBLE,
    "random_uniform": _NOT_REPRODUCIBLE,
    "read_state": _STATEFUL,
    "write_state": _STATEFUL,
}
"""Operations of the specification that have no kernel, each with the reason."""


@cache
def all_kernels() -> Mapping[str, Kernel]:
    """The kernel of every known operation, by its MIL name."""
    found: dict[str, Kernel] = {}
    for group in GROUPS:
        found |= import_module(f"converter.mil.ops.{group}").kernels()
    return found
