"""The interpreter: declared types and shapes are honoured, values freed, and what it cannot do is refused by name."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from converter.errors import ConversionError
from converter.mil.interpreter import Interpreter
from converter.mil.program import Operation, Program
from tests.mil.building import executed, reloaded

pytest.importorskip("coremltools", reason="needs the extra mcconvert[coreml]")

ROW = np.float32([[1.0, 2.0, 3.0]])
ONE = np.float16(1.0)


def test_each_float16_result_is_rounded() -> None:
    """2048 + 1 is 2048 in float16, once for every addition: rounding happens after each, not at the end."""
    given = {"x": np.float16([2048.0])}

    (thrice,) = executed(lambda mb, x: mb.add(x=mb.add(x=mb.add(x=x, y=ONE), y=ONE), y=ONE), given)
    (single,) = executed(lambda mb, x: mb.add(x=mb.cast(x=x, dtype="fp32"), y=np.float32(1.0)), given)

    assert thrice.tolist() == [2048.0]
    assert single.tolist() == [2049.0]


def test_float16_overflow_becomes_infinite() -> None:
    """Beyond 65504, with its sign; the same program in float32 keeps the number."""
    given = np.array([300.0, -300.0])

    (half,) = executed(lambda mb, x: mb.mul(x=x, y=np.float16([300.0, 300.0])), {"x": given.astype(np.float16)})
    (full,) = executed(lambda mb, x: mb.mul(x=x, y=np.float32([300.0, 300.0])), {"x": given.astype(np.float32)})

    assert half.tolist() == [np.inf, -np.inf]
    assert full.tolist() == [90000.0, -90000.0]


def test_an_int16_wraps() -> None:
    """Token 49407 is no int16; as one it is -16129."""

    def build(mb: Any, x: Any) -> Any:
        return mb.cast(x=mb.cast(x=x, dtype="int16"), dtype="int32")

    (found,) = executed(build, {"x": np.int32([49407, 7])}, "iOS17")

    assert found.tolist() == [-16129, 7]


def test_inputs_are_brought_to_the_programs_types() -> None:
    """A float16 program sees the pixels that float16 holds, whatever it is fed."""
    program = reloaded(lambda mb, x: mb.sub(x=x, y=np.float16([2048.0])), {"x": np.float16([0.0])})

    found = Interpreter(program).run({"x": np.float32([2049.0])})

    assert program.input_types == ("FLOAT16",)
    assert found[program.outputs[0]].tolist() == [0.0]


def test_values_are_freed_after_their_last_use() -> None:
    """A long program holds few values at a time; outputs and what is still read stay."""

    def build(mb: Any, x: Any) -> Any:
        first = x = mb.relu(x=x)
        for _ in range(10):
            x = mb.add(x=x, y=np.float32([[1.0, 1.0, 1.0]]))
        return mb.sub(x=x, y=first)

    program = reloaded(build, {"x": ROW})
    held: list[Any] = []
    most = 0

    def observe(_: Operation, results: Mapping[str, Any]) -> None:
        nonlocal most
        held.extend(weakref.ref(value) for value in results.values())
        most = max(most, sum(ref() is not None for ref in held))

    found = Interpreter(program).run({"x": ROW}, observe)

    assert len(held) == 12
    assert most <= 4
    np.testing.assert_array_equal(found[program.outputs[0]], np.float32([[10.0, 10.0, 10.0]]))


def test_a_run_does_not_change_the_next() -> None:
    """Neither inputs nor constants are written to."""
    program = reloaded(lambda mb, x: mb.relu(x=mb.sub(x=x, y=np.float32([[2.0, 2.0, 2.0]]))), {"x": ROW})
    interpreter, given = Interpreter(program), ROW.copy()

    first, second = (interpreter.run({"x": given})[program.outputs[0]] for _ in range(2))

    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(given, ROW)


@pytest.mark.parametrize("taken", [True, False])
def test_a_branch_is_taken_by_its_condition(taken: bool) -> None:
    """Blocks see the values around them, and what happens inside is observed before the whole."""

    def build(mb: Any, x: Any) -> Any:
        condition = mb.greater(x=mb.reduce_max(x=x, axes=[0, 1], keep_dims=False), y=np.float32(0.0))
        return mb.cond(pred=condition, _true_fn=lambda: mb.square(x=x), _false_fn=lambda: mb.abs(x=x))

    given = {"x": ROW * (1 if taken else -1)}
    program = reloaded(build, given)

    steps = [operation.kind for operation, _ in Interpreter(program).steps(given)]
    found = Interpreter(program).run(given)[program.outputs[0]]

    assert steps[-2:] == ["square" if taken else "abs", "cond"]
    np.testing.assert_array_equal(found, ROW**2 if taken else ROW)


def test_a_loop_inside_a_branch_runs_to_its_end() -> None:
    """Doubled until beyond 100, in blocks two deep."""

    def build(mb: Any, x: Any) -> Any:
        def doubled() -> Any:
            return mb.while_loop(
                _cond=lambda y: mb.less(x=mb.reduce_sum(x=y, axes=[0], keep_dims=False), y=np.float32(100.0)),
                _body=lambda y: mb.add(x=y, y=y),
                loop_vars=(x,),
            )

        above = mb.greater(x=mb.reduce_sum(x=x, axes=[0], keep_dims=False), y=np.float32(0.0))
        return mb.cond(pred=above, _true_fn=doubled, _false_fn=lambda: mb.identity(x=x))

    (found,) = executed(build, {"x": np.float32([3.0])})

    assert found.tolist() == [192.0]


def _program() -> Program:
    return reloaded(lambda mb, x: mb.relu(x=mb.exp(x=x, name="grown")), {"x": ROW})


def test_a_result_of_another_shape_than_declared_is_refused() -> None:
    """The message names the operation, what came, and what the program declares."""
    program = _program()
    operations = tuple(replace(each, shapes=((1, 4),)) if each.kind == "exp" else each for each in program.operations)

    with pytest.raises(ConversionError, match=r"exp \(grown\) gives grown \[1, 3\], the program declares \[1, 4\]"):
        Interpreter(replace(program, operations=operations)).run({"x": ROW})


def test_a_size_left_open_takes_any() -> None:
    """The twin: where the program declares nothing, nothing is refused."""
    program = _program()
    operations = tuple(replace(each, shapes=((1, None),)) for each in program.operations)

    assert Interpreter(replace(program, operations=operations)).run({"x": ROW})


def test_every_unknown_operation_is_named_before_anything_runs() -> None:
    """With how often it is there."""
    program = _program()
    operations = tuple(replace(each, kind=f"{each.kind}_of_tomorrow") for each in program.operations)

    with pytest.raises(ConversionError, match=r"exp_of_tomorrow \(1\), relu_of_tomorrow \(1\).*on a Mac"):
        Interpreter(replace(program, operations=operations))


def test_a_missing_input_is_named() -> None:
    """With what was given instead."""
    with pytest.raises(ConversionError, match="input x is missing; given were y"):
        Interpreter(_program()).run({"y": ROW})


def test_a_type_that_nothing_computes_with_is_refused() -> None:
    """A result declared as text, or as a type of tomorrow."""
    program = _program()
    operations = tuple(replace(each, types=("STRING",)) for each in program.operations)

    with pytest.raises(ConversionError, match="element type STRING"):
        Interpreter(replace(program, operations=operations)).run({"x": ROW})


def test_an_output_that_nothing_computes_is_refused() -> None:
    """Instead of less than was promised."""
    with pytest.raises(ConversionError, match="returns embedding, which no operation computes"):
        Interpreter(replace(_program(), outputs=("embedding",))).run({"x": ROW})


@pytest.mark.parametrize(("key", "value"), [("x", ("x", "x")), ("mode", ("x",))])
def test_an_argument_of_another_kind_is_refused(key: str, value: tuple[str, ...]) -> None:
    """A list for one value, a tensor for a word: the operation is named, whatever its kernel trips over."""
    program = reloaded(lambda mb, x: mb.gelu(x=x, mode="EXACT", name="curved"), {"x": ROW})
    (operation,) = program.operations
    wrong = replace(operation, inputs={**operation.inputs, key: value})

    with pytest.raises(ConversionError, match=r"operation gelu \(curved\) does not compute"):
        Interpreter(replace(program, operations=(wrong,))).run({"x": ROW})
