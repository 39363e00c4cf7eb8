"""Operations that put values in order, and the boxes that stand out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from converter.mil.ops import all_kernels, ordering
from converter.mil.values import from_array
from tests.mil.building import Array, Case, agree, computed, in_both, inferred, one_op

pytest.importorskip("coremltools", reason="needs the extra mcconvert[coreml]")

quick = settings(max_examples=40, deadline=None)
X = np.array([[3.0, -1.0, 2.0], [0.0, 5.0, 4.0]], np.float32)
DOWN = np.array([[0, 2, 1], [1, 2, 0]])
BOXES = np.array([[[0, 0, 2, 2], [0.5, 0, 2, 2], [5, 5, 2, 2], [0, 0.25, 2, 2]]], np.float32)
SCORES = np.array([[[0.5, 0.25], [0.75, 0.0], [0.125, 0.25], [0.25, 0.625]]], np.float32)


def _case(name: str, kind: str, inputs: dict[str, Any], *expected: Array, **constants: Any) -> Case:
    return Case(name=name, kind=kind, inputs=inputs, constants=constants, expected=expected)


CASES = [
    _case("argsort", "argsort", {"x": X}, DOWN),
    _case("argsort_up", "argsort", {"x": X}, np.array([[1, 0, 0], [0, 1, 1]]), axis=0, ascending=True),
    _case("topk", "topk", {"x": X}, np.array([[3, 2], [5, 4]], np.float32), DOWN[:, :2], k=2),
    _case("topk_low", "topk", {"x": X}, np.array([[0.0, -1, 2]], np.float32), k=1, axis=0, ascending=True,
          return_indices=False),
    _case("topk_narrow", "topk", {"x": X}, np.array([[3], [5]], np.float32), DOWN[:, :1],
          output_indices_dtype="uint16"),
    _case("boxes", "non_maximum_suppression", {"boxes": BOXES.transpose(0, 2, 1), "scores": SCORES.transpose(0, 2, 1)},
          BOXES[:, [1, 2]].transpose(0, 2, 1), SCORES[:, [1, 2]].transpose(0, 2, 1), np.array([[1, 2]]),
          iou_threshold=0.4, max_boxes=2),
]  # fmt: skip


@pytest.fixture(scope="module")
def from_file() -> dict[str, dict[str, list[Array]]]:
    """What the programs of all cases give."""
    return in_both(CASES)


def test_every_operation_of_the_group_has_a_case() -> None:
    """No kernel of this group goes without a file that holds it."""
    assert {case.kind for case in CASES} == set(ordering.kernels())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_program_from_a_file_computes_it(case: Case, from_file: dict[str, dict[str, list[Array]]]) -> None:
    """Each operation, written by coremltools and read back, gives exactly what is expected, in both precisions."""
    for precision in ("float32", "float16"):
        for found, expected in zip(from_file[precision][case.name], case.expected, strict=True):
            agree(found, expected)


@quick
@given(data=st.data())
def test_an_order_is_that_of_coremltools(data: st.DataObject) -> None:
    """Of distinct values along any axis, in both directions; so are the first k."""
    shape = data.draw(hnp.array_shapes(max_dims=3, max_side=4))
    count = int(np.prod(shape))
    x = np.array(data.draw(st.permutations(range(-count, 0))), np.float32).reshape(shape)
    axis, ascending = data.draw(st.integers(-x.ndim, x.ndim - 1)), data.draw(st.booleans())
    k = data.draw(st.integers(1, shape[axis]))

    (order,) = inferred("argsort", x=x, axis=axis, ascending=ascending)
    values, places = inferred("topk", x=x, k=k, axis=axis, ascending=ascending)
    agree(computed("argsort", "INT32", x=x, axis=axis, ascending=ascending), order)
    found = _topk(x=x, k=k, axis=axis, ascending=ascending)
    agree(found[0], values)
    agree(found[1], places)


def _topk(**values: Any) -> list[Array]:
    return [one.numpy() for one in all_kernels()["topk"]({key: from_array(np.asarray(v)) for key, v in values.items()})]


def test_equal_values_keep_their_order() -> None:
    """In both directions; the specification promises nothing."""
    x = np.array([1.0, 0.0, 1.0, 0.0], np.float32)

    assert computed("argsort", "INT32", x=x).tolist() == [0, 2, 1, 3]
    assert computed("argsort", "INT32", x=x, ascending=True).tolist() == [1, 3, 0, 2]


def test_the_smallest_integer_is_not_the_largest() -> None:
    """The inference of coremltools negates values to sort them down, which the smallest one does not survive."""
    x = np.array([-(2**31), 0, 5], np.int32)

    assert computed("argsort", "INT32", x=x).tolist() == [2, 1, 0]


def test_all_values_may_be_asked_for() -> None:
    """`k` of -1 in iOS17 takes all; more than there are is refused."""
    assert _topk(x=X, k=-1)[0].tolist() == [[3, 2, -1], [5, 4, 0]]
    with pytest.raises((RuntimeError, ValueError)):
        _topk(x=X, k=4)


def _suppressed(boxes: Array, scores: Array, iou: float, least: float, by_class: bool) -> list[int]:
    """By the definition, one pair of boxes after the other."""
    chosen: list[int] = []
    for place in sorted(range(len(boxes)), key=lambda i: (-scores[i].max(), i)):
        rivals = [one for one in chosen if not by_class or scores[one].argmax() == scores[place].argmax()]
        if scores[place].max() >= least and all(_iou(boxes[one], boxes[place]) <= iou for one in rivals):
            chosen.append(place)
    return chosen


def _iou(one: Array, other: Array) -> float:
    sides = [
        max(
            0.0,
            min(one[i] + one[i + 2] / 2, other[i] + other[i + 2] / 2)
            - max(one[i] - one[i + 2] / 2, other[i] - other[i + 2] / 2),
        )
        for i in (0, 1)
    ]
    shared = sides[0] * sides[1]
    union = one[2] * one[3] + other[2] * other[3] - shared
    return float(shared / union) if union > 0 else 0.0


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_boxes_that_overlap_a_better_one_fall(data: st.DataObject) -> None:
    """By the definition, of all classes together or each apart, in the layouts of both versions."""
    batch, count, classes = data.draw(st.integers(1, 2)), data.draw(st.integers(1, 6)), data.draw(st.integers(1, 3))
    boxes = data.draw(hnp.arrays(np.float32, (batch, count, 4), elements=st.integers(0, 4).map(float)))
    scores = data.draw(hnp.arrays(np.float32, (batch, count, classes), elements=st.integers(0, 8).map(lambda i: i / 8)))
    iou, most, by_class = (
        data.draw(st.sampled_from([0.0, 0.3, 0.6])),
        data.draw(st.integers(1, 4)),
        data.draw(st.booleans()),
    )
    rule = {"iou_threshold": np.float32(iou), "max_boxes": most, "per_class_suppression": by_class}

    old = _boxes(boxes=boxes, scores=scores, score_threshold=np.float32(0.25), **rule)
    new = _boxes(boxes=boxes.transpose(0, 2, 1), scores=scores.transpose(0, 2, 1), **rule)
    for i in range(batch):
        for least, results, last in ((0.25, old, False), (0.0, new, True)):
            expected = _suppressed(boxes[i], scores[i], float(np.float32(iou)), least, by_class)[:most]
            padded = expected + [-1] * (most - len(expected))
            assert results[2][i].tolist() == padded
            for found, values in zip(results[:2], (boxes[i], scores[i]), strict=True):
                rows = found[i].T if last else found[i]
                agree(rows[: len(expected)], values[expected])
                assert not rows[len(expected) :].any()
    assert old[3].tolist() == [int((old[2][i] >= 0).sum()) for i in range(batch)]


def _boxes(**values: Any) -> list[Array]:
    kernel = all_kernels()["non_maximum_suppression"]
    return [one.numpy() for one in kernel({key: from_array(np.asarray(value)) for key, value in values.items()})]


def test_the_older_form_comes_from_a_file_too() -> None:
    """Boxes on the second axis, a threshold for scores, a fourth result; a class of its own saves a box."""
    rule = {"iou_threshold": 0.4, "score_threshold": 0.3, "max_boxes": 3}
    inputs = {"boxes": BOXES, "scores": SCORES}

    together = one_op("non_maximum_suppression", inputs, "iOS15", **rule, per_class_suppression=False)
    apart = one_op("non_maximum_suppression", inputs, "iOS15", **rule, per_class_suppression=True)

    assert (together[2].tolist(), together[3].tolist()) == ([[1, -1, -1]], [1])
    assert (apart[2].tolist(), apart[3].tolist()) == ([[1, 3, -1]], [2])
