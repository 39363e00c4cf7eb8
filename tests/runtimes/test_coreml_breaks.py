"""Damage that the structure check cannot see, or not alone: the file, executed, is not the model any more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converter.errors import ConversionError
from converter.mil.interpreter import Interpreter
from converter.mil.program import read_program
from converter.records import Artifact, Tower
from converter.runtimes import coreml
from tests.conftest import run_each
from tests.runtimes.coreml_breaking import constant, copied, edit_block, exchange, first, rewrite_weight

pytest.importorskip("coremltools", reason="needs the extra mcconvert[coreml]")

BOUND = 1e-5
"""Float32 files agree to 1e-7 here; every damage below moves an embedding by more than 1e-4."""


@pytest.fixture
def text(tiny_coreml: dict[tuple[Tower, str], Artifact], tmp_path: Path) -> Artifact:
    """A copy of the float32 text package that a test may damage: its attention has square matrices."""
    return copied(tiny_coreml["text", "fp32"], tmp_path)


@pytest.fixture(scope="module")
def sample(tiny_inputs: dict[Tower, Any]) -> Mapping[str, np.ndarray[Any, Any]]:
    """Two rows of tokens."""
    return {name: rows[:2] for name, rows in tiny_inputs["text"].items()}


@pytest.fixture(scope="module")
def reference(tiny_parents: dict[Tower, Artifact], sample: Any) -> np.ndarray[Any, Any]:
    """What the parent makes of them."""
    from converter.runtimes import pytorch

    with pytorch.open_runner(tiny_parents["text"], threads=1) as runner:
        return run_each(runner, sample)


def test_the_whole_package_is_within_the_bound(text: Artifact, sample: Any, reference: Any) -> None:
    """Nothing damaged: the twin of all below."""
    assert _off(text, sample, reference) <= BOUND


@pytest.mark.parametrize("change", [np.transpose, np.negative])
def test_a_changed_square_matrix_shows(change: Callable[..., Any], text: Artifact, sample: Any, reference: Any) -> None:
    """By execution; a transposed one by execution alone."""
    constants = read_program(Path(text.path)).constants
    square = next(name for name, one in constants.items() if np.shape(one) == (32, 32))
    rewrite_weight(text, square, change)

    assert _off(text, sample, reference) > 10 * BOUND


def _swap_two_weights(block: Any) -> None:
    """Two projections of attention trade their weights: each is still somewhere in the parent."""
    one, other = [found for found in block.operations if found.type == "linear"][:2]
    held = one.inputs["weight"].arguments[0].name
    one.inputs["weight"].arguments[0].name = other.inputs["weight"].arguments[0].name
    other.inputs["weight"].arguments[0].name = held


def _drop_a_residual(block: Any) -> None:
    """`x + f(x)` becomes `x + x`."""
    add = [one for one in block.operations if one.type == "add"][1]
    add.inputs["y"].CopyFrom(add.inputs["x"])


def _exchange_the_factors(block: Any) -> None:
    """Attention times values becomes values times attention, transposed so that the shapes fit."""
    product = first(block, "matmul")
    exchange(product, "x", "y")
    for key in ("transpose_x", "transpose_y"):
        constant(block, product, key).bools.values[0] = True


def _drop_a_bias(block: Any) -> None:
    del next(one for one in block.operations if one.type == "linear" and _biased(one)).inputs["bias"]


def _biased(operation: Any) -> bool:
    return "zeros" not in operation.inputs["bias"].arguments[0].name


@pytest.mark.parametrize("edit", [_swap_two_weights, _drop_a_residual, _exchange_the_factors, _drop_a_bias])
def test_another_program_of_the_same_weights_shows(
    edit: Callable[[Any], None], text: Artifact, sample: Any, reference: Any
) -> None:
    """By execution: connections, and which input is which."""
    edit_block(text, edit)

    assert _off(text, sample, reference) > 10 * BOUND


def _wrong_perm(block: Any) -> None:
    held = constant(block, first(block, "transpose"), "perm").ints.values
    held[-1], held[-2] = held[-2], held[-1]


def _unknown_operation(block: Any) -> None:
    for one in block.operations:
        one.type = {"softmax": "swirl", "gelu": "twist"}.get(one.type, one.type)


def _cut_constant(block: Any) -> None:
    del constant(block, first(block, "transpose"), "perm").ints.values[-1:]


def _read_what_is_not_there(block: Any) -> None:
    first(block, "softmax").inputs["x"].arguments[0].name = "nowhere"


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (_wrong_perm, "the program declares"),
        (_unknown_operation, r"cannot be executed here: swirl \(2\), twist \(2\)"),
        (_cut_constant, r"has 3 values, its type \[4\] says otherwise"),
        (_read_what_is_not_there, "it reads nowhere, which nothing computes before it"),
    ],
)
def test_what_cannot_be_executed_is_refused(
    edit: Callable[[Any], None], said: str, text: Artifact, sample: Any, reference: Any
) -> None:
    """By opening or executing it; the message names the operation or the constant."""
    edit_block(text, edit)

    with pytest.raises(ConversionError, match=said):
        _off(text, sample, reference)


@pytest.mark.parametrize("kind", ["sub", "real_div", "matmul", "concat"])
def test_exchanged_inputs_show(kind: str, tmp_path: Path) -> None:
    """Operations that tell their first input from their second."""
    from tests.mil.building import saved

    one, other = np.arange(4, dtype=np.float32).reshape(2, 2) + 1, np.float32([[5, 7], [11, 13]])
    right = {
        "sub": one - other, "real_div": one / other, "matmul": one @ other, "concat": np.concatenate([one, other]),
    }[kind]  # fmt: skip
    given = {"one": one, "other": other}

    def build(mb: Any, one: Any, other: Any) -> Any:
        return mb.concat(values=(one, other), axis=0) if kind == "concat" else getattr(mb, kind)(x=one, y=other)

    package = saved(build, given, tmp_path / "two.mlpackage")
    before = _only(package, given)
    edit_block(_artifact(package), lambda block: _exchanged(first(block, kind)))

    np.testing.assert_allclose(before, right, rtol=1e-6)
    assert np.abs(_only(package, given) - right).max() > 0.1


def _exchanged(operation: Any) -> None:
    if operation.type != "concat":
        exchange(operation, "x", "y")
        return
    values = operation.inputs["values"].arguments
    values[0].name, values[1].name = values[1].name, values[0].name


def _artifact(package: Path) -> Artifact:
    return Artifact(
        path=str(package), format="coreml", target="coreml", tower="image", precision="fp32", inputs=(), outputs=()
    )


def _only(package: Path, given: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    (value,) = Interpreter(read_program(package)).run(given).values()
    return value


def _off(artifact: Artifact, sample: Any, reference: Any) -> float:
    with coreml.open_interpreter(artifact, threads=1) as runner:
        return float(np.abs(run_each(runner, sample) - reference).max())
