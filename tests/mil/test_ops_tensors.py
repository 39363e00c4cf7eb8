"""Operations that make tensors, join them and cut them into pieces."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from converter.errors import ConversionError
from converter.mil.ops import all_kernels, tensors
from converter.mil.values import from_array
from tests.mil.building import Array, Case, agree, computed, executed, in_float16, inferred, one_op, through_file

pytest.importorskip("coremltools", reason="needs the extra mcconvert[coreml]")

quick = settings(max_examples=40, deadline=None)
MIL_TYPES = {np.dtype(np.float32): "FLOAT32", np.dtype(np.float16): "FLOAT16", np.dtype(np.int32): "INT32"}
X = np.arange(1, 7, dtype=np.float32).reshape(2, 3)
PLACES = np.array([2, 0], np.int32)


def _case(name: str, kind: str, inputs: dict[str, Any], expected: Any, **constants: Any) -> Case:
    found = expected if isinstance(expected, tuple) else (expected,)
    return Case(name=name, kind=kind, inputs=inputs, constants=constants, expected=found)


CASES = [
    _case("band", "band_part", {"x": X}, np.triu(X), lower=0),
    _case("band_around", "band_part", {"x": X}, np.array([[1, 2, 0], [0, 5, 6]], np.float32), lower=0, upper=1),
    _case("concat", "concat", {"values": [X, 2 * X]}, np.vstack([X, 2 * X]), axis=0),
    _case("concat_turns", "concat", {"values": [X, -X]}, np.array([[1, 2, 3], [-1, -2, -3], [4, 5, 6], [-4, -5, -6]],
          np.float32), axis=-2, interleave=True),
    _case("cumsum", "cumsum", {"x": X}, np.array([[1, 2, 3], [5, 7, 9]], np.float32)),
    _case("cumsum_back", "cumsum", {"x": X}, np.array([[5, 3, 0], [11, 6, 0]], np.float32), axis=1, exclusive=True,
          reverse=True),
    _case("fill", "fill", {"shape": np.array([2, 3], np.int32)}, np.full((2, 3), 0.5, np.float32), value=0.5),
    _case("fill_like", "fill_like", {"ref_tensor": X}, np.full((2, 3), 7), value=7),
    _case("identity", "identity", {"x": X}, X),
    _case("non_zero", "non_zero", {"x": X - 2}, np.array([[0, 0], [0, 2], [1, 0], [1, 1], [1, 2]])),
    _case("one_hot", "one_hot", {"indices": PLACES}, np.array([[0, 0, 1], [1, 0, 0]]), one_hot_vector_size=3),
    _case("one_hot_first", "one_hot", {"indices": PLACES}, np.array([[0.5, 2], [0.5, 0.5], [2, 0.5]], np.float32),
          one_hot_vector_size=3, axis=0, on_value=2.0, off_value=0.5),
    _case("range", "range_1d", {"end": np.array([7], np.int32)}, np.array([1, 3, 5])),
    _case("shape", "shape", {"x": X}, np.array([2, 3])),
    _case("split", "split", {"x": X}, (X[:, :1], X[:, 1:]), axis=1, split_sizes=[1, 2]),
    _case("split_equal", "split", {"x": X}, (X[:, :1], X[:, 1:2], X[:, 2:]), axis=-1, num_splits=3),
    _case("stack", "stack", {"values": [X, -X]}, np.dstack([X, -X]), axis=-1),
    _case("tile", "tile", {"x": X}, np.vstack([X, X]), reps=[2, 1]),
]  # fmt: skip
THROUGH_FILE = [case for case in CASES if case.kind != "range_1d"]


@pytest.fixture(scope="module")
def from_file() -> dict[str, dict[str, list[Array]]]:
    """What the programs of all cases give."""
    return {
        "float32": through_file(THROUGH_FILE),
        "float16": through_file([in_float16(case) for case in THROUGH_FILE], "iOS17"),
    }


def test_every_operation_of_the_group_has_a_case() -> None:
    """No kernel of this group goes without a file that holds it."""
    assert {case.kind for case in CASES} == set(tensors.kernels())


@pytest.mark.parametrize("case", THROUGH_FILE, ids=str)
def test_a_program_from_a_file_computes_it(case: Case, from_file: dict[str, dict[str, list[Array]]]) -> None:
    """Each operation, written by coremltools and read back, gives exactly what is expected, in both precisions."""
    for precision in ("float32", "float16"):
        for found, expected in zip(from_file[precision][case.name], case.expected, strict=True):
            agree(found, expected)


def test_a_range_from_a_file_has_as_many_values_as_it_needs() -> None:
    """Its length is a value of the program, so that the declared shape is open."""

    def build(mb: Any, end: Any) -> Any:
        return mb.range_1d(start=1, end=mb.squeeze(x=end), step=2)

    for end, expected in ((7, [1, 3, 5]), (8, [1, 3, 5, 7]), (1, [])):
        assert executed(build, {"end": np.array([end], np.int32)})[0].tolist() == expected


matrices = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=2, max_dims=4, max_side=4),
    elements=st.one_of(st.integers(-9, 9).map(float), st.sampled_from([math.inf, math.nan])),
)  # fmt: skip


@quick
@given(x=matrices, lower=st.integers(-2, 3), upper=st.integers(-2, 3))
def test_a_band_is_what_two_triangles_share(x: Array, lower: int, upper: int) -> None:
    """Outside it are zeros, also where coremltools' inference multiplies infinity by zero."""
    expected = np.triu(x, -lower) if lower >= 0 else x
    expected = np.tril(expected, upper) if upper >= 0 else expected

    agree(computed("band_part", "FLOAT32", x=x, lower=lower, upper=upper), expected)
    agree(computed("band_part", "FLOAT32", x=x), x)


@quick
@given(data=st.data())
def test_a_running_sum_adds_all_before(data: st.DataObject) -> None:
    """Forwards or backwards, with the value itself or without; coremltools' inference fails without."""
    x = data.draw(hnp.arrays(np.int32, hnp.array_shapes(max_dims=3, max_side=4), elements=st.integers(-99, 99)))
    axis, exclusive, reverse = data.draw(st.integers(0, x.ndim - 1)), data.draw(st.booleans()), data.draw(st.booleans())

    size = x.shape[axis]
    counted = np.tri(size, k=-1 if exclusive else 0, dtype=np.int32)
    expected = np.moveaxis(np.tensordot(counted.T if reverse else counted, x, axes=(1, axis)), 0, axis)
    found = computed("cumsum", "INT32", x=x, axis=axis, exclusive=exclusive, reverse=reverse)
    agree(found, expected)


@quick
@given(data=st.data())
def test_interleaved_values_take_turns(data: st.DataObject) -> None:
    """`concat` with `interleave` puts every n-th slice from one value; coremltools' inference ignores the flag."""
    shape = data.draw(hnp.array_shapes(max_dims=3, max_side=3))
    count, axis = data.draw(st.integers(1, 3)), data.draw(st.integers(-len(shape), len(shape) - 1))
    values = [np.full(shape, i, np.float32) + np.arange(np.prod(shape)).reshape(shape) / 100 for i in range(count)]
    values = [one.astype(np.float32) for one in values]

    found = computed("concat", "FLOAT32", values=values, axis=axis, interleave=True)
    for i, one in enumerate(values):
        agree(np.take(found, range(i, found.shape[axis], count), axis), one)
    agree(computed("concat", "FLOAT32", values=values, axis=axis), np.concatenate(values, axis))


def test_scalars_join_to_a_vector() -> None:
    """As coremltools infers it for the parts of a shape."""
    parts = [np.int32(2), np.int32(3)]

    agree(
        computed("concat", "INT32", values=[np.asarray(one) for one in parts], axis=0),
        inferred("concat", values=parts, axis=0)[0],
    )


@quick
@given(data=st.data())
def test_a_hot_place_is_one(data: st.DataObject) -> None:
    """On any new axis; an index outside names no place."""
    indices = data.draw(
        hnp.arrays(np.int32, hnp.array_shapes(min_dims=0, max_dims=3, max_side=3), elements=st.integers(-2, 5))
    )
    axis = data.draw(st.integers(-indices.ndim - 1, indices.ndim))

    found = computed("one_hot", "INT32", indices=indices, one_hot_vector_size=4, axis=axis, on_value=3, off_value=-1)
    rows = np.full((*indices.shape, 4), -1)
    for place in np.ndindex(indices.shape):
        if 0 <= indices[place] < 4:
            rows[(*place, indices[place])] = 3
    agree(found, np.moveaxis(rows, -1, axis))


@quick
@given(start=st.integers(-20, 20), end=st.integers(-20, 20), step=st.integers(-5, 5).filter(bool), whole=st.booleans())
def test_a_range_stops_before_its_end(start: int, end: int, step: int, whole: bool) -> None:
    """In whole numbers and in eighths, forwards and backwards, empty where the end lies behind."""
    scale = 1 if whole else 8
    kind, dtype = ("INT32", np.int32) if whole else ("FLOAT32", np.float32)

    found = computed(
        "range_1d", kind, **{key: dtype(v / scale) for key, v in (("start", start), ("end", end), ("step", step))}
    )
    agree(found, np.array(range(start, end, step)) / scale)


def test_a_range_needs_a_step() -> None:
    """A step of 0 is refused."""
    with pytest.raises(ValueError, match="a range needs a step other than 0"):
        computed("range_1d", "INT32", start=np.int32(0), end=np.int32(3), step=np.int32(0))


@quick
@given(data=st.data())
def test_pieces_join_to_the_whole(data: st.DataObject) -> None:
    """`split` by sizes as coremltools infers it, and by a count where it divides."""
    x = data.draw(
        hnp.arrays(np.int32, hnp.array_shapes(max_dims=3, min_side=2, max_side=6), elements=st.integers(-9, 9))
    )
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    first = data.draw(st.integers(1, x.shape[axis] - 1))
    sizes = np.array([first, x.shape[axis] - first], np.int32)
    pieces = all_kernels()["split"](
        {"x": from_array(x), "split_sizes": from_array(sizes), "axis": from_array(np.asarray(axis))}
    )
    for found, expected in zip(pieces, inferred("split", x=x, split_sizes=sizes, axis=axis), strict=True):
        agree(found.numpy(), expected)


def test_a_split_that_does_not_divide_is_refused() -> None:
    """Three values make no two equal pieces."""
    with pytest.raises(ValueError, match="axis 1 of 3 values does not divide into 2 equal pieces"):
        computed("split", "FLOAT32", x=X, num_splits=2, axis=1)


def test_a_filled_tensor_holds_zeros_by_default() -> None:
    """Of `fill` and of `fill_like`; a bool stays one."""
    agree(computed("fill", "FLOAT32", shape=np.array([2, 1], np.int32)), np.zeros((2, 1), np.float32))
    agree(computed("fill_like", "FLOAT32", ref_tensor=X), np.zeros((2, 3), np.float32))
    assert computed("fill", "BOOL", shape=np.array([2], np.int32), value=True).tolist() == [True, True]


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.bool_])
def test_places_that_are_not_zero_come_in_rows(dtype: Any) -> None:
    """Of floats (NaN is not zero, minus zero is), whole numbers and flags."""
    x = np.array([[0.0, -0.0, 2.0], [1.0, 0.0, math.nan if dtype is np.float32 else 1.0]]).astype(dtype)

    agree(computed("non_zero", "INT32", x=x), np.argwhere(x))


@quick
@given(data=st.data())
def test_stacks_and_tiles_are_those_of_coremltools(data: st.DataObject) -> None:
    """On any axis, any number of times."""
    x = data.draw(hnp.arrays(np.int32, hnp.array_shapes(max_dims=3, max_side=3), elements=st.integers(-9, 9)))
    axis = data.draw(st.integers(-x.ndim - 1, x.ndim))
    reps = np.array(data.draw(st.lists(st.integers(1, 3), min_size=x.ndim, max_size=x.ndim)), np.int32)

    agree(computed("stack", "INT32", values=[x, -x], axis=axis), inferred("stack", values=[x, -x], axis=axis)[0])
    agree(computed("tile", "INT32", x=x, reps=reps), inferred("tile", x=x, reps=reps)[0])


def test_values_of_different_shapes_do_not_join() -> None:
    """The kernel refuses what the builder would not write; the interpreter names the operation."""
    with pytest.raises((ValueError, RuntimeError)):
        computed("stack", "FLOAT32", values=[X, X[:1]], axis=0)
    with pytest.raises((ConversionError, ValueError)):
        one_op("stack", {"x": X}, values=[X, X[:1]], axis=0)
