"""Declared types that contradict the operations: Core ML would not load the file, so it is not executed either."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from converter.errors import ConversionError
from converter.mil.interpreter import Interpreter
from converter.mil.program import Operation, Program
from converter.mil.types import type_problems
from tests.mil.building import reloaded

pytest.importorskip("coremltools", reason="needs the extra mcconvert[coreml]")

HALF = np.float16([[1.0, 2.0, 3.0]])


@pytest.fixture(scope="module")
def program() -> Program:
    """Float16 inside, a bool and a whole number on the way, a branch, float32 at the end."""

    def build(mb: Any, x: Any) -> Any:
        place = mb.reduce_argmax(x=x, axis=1)
        above = mb.greater(x=mb.reduce_max(x=x, axes=[0, 1], keep_dims=False), y=np.float16(0.0))
        taken = mb.cond(pred=above, _true_fn=lambda: mb.square(x=x), _false_fn=lambda: mb.abs(x=x))
        return mb.cast(x=mb.mul(x=taken, y=mb.cast(x=place, dtype="fp16")), dtype="fp32")

    return reloaded(build, {"x": HALF})


def test_a_whole_program_has_no_problem(program: Program) -> None:
    """Casts, comparisons and places change the type, and may."""
    assert list(type_problems(program)) == []
    assert Interpreter(program).run({"x": HALF})


def _in_the_branch(one: Operation) -> Operation:
    blocks = tuple(
        replace(block, operations=tuple(replace(each, types=("FLOAT32",)) for each in block.operations))
        for block in one.blocks
    )
    return replace(one, blocks=blocks)


@pytest.mark.parametrize(
    ("kind", "edit", "said"),
    [
        ("mul", lambda one: replace(one, types=("FLOAT32",)), "mul .* gives FLOAT16, the program declares FLOAT32"),
        ("cast", lambda one: replace(one, types=("INT16",)), "cast .* gives FLOAT(16|32), the program declares INT16"),
        ("cond", _in_the_branch, "square .* gives FLOAT16, the program declares FLOAT32, and 1 more like this"),
    ],
)
def test_a_type_that_no_operation_gives_is_refused(
    kind: str, edit: Callable[[Operation], Operation], said: str, program: Program
) -> None:
    """A cast tells its type, other operations keep that of their input; inside of blocks too."""
    operations = tuple(edit(one) if one.kind == kind else one for one in program.operations)

    with pytest.raises(ConversionError, match=said):
        Interpreter(replace(program, operations=operations))
