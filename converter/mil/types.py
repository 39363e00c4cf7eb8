"""Element types that a program declares against the rules of its own operations.

Core ML does not load such a file. The interpreter could execute it, by rounding where the declaration says, and would
prove a file that runs nowhere. So, where both types are known:

1. A `cast` gives elements of its `dtype`.
2. Every other operation that takes floats as `x` and gives floats gives those of `x`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from converter.mil.program import Operation, Program

FLOATS: Mapping[str, str] = {"float16": "FLOAT16", "float32": "FLOAT32"}
"""MIL's names by NumPy's."""
CAST_TYPES: Mapping[str, str] = {"fp16": "FLOAT16", "fp32": "FLOAT32"}
"""MIL's names of types by those that a `cast` is told; of others it is the same word."""


def type_problems(program: Program) -> Iterator[str]:
    """Results whose declared type is not the one that their operation gives, in words."""
    known = {name: FLOATS.get(_kind(one), "") for name, one in program.constants.items()}
    known |= dict(zip(program.inputs, program.input_types, strict=True))
    yield from _problems(program.operations, known, program)


def _problems(operations: Sequence[Operation], known: dict[str, str], program: Program) -> Iterator[str]:
    """Adds the types of results to `known`; names are those of the whole program."""
    for operation in operations:
        known |= dict(zip(operation.outputs, operation.types, strict=True))
        for block in operation.blocks:
            yield from _problems(block.operations, known, program)
        expected = _expected(operation, known, program)
        for name, declared in zip(operation.outputs, operation.types, strict=True):
            if expected and declared != expected and (operation.kind == "cast" or declared in FLOATS.values()):
                yield f"{operation.kind} ({name}) gives {expected}, the program declares {declared}"


def _expected(operation: Operation, known: Mapping[str, str], program: Program) -> str:
    """The type that the rules say; empty where they say none."""
    if operation.kind == "cast":
        told = program.constants.get(operation.inputs.get("dtype", ("",))[0])
        return CAST_TYPES.get(told, told.upper()) if isinstance(told, str) else ""
    kind = known.get(operation.inputs.get("x", ("",))[0], "")
    return kind if kind in FLOATS.values() else ""


def _kind(constant: object) -> str:
    return str(constant.dtype) if isinstance(constant, np.ndarray) else ""
