"""Operations that run other operations: `cond` and `while_loop`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from converter.mil.program import Block, Operation

type Control = Callable[[Operation, Mapping[str, Any], Mapping[str, Any], Any], tuple[Any, ...]]


def _cond(operation: Operation, a: Mapping[str, Any], values: Mapping[str, Any], observe: Any) -> tuple[Any, ...]:
    """MIL `cond`: the results of the first block where `pred` is true, else of the second."""
    return _body(operation.blocks[0 if bool(a["pred"]) else 1], (), values, observe)


def _while_loop(operation: Operation, a: Mapping[str, Any], values: Mapping[str, Any], observe: Any) -> tuple[Any, ...]:
    """MIL `while_loop`: the second block as long as the first gives true, both on the loop's variables."""
    held = a["loop_vars"]
    state = tuple(held) if isinstance(held, list) else (held,)
    condition, body = operation.blocks
    while bool(_body(condition, state, values, observe)[0]):
        state = _body(body, state, values, observe)
    return state


def _body(block: Block, given: tuple[Any, ...], values: Mapping[str, Any], observe: Any) -> tuple[Any, ...]:
    from converter.mil.interpreter import compute

    inner = {**values, **dict(zip(block.inputs, given, strict=True))}
    for operation in block.operations:
        inner |= compute(operation, inner, observe)
    return tuple(inner[name] for name in block.outputs)


CONTROL: Mapping[str, Control] = {"cond": _cond, "while_loop": _while_loop}
