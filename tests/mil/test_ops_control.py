"""Operations that run others, lists that loops fill, and what no kernel exists for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from converter.coreml_package import import_coremltools
from converter.errors import ConversionError
from converter.mil.control import CONTROL
from converter.mil.interpreter import Interpreter
from converter.mil.ops import GROUPS, REFUSED, all_kernels, lists
from converter.mil.program import Operation, Program
from tests.mil.building import executed, reloaded

pytest.importorskip("coremltools", reason="needs the extra mcconvert[coreml]")

X = np.array([[1.0, -2.0], [3.0, 4.0]], np.float32)


def test_every_operation_of_the_specification_is_known_or_refused() -> None:
    """None is forgotten, none is both; a refusal says why."""
    import_coremltools()
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

    # A name with an underscore before it is the builder's own and never written.
    specified = {name for name in SSAOpRegistry.core_ops if not name.startswith("_")}
    known = all_kernels().keys() | CONTROL.keys()

    assert specified - known - REFUSED.keys() == set()
    assert known & REFUSED.keys() == set()
    assert all(REFUSED.values())


def test_no_operation_has_two_kernels() -> None:
    """A group does not overwrite another's."""
    from importlib import import_module

    counted = sum(len(import_module(f"converter.mil.ops.{group}").kernels()) for group in GROUPS)

    assert counted == len(all_kernels())


def _branches(mb: Any, x: Any) -> Any:
    """Where the sum is positive x + 1 and its double, else x and -x."""
    positive = mb.greater(x=mb.reduce_sum(x=x), y=0.0)

    def more() -> Any:
        added = mb.add(x=x, y=1.0)
        return added, mb.mul(x=added, y=2.0)

    return mb.cond(pred=positive, _true_fn=more, _false_fn=lambda: (mb.identity(x=x), mb.mul(x=x, y=-1.0)))


@pytest.mark.parametrize("sign", [1, -1])
def test_one_branch_is_taken(sign: int) -> None:
    """The first block where the predicate holds, else the second; both may read what is around them."""
    found = executed(_branches, {"x": sign * X})

    expected = (X + 1, 2 * X + 2) if sign > 0 else (-X, X)
    for result, value in zip(found, expected, strict=True):
        assert result.tolist() == value.tolist()


def _doubled_until(mb: Any, x: Any, limit: Any) -> Any:
    """How often x is doubled until its sum passes the limit, and what it is then."""
    scalar = mb.squeeze(x=limit)
    zero = mb.cast(x=mb.mul(x=scalar, y=0.0), dtype="int32")
    loop = mb.while_loop(
        _cond=lambda count, held: mb.less(x=mb.reduce_sum(x=held), y=scalar),
        _body=lambda count, held: (mb.add(x=count, y=1), mb.mul(x=held, y=2.0)),
        loop_vars=(zero, x),
    )
    return mb.expand_dims(x=loop[0], axes=[0]), loop[1]


@pytest.mark.parametrize(("limit", "turns"), [(0.0, 0), (7.0, 1), (1000.0, 8)])
def test_a_loop_runs_while_its_condition_holds(limit: float, turns: int) -> None:
    """Also not at all; the condition may read what is around the loop."""
    count, found = executed(_doubled_until, {"x": X, "limit": np.array([limit], np.float32)})

    assert count.tolist() == [turns]
    assert found.tolist() == (X * 2**turns).tolist()


def _running_sums(mb: Any, x: Any) -> Any:
    """A list filled in a loop with the sums of the first rows, then read in several ways."""
    zero = mb.cast(x=mb.mul(x=mb.reduce_sum(x=x), y=0.0), dtype="int32")
    held = mb.make_list(init_length=1, dynamic_length=True, elem_shape=(2,), dtype="fp32")

    def body(i: Any, total: Any, ls: Any) -> Any:
        row = mb.add(x=total, y=mb.gather(x=x, indices=i, axis=0))
        return mb.add(x=i, y=1), row, mb.list_write(ls=ls, index=i, value=row)

    start = mb.mul(x=mb.reduce_sum(x=x, axes=[0]), y=0.0)
    _, _, filled = mb.while_loop(
        _cond=lambda i, total, ls: mb.less(x=i, y=3), _body=body, loop_vars=(zero, start, held)
    )
    wider = mb.list_scatter(ls=filled, indices=[4, 0], value=np.array([[7, 7], [8, 8]], np.float32))
    return (
        mb.list_gather(ls=filled, indices=[2, 0]),
        mb.list_read(ls=wider, index=4),
        mb.list_read(ls=wider, index=3),
        mb.list_gather(ls=wider, indices=[0, 1]),
        mb.expand_dims(x=mb.list_length(ls=wider), axes=[0]),
    )


ROWS = np.array([[1, 2], [3, 4], [5, 6]], np.float32)


def test_a_list_is_filled_in_a_loop() -> None:
    """It grows where it is written, has zeros where nothing was, and earlier values of it do not change."""
    gathered, written, blank, first, length = executed(_running_sums, {"x": ROWS})

    assert gathered.tolist() == [[9, 12], [1, 2]]
    assert (written.tolist(), blank.tolist(), length.tolist()) == ([7, 7], [0, 0], [5])
    assert first.tolist() == [[8, 8], [4, 6]]


def test_every_operation_on_lists_is_in_that_program() -> None:
    """No kernel of this group goes without a file that holds it."""
    program = reloaded(_running_sums, {"x": ROWS})

    kinds = {one.kind for one in program.operations}
    kinds |= {one.kind for outer in program.operations for block in outer.blocks for one in block.operations}
    assert set(lists.kernels()) <= kinds


@pytest.mark.parametrize("kind", ["read", "write"])
def test_an_index_outside_a_list_is_refused(kind: str) -> None:
    """Reading beyond the end always, writing there where the list does not grow."""

    def build(mb: Any, x: Any) -> Any:
        held = mb.make_list(init_length=2, dynamic_length=False, elem_shape=(2, 2))
        held = mb.list_write(ls=held, index=2 if kind == "write" else 0, value=x)
        return mb.list_read(ls=held, index=2)

    with pytest.raises(ConversionError, match=rf"operation list_{kind} \(.*index 2 lies outside a list of 2"):
        executed(build, {"x": X})


def test_an_operation_inside_a_block_is_observed_and_named() -> None:
    """What runs in a loop is seen each time it runs."""
    program = reloaded(_doubled_until, {"x": X, "limit": np.zeros(1, np.float32)})
    seen: list[str] = []

    Interpreter(program).run({"x": X, "limit": np.array([7.0], np.float32)}, lambda one, _: seen.append(one.kind))

    assert (seen.count("less"), seen.count("add"), seen.count("while_loop")) == (2, 1, 1)


def test_a_broken_block_changes_the_result() -> None:
    """With the branches exchanged, the other one is taken."""
    program = reloaded(_branches, {"x": X})

    found = Interpreter(_with_exchanged_blocks(program)).run({"x": X})

    assert found[program.outputs[0]].tolist() == X.tolist()


def _with_exchanged_blocks(program: Program) -> Program:
    def exchanged(one: Operation) -> Operation:
        return replace(one, blocks=one.blocks[::-1])

    return replace(program, operations=tuple(exchanged(one) for one in program.operations))
