"""Operations that read from, or write to, places: gathering, scattering, slicing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from converter.errors import ConversionError
from converter.mil.ops import indexing, slicing
from tests.mil.building import Array, Case, agree, computed, executed, in_float16, inferred, one_op, through_file

pytest.importorskip("coremltools", reason="needs the extra mcconvert[coreml]")

quick = settings(max_examples=40, deadline=None)
X = np.arange(1, 13, dtype=np.float32).reshape(3, 4)
ROWS = np.array([2, 0], np.int32)
LINES = np.array([[3, 0], [1, 1], [0, 2]], np.int32)
PAIRS = np.array([[0, 1], [2, 3]], np.int32)
NEW = -np.ones((2, 4), np.float32)
MODES: dict[str, Any] = {
    "update": lambda old, new: new, "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide,
    "max": np.maximum, "min": np.minimum,
}  # fmt: skip


def _case(name: str, kind: str, inputs: dict[str, Any], expected: Array, **constants: Any) -> Case:
    return Case(name=name, kind=kind, inputs=inputs, constants=constants, expected=(expected,))


def _changed(at: Any, new: Any) -> Array:
    changed = X.copy()
    changed[at] = new
    return changed


CASES = [
    _case("gather", "gather", {"x": X, "indices": ROWS}, X[ROWS], axis=0),
    _case("gather_default", "gather", {"x": X, "indices": PAIRS[:1]}, X[PAIRS[:1]]),
    _case("gather_batch", "gather", {"x": X, "indices": LINES}, np.take_along_axis(X, LINES, 1), axis=1, batch_dims=1),
    _case("gather_along_axis", "gather_along_axis", {"x": X, "indices": LINES}, np.take_along_axis(X, LINES, 1),
          axis=1),
    _case("gather_nd", "gather_nd", {"x": X, "indices": PAIRS}, np.array([2, 12], np.float32)),
    _case("gather_nd_batch", "gather_nd", {"x": X, "indices": LINES[:, :1]}, X[range(3), LINES[:, 0]], batch_dims=1),
    _case("scatter", "scatter", {"data": X, "indices": ROWS, "updates": NEW}, _changed(ROWS, -1), mode="update"),
    _case("scatter_default", "scatter", {"data": X, "indices": ROWS, "updates": NEW}, _changed(ROWS, X[ROWS] - 1)),
    _case("scatter_along_axis", "scatter_along_axis", {"data": X, "indices": LINES[:, :1], "updates": X[:, :1]},
          _changed((range(3), LINES[:, 0]), X[:, 0]), axis=1, mode="update"),
    _case("scatter_nd", "scatter_nd", {"data": X, "indices": PAIRS, "updates": NEW[0, :2]},
          _changed(([0, 2], [1, 3]), [-2, -12]), mode="mul"),
    _case("slice_by_index", "slice_by_index", {"x": X}, X[2:0:-1, 1::2], begin=[2, 1], end=[0, 9], stride=[-1, 2],
          end_mask=[False, True]),
    _case("slice_by_index_squeezed", "slice_by_index", {"x": X}, X[-1, :2], begin=[-1, 3], end=[0, 2],
          begin_mask=[False, True], squeeze_mask=[True, False]),
    _case("slice_by_size", "slice_by_size", {"x": X}, X[1:, 1:3], begin=[1, 1], size=[-1, 2]),
    _case("slice_update", "slice_update", {"x": X, "update": NEW[:, :2]},
          _changed((slice(2, 0, -1), slice(0, 4, 3)), -1), begin=[2, 0], end=[0, 4], stride=[-1, 3]),
]  # fmt: skip


@pytest.fixture(scope="module")
def from_file() -> dict[str, dict[str, list[Array]]]:
    """What the programs of all cases give."""
    return {
        "float32": through_file(CASES),
        "float16": through_file([in_float16(case) for case in CASES]),
    }


def test_every_operation_of_the_groups_has_a_case() -> None:
    """No kernel of these groups goes without a file that holds it."""
    assert {case.kind for case in CASES} == set(indexing.kernels()) | set(slicing.kernels())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_program_from_a_file_computes_it(case: Case, from_file: dict[str, dict[str, list[Array]]]) -> None:
    """Each operation, written by coremltools and read back, reads and writes the right places."""
    agree(from_file["float32"][case.name][0], case.expected[0])
    agree(from_file["float16"][case.name][0], case.expected[0])


tensors = hnp.arrays(np.int32, hnp.array_shapes(max_dims=4, max_side=4), elements=st.integers(-99, 99))


@quick
@given(data=st.data())
def test_a_gather_is_that_of_coremltools(data: st.DataObject) -> None:
    """Along any axis, with indices of any shape from either end, for each place of some first axes."""
    x = data.draw(tensors)
    axis = data.draw(st.integers(0, x.ndim - 1))
    batch = data.draw(st.integers(0, axis))
    shape = (*x.shape[:batch], *data.draw(hnp.array_shapes(min_dims=1, max_dims=2, max_side=3)))
    size = x.shape[axis]
    indices = data.draw(hnp.arrays(np.int32, shape, elements=st.integers(-size, size - 1)))

    (expected,) = inferred("gather", x=x, indices=indices, axis=axis, batch_dims=batch)
    agree(computed("gather", "INT32", x=x, indices=indices, axis=axis - x.ndim, batch_dims=batch), expected)


def test_a_single_index_drops_the_axis() -> None:
    """An index without axes gives the slice itself."""
    agree(computed("gather", "FLOAT32", x=X, indices=np.int32(1), axis=-1), X[:, 1])


def test_a_single_index_into_a_vector_gives_a_number() -> None:
    """As coremltools writes `x.shape[0]` of a tensor whose sizes are open: a result without axes."""
    agree(computed("gather", "FLOAT32", x=X[0], indices=np.int32(-1)), np.float32(4.0))
    (size,) = executed(lambda mb, x: mb.gather(x=mb.shape(x=x), indices=np.int32(1), axis=0), {"x": X})

    assert size == 4


@quick
@given(data=st.data())
def test_a_gather_by_rows_reads_each_named_place(data: st.DataObject) -> None:
    """`gather_nd` with rows of any length, after any number of common axes."""
    x = data.draw(tensors)
    batch = data.draw(st.integers(0, x.ndim - 1))
    depth = data.draw(st.integers(1, x.ndim - batch))
    outer = (*x.shape[:batch], *data.draw(hnp.array_shapes(min_dims=0 if batch else 1, max_dims=2, max_side=3)))
    columns = [
        data.draw(hnp.arrays(np.int32, outer, elements=st.integers(0, x.shape[batch + i] - 1))) for i in range(depth)
    ]
    indices = np.stack(columns, -1)

    expected = np.empty((*outer, *x.shape[batch + depth :]), np.int32)
    for place in np.ndindex(outer):
        expected[place] = x[(*place[:batch], *indices[place])]
    agree(computed("gather_nd", "INT32", x=x, indices=indices, batch_dims=batch), expected)


@st.composite
def scatters(draw: st.DrawFn) -> tuple[str, Array, Array, Array, int, str]:
    """A scatter of any kind: its data, indices, updates, axis and mode. All values are exact in binary."""
    data = draw(
        hnp.arrays(np.float32, hnp.array_shapes(max_dims=3, max_side=4), elements=st.integers(-8, 8).map(float))
    )
    kind, axis = (
        draw(st.sampled_from(["scatter", "scatter_along_axis", "scatter_nd"])),
        draw(st.integers(0, data.ndim - 1)),
    )
    size, count = data.shape[axis], draw(st.integers(1, 4))
    if kind == "scatter":
        indices = draw(hnp.arrays(np.int32, count, elements=st.integers(0, size - 1)))
        shape: tuple[int, ...] = (*data.shape[:axis], count, *data.shape[axis + 1 :])
    elif kind == "scatter_along_axis":
        shape = (*data.shape[:axis], count, *data.shape[axis + 1 :])
        indices = draw(hnp.arrays(np.int32, shape, elements=st.integers(0, size - 1)))
    else:
        depth = draw(st.integers(1, data.ndim))
        columns = [draw(hnp.arrays(np.int32, count, elements=st.integers(0, data.shape[i] - 1))) for i in range(depth)]
        indices, shape = np.stack(columns, -1), (count, *data.shape[depth:])
    updates = draw(hnp.arrays(np.float32, shape, elements=st.sampled_from([0.5, 1.0, 2.0, -1.0, 4.0])))
    return kind, data, indices, updates, axis, draw(st.sampled_from(list(MODES)))


def _scattered(kind: str, data: Array, indices: Array, updates: Array, axis: int, mode: str) -> Array:
    """One update after the other, as the documentation writes them."""
    result = data.copy()
    for place in np.ndindex(updates.shape):
        if kind == "scatter":
            target = (*place[:axis], indices[place[axis]], *place[axis + 1 :])
        elif kind == "scatter_along_axis":
            target = (*place[:axis], indices[place], *place[axis + 1 :])
        else:
            target = (*indices[place[0]], *place[1:])
        result[target] = MODES[mode](result[target], updates[place])
    return result


@settings(max_examples=150, deadline=None)
@given(case=scatters())
def test_a_scatter_does_one_update_after_the_other(case: tuple[str, Array, Array, Array, int, str]) -> None:
    """In every mode, also where several updates meet at one place. coremltools' inference of `scatter_along_axis` knows
    no mode but update.
    """
    kind, data, indices, updates, axis, mode = case
    along = {} if kind == "scatter_nd" else {"axis": axis - data.ndim}

    found = computed(kind, "FLOAT32", data=data, indices=indices, updates=updates, mode=mode, **along)

    agree(found, _scattered(*case))


@pytest.mark.parametrize("broken", ["order", "place", "mode"])
def test_a_broken_scatter_is_seen(broken: str) -> None:
    """Updates in another order, at another place or by another mode do not agree with the definition."""
    indices, updates = np.array([1, 1], np.int32), np.array([[2.0] * 4, [3.0] * 4], np.float32)
    given_to = {"indices": indices, "updates": updates, "mode": "update"}
    given_to |= {"order": {"updates": updates[::-1]}, "place": {"indices": indices + 1}, "mode": {"mode": "add"}}[
        broken
    ]

    with pytest.raises(AssertionError):
        agree(
            computed("scatter", "FLOAT32", data=X, **given_to), _scattered("scatter", X, indices, updates, 0, "update")
        )


def test_a_quotient_in_a_scatter_of_whole_numbers_loses_its_fraction() -> None:
    """As `real_div` does."""
    data, new = np.array([-7, 7], np.int32), np.array([2, 2], np.int32)

    found = computed("scatter", "INT32", data=data, indices=np.array([0, 1]), updates=new, mode="div")

    assert found.tolist() == [-3, 3]


@pytest.mark.parametrize("kind", ["gather", "gather_along_axis"])
@pytest.mark.parametrize(("index", "validate"), [(3, False), (-4, False), (-1, True)])
def test_an_index_outside_is_refused(kind: str, index: int, validate: bool) -> None:
    """Beyond either end always, a negative one where indices are to be validated; the error says which and where."""
    indices = np.full((1, 4), index, np.int32)
    lowest = 0 if validate else -3

    with pytest.raises(ValueError, match=rf"index {index} lies outside {lowest} \.\. 2"):
        computed(kind, "FLOAT32", x=X, indices=indices, validate_indices=validate)


def test_an_index_outside_names_its_operation() -> None:
    """The interpreter says which operation of the file failed."""
    with pytest.raises(ConversionError, match=r"operation gather_nd \(.*index 4 lies outside -4 \.\. 3"):
        one_op("gather_nd", {"x": X, "indices": np.array([[0, 4]], np.int32)})


def test_updates_of_another_shape_are_refused() -> None:
    """They would be spread over places that nobody named."""
    with pytest.raises(ValueError, match=r"the updates have shape \[4\], the indices name places of shape \[2, 4\]"):
        computed("scatter", "FLOAT32", data=X, indices=ROWS, updates=NEW[0], mode="add")


@st.composite
def slices(draw: st.DrawFn) -> tuple[Array, dict[str, Array], tuple[Any, ...]]:
    """A tensor, the arguments of a slice of it, and the same as NumPy's index; no axis becomes empty."""
    x = draw(hnp.arrays(np.int32, hnp.array_shapes(max_dims=3, max_side=5), elements=st.integers(-99, 99)))
    names = ("begin", "end", "stride", "begin_mask", "end_mask", "squeeze_mask")
    rows, index = [], []
    for size in x.shape:
        stride, open_begin, open_end, single = (
            draw(st.sampled_from([1, 2, 3, -1, -2])),
            *(draw(st.booleans()) for _ in range(3)),
        )
        begin, end = draw(st.integers(-size, size - 1)), draw(st.integers(-size - 1, size + 1))
        chosen = slice(None if open_begin else begin, None if open_end else end, stride)
        if not single and not len(range(size)[chosen]):
            open_begin, open_end, chosen = True, True, slice(None, None, stride)
        rows.append((begin, end, stride, open_begin, open_end, single))
        index.append((0 if open_begin else begin) if single else chosen)
    columns = {name: np.array(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
    return x, columns, tuple(index)


@settings(max_examples=150, deadline=None)
@given(case=slices())
def test_a_slice_is_that_of_python(case: tuple[Array, dict[str, Array], tuple[Any, ...]]) -> None:
    """With strides of both signs, from either end, with every mask: an open end of a backward slice is the other end.

    The documentation says that a masked begin is 0; coremltools' inference of shapes and of values, and the frontends
    that write such slices, take it for the end that the slice starts from.
    """
    x, arguments, index = case

    agree(computed("slice_by_index", "INT32", x=x, **arguments), x[index])


@quick
@given(case=slices())
def test_a_slice_is_that_of_coremltools(case: tuple[Array, dict[str, Array], tuple[Any, ...]]) -> None:
    """Where an axis is left; a value without axes is a matter of types there.

    Python's end before the first item of a backward slice is none of coremltools': it adds the size to it once, and
    takes the -1 that comes out for the last item.
    """
    x, arguments, _ = case
    assume(not ((arguments["stride"] < 0) & (arguments["end"] < -np.array(x.shape))).any())
    if arguments["squeeze_mask"].all():
        arguments = {**arguments, "squeeze_mask": np.zeros_like(arguments["squeeze_mask"])}
        arguments |= {"begin_mask": ~arguments["squeeze_mask"], "end_mask": ~arguments["squeeze_mask"]}
    given_there = {key: value.astype(np.int32) if value.dtype != bool else value for key, value in arguments.items()}

    (expected,) = inferred("slice_by_index", x=x, **given_there)
    agree(computed("slice_by_index", "INT32", x=x, **arguments), expected)


@settings(max_examples=100, deadline=None)
@given(case=slices())
def test_an_update_writes_where_the_slice_reads(case: tuple[Array, dict[str, Array], tuple[Any, ...]]) -> None:
    """`slice_update` changes these places, in this order, and no others; its input stays as it is."""
    x, arguments, index = case
    before = x.copy()
    update = 1000 + np.arange(x[index].size, dtype=np.int32).reshape(x[index].shape)

    expected = x.copy()
    expected[index] = update
    agree(computed("slice_update", "INT32", x=x, update=update, **arguments), expected)
    agree(x, before)


@quick
@given(data=st.data())
def test_a_slice_by_size_takes_so_many(data: st.DataObject) -> None:
    """From either end; -1 takes the rest."""
    x = data.draw(tensors)
    begin = [data.draw(st.integers(-size, size - 1)) for size in x.shape]
    rest = [size - first % size for size, first in zip(x.shape, begin, strict=True)]
    size = [data.draw(st.one_of(st.just(-1), st.integers(1, count))) for count in rest]

    index = tuple(
        slice(first % whole, whole if count == -1 else first % whole + count)
        for first, count, whole in zip(begin, size, x.shape, strict=True)
    )
    agree(computed("slice_by_size", "INT32", x=x, begin=np.array(begin), size=np.array(size)), x[index])


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("slice_by_index", {"begin": [3, 0], "end": [0, 4], "squeeze_mask": [True, False]}),
        ("slice_by_index", {"begin": [0, 0], "end": [3, 4], "stride": [0, 1]}),
        ("slice_by_size", {"begin": [2, 0], "size": [2, 1]}),
        ("slice_update", {"update": X, "begin": [0, 0], "end": [2, 4]}),
    ],
)
def test_a_part_that_is_not_there_is_refused(kind: str, values: dict[str, Any]) -> None:
    """A single place outside, a stride of 0, more values than follow, an update of another shape."""
    with pytest.raises((ValueError, RuntimeError)):
        computed(kind, "FLOAT32", x=X, **{key: np.asarray(value) for key, value in values.items()})
