"""Operations that give values another shape or order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from converter.mil.ops import shapes
from tests.mil.building import Array, Case, agree, computed, in_both, inferred, one_op

pytest.importorskip("coremltools", reason="needs the extra mcconvert[coreml]")

quick = settings(max_examples=40, deadline=None)
X = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
IMAGE = np.arange(32, dtype=np.float32).reshape(1, 8, 2, 2)
LIKE = [np.zeros((3, 7), np.float32), np.zeros((5, 1, 2), np.float32)]


def _case(name: str, kind: str, inputs: dict[str, Any], expected: Array, **constants: Any) -> Case:
    return Case(name=name, kind=kind, inputs=inputs, constants=constants, expected=(expected,))


def _blocks_from_depth(x: Array, size: int, place_first: bool) -> Array:
    """By the definition: each value of the result is looked up; `place_first` tells which part of a channel's number
    is the slower one.
    """
    batch, depth, height, width = x.shape
    channels = depth // size**2
    result = np.empty((batch, channels, height * size, width * size), x.dtype)
    for n, c, y, z in np.ndindex(result.shape):
        place = (y % size) * size + z % size
        depth_of = place * channels + c if place_first else c * size**2 + place
        result[n, c, y, z] = x[n, depth_of, y // size, z // size]
    return result


def _batches_from_space(x: Array, rows: int, columns: int, paddings: Any) -> Array:
    (top, bottom), (left, right) = paddings
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    parts = [padded[:, :, row::rows, column::columns] for row in range(rows) for column in range(columns)]
    return np.concatenate(parts)


IN_DEPTH, IN_COLOUR = (_blocks_from_depth(IMAGE, 2, place_first=one) for one in (True, False))
PADDED = [[0, 1], [2, 0]]
CASES = [
    _case("batch_to_space", "batch_to_space", {"x": IMAGE.reshape(8, 1, 2, 2)},
          np.array([[[[8, 1], [24, 17], [10, 3]]], [[[12, 5], [28, 21], [14, 7]]]], np.float32),
          block_shape=[2, 2], crops=[[0, 1], [1, 1]]),
    _case("depth_to_space", "depth_to_space", {"x": IMAGE}, IN_DEPTH, block_size=2),
    _case("expand_dims", "expand_dims", {"x": X}, X.reshape(1, 1, 2, 1, 3), axes=[-2, 0]),
    _case("flatten2d", "flatten2d", {"x": X}, X.reshape(2, 3), axis=-1),
    _case("pixel_shuffle", "pixel_shuffle", {"x": IMAGE}, IN_COLOUR,
          upscale_factor=2),
    _case("pixel_unshuffle", "pixel_unshuffle", {"x": IN_COLOUR}, IMAGE,
          downscale_factor=np.uint32(2)),
    _case("reshape", "reshape", {"x": X}, X.reshape(3, 2), shape=[3, -1]),
    _case("reshape_zero", "reshape", {"x": X}, X.reshape(1, 1, 2, 3), shape=[1, 0, -1, 0]),
    _case("reshape_like", "reshape_like", {"x": X, "ref_tensors": LIKE},
          X.reshape(3, 1, 2), begins=(0, 1), ends=(1, 0), end_masks=(False, True)),
    _case("reshape_like_one", "reshape_like", {"x": X, "ref_tensors": [np.zeros((3, 2), np.float32)]}, X.reshape(3, 2),
          begins=(0,), ends=(2,), end_masks=(False,)),
    _case("reverse", "reverse", {"x": X}, X[:, :, ::-1], axes=[-1]),
    _case("reverse_all", "reverse", {"x": X}, X[::-1, ::-1, ::-1]),
    _case("reverse_sequence", "reverse_sequence", {"x": X[0]}, np.array([[1, 0, 2], [5, 4, 3]], np.float32),
          lengths=[2, 3], seq_axis=1, batch_axis=0),
    _case("sliding_windows", "sliding_windows", {"x": X[0]},
          np.array([[[0, 1], [1, 2]], [[3, 4], [4, 5]]], np.float32), axis=-1, size=2),
    _case("space_to_batch", "space_to_batch", {"x": IMAGE[:, :2]}, _batches_from_space(IMAGE[:, :2], 1, 2, PADDED),
          block_shape=[1, 2], paddings=PADDED),
    _case("space_to_depth", "space_to_depth", {"x": IN_DEPTH}, IMAGE, block_size=2),
    _case("squeeze", "squeeze", {"x": X}, X[0]),
    _case("transpose", "transpose", {"x": X}, X.T, perm=[-1, 1, 0]),
]  # fmt: skip


@pytest.fixture(scope="module")
def from_file() -> dict[str, dict[str, list[Array]]]:
    """What the programs of all cases give."""
    return in_both(CASES)


def test_every_operation_of_the_group_has_a_case() -> None:
    """No kernel of this group goes without a file that holds it."""
    assert {case.kind for case in CASES} == set(shapes.kernels())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_program_from_a_file_computes_it(case: Case, from_file: dict[str, dict[str, list[Array]]]) -> None:
    """Each operation, written by coremltools and read back, puts every value where it belongs."""
    agree(from_file["float32"][case.name][0], case.expected[0])
    agree(from_file["float16"][case.name][0], case.expected[0])


tensors = hnp.arrays(np.int32, hnp.array_shapes(max_dims=4, max_side=3), elements=st.integers(-99, 99))


@quick
@given(data=st.data())
def test_orders_and_single_axes_are_those_of_coremltools(data: st.DataObject) -> None:
    """`transpose`, `reverse` and `expand_dims` with axes counted from either end; `flatten2d` keeps all values."""
    x = data.draw(tensors)
    signed = lambda axis, rank: axis - rank * data.draw(st.integers(0, 1))  # noqa: E731
    perm = np.array([signed(axis, x.ndim) for axis in data.draw(st.permutations(range(x.ndim)))], np.int32)
    axes = np.array(
        [signed(axis, x.ndim) for axis in data.draw(st.sets(st.integers(0, x.ndim - 1), min_size=1))], np.int32
    )
    new = np.array([signed(axis, x.ndim + 2) for axis in data.draw(st.permutations(range(x.ndim + 2)))[:2]], np.int32)

    for kind, constants in (("transpose", {"perm": perm}), ("reverse", {"axes": axes}), ("expand_dims", {"axes": new})):
        agree(computed(kind, "INT32", x=x, **constants), inferred(kind, x=x, **constants)[0])
    rows = int(np.prod(x.shape[: axes[0]], dtype=int))
    agree(computed("flatten2d", "INT32", x=x, axis=int(axes[0])), x.reshape(rows, -1))


@quick
@given(data=st.data())
def test_a_shape_may_leave_sizes_open(data: st.DataObject) -> None:
    """`reshape` with one -1 and with zeros, as coremltools reads it for iOS18."""
    x = data.draw(tensors)
    sizes = [int(size) for size in x.shape]
    wanted = [0 if data.draw(st.booleans()) else size for size in sizes]
    if data.draw(st.booleans()):
        wanted[data.draw(st.integers(0, len(wanted) - 1))] = -1
    wanted = [1] * data.draw(st.integers(0, 2)) + wanted

    found = computed("reshape", "INT32", x=x, shape=np.array(wanted, np.int32))
    agree(found, inferred("reshape", x=x, shape=np.array(wanted, np.int32))[0])
    agree(found.reshape(x.shape), x)


def test_a_zero_beyond_the_axes_is_one() -> None:
    """The documentation's example: [2, 50] as [1, 0, -1, 0] is [1, 1, 2, 50]; fewer axes count from the last."""
    x = np.zeros((2, 50), np.int32)

    assert computed("reshape", "INT32", x=x, shape=np.array([1, 0, -1, 0], np.int32)).shape == (1, 1, 2, 50)
    assert computed("reshape", "INT32", x=X.reshape(1, 6), shape=np.array([0], np.int32)).shape == (6,)


def test_only_single_axes_are_squeezed() -> None:
    """An axis of another size stays, as documented; coremltools' inference refuses it."""
    x = np.zeros((1, 2, 1), np.float32)

    assert computed("squeeze", "FLOAT32", x=x, axes=np.array([0, 1], np.int32)).shape == (2, 1)
    assert computed("squeeze", "FLOAT32", x=x, axes=np.array([-1], np.int32)).shape == (1, 2)
    assert one_op("squeeze", {"x": x}, axes=[0, 1])[0].shape == (2, 1)


@quick
@given(data=st.data())
def test_blocks_move_between_depth_and_space(data: st.DataObject) -> None:
    """`depth_to_space` and `pixel_shuffle` differ in the order of the depth; their opposites undo them."""
    size, channels = data.draw(st.integers(2, 3)), data.draw(st.integers(1, 2))
    batch, height, width = (data.draw(st.integers(1, 2)) for _ in range(3))
    x = np.arange(batch * channels * size**2 * height * width, dtype=np.float32)
    x = x.reshape(batch, channels * size**2, height, width)

    for place_first, there, back, there_key, back_key in (
        (True, "depth_to_space", "space_to_depth", "block_size", "block_size"),
        (False, "pixel_shuffle", "pixel_unshuffle", "upscale_factor", "downscale_factor"),
    ):
        found = computed(there, "FLOAT32", x=x, **{there_key: size})
        agree(found, _blocks_from_depth(x, size, place_first))
        agree(computed(back, "FLOAT32", x=found, **{back_key: size}), x)


@quick
@given(data=st.data())
def test_blocks_move_between_batch_and_space(data: st.DataObject) -> None:
    """With any padding; cropping as much gives the picture back."""
    rows, columns = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    height, width = rows * data.draw(st.integers(1, 3)), columns * data.draw(st.integers(1, 3))
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    paddings = np.array([[top, 0], [0, left]], np.int32)
    x = np.random.default_rng(0).normal(size=(2, 2, height - top, width - left)).astype(np.float32)
    block = np.array([rows, columns], np.int32)

    found = computed("space_to_batch", "FLOAT32", x=x, block_shape=block, paddings=paddings)
    agree(found, _batches_from_space(x, rows, columns, paddings))
    agree(computed("batch_to_space", "FLOAT32", x=found, block_shape=block, crops=paddings), x)


@quick
@given(data=st.data())
def test_a_sequence_is_reversed_as_far_as_its_length(data: st.DataObject) -> None:
    """Along any axis, with a length for each place of any other."""
    x = data.draw(
        hnp.arrays(np.int32, hnp.array_shapes(min_dims=2, max_dims=4, max_side=4), elements=st.integers(-99, 99))
    )
    along, batch = data.draw(st.permutations(range(x.ndim)))[:2]
    lengths = data.draw(hnp.arrays(np.int32, x.shape[batch], elements=st.integers(0, x.shape[along])))

    expected = x.copy()
    for i, length in enumerate(lengths):
        line = np.moveaxis(expected, (batch, along), (0, 1))[i]
        line[:length] = line[:length][::-1].copy()
    found = computed("reverse_sequence", "INT32", x=x, lengths=lengths, seq_axis=along - x.ndim, batch_axis=batch)
    agree(found, expected)


def test_a_sequence_is_no_longer_than_its_axis() -> None:
    """A length beyond it is refused."""
    with pytest.raises(ValueError, match=r"lengths \[4\] of sequences of 3 values"):
        computed("reverse_sequence", "FLOAT32", x=X[0, :1], lengths=np.array([4]), seq_axis=1, batch_axis=0)


@quick
@given(data=st.data())
def test_windows_slide_along_an_axis(data: st.DataObject) -> None:
    """Of any size and stride; the places stay on the axis, the contents follow it."""
    x = data.draw(hnp.arrays(np.int32, hnp.array_shapes(max_dims=3, max_side=6), elements=st.integers(-99, 99)))
    axis, stride = data.draw(st.integers(-x.ndim, x.ndim - 1)), data.draw(st.integers(1, 3))
    size = data.draw(st.integers(1, x.shape[axis]))

    found = computed("sliding_windows", "INT32", x=x, axis=axis, size=size, stride=stride)
    positive = axis % x.ndim
    starts = range(0, x.shape[axis] - size + 1, stride)
    expected = [np.take(x, range(start, start + size), positive) for start in starts]
    agree(found, np.stack(expected, positive))


@pytest.mark.parametrize(
    ("kind", "constants"),
    [
        ("reshape", {"shape": np.array([4, -1])}),
        ("transpose", {"perm": np.array([0, 1])}),
        ("pixel_shuffle", {"upscale_factor": 2}),
        ("sliding_windows", {"axis": 2, "size": 4}),
    ],
)
def test_what_does_not_fit_is_refused(kind: str, constants: dict[str, Any]) -> None:
    """Sizes that do not divide, axes that are missing, windows longer than the axis."""
    with pytest.raises((ValueError, RuntimeError)):
        computed(kind, "FLOAT32", x=X, **constants)
