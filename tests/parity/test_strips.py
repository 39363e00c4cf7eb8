"""Which queries are shown, and how disagreement is marked."""

from __future__ import annotations

from converter.agreement import REFERENCE
from converter.parity.strips import best_of, strips
from tests.parity.test_matrix import noisy
from tests.parity.test_metrics import unit_rows

NAMES = [f"photo {number}" for number in range(32)]


def test_sides_that_agree_share_a_row() -> None:
    """An equal file stands beside the reference, and nothing is marked."""
    rows = unit_rows(32, 16)

    shown = strips("image", {REFERENCE: rows, "onnx/fp32": rows.copy()}, NAMES, 5, 4)

    assert len(shown) == 4
    assert all(one.answers[0].sides == (REFERENCE, "onnx/fp32") and one.answers[0].agrees for one in shown)
    assert all(len(one.answers) == 1 for one in shown)


def test_the_queries_that_differ_most_come_first() -> None:
    """A noisy file gets a row of its own; what the reference has not is at place 0, itself never found."""
    rows = unit_rows(32, 16)
    sides = {REFERENCE: rows, "tflite/int8": noisy(rows, 0.5)}

    shown = strips("image", sides, NAMES, 5, 6)
    wrong = [sum(not one.in_reference for one in strip.answers[-1].shown) for strip in shown]

    assert wrong == sorted(wrong, reverse=True)
    assert wrong[0] > 0
    assert not shown[0].answers[1].agrees
    assert all(strip.sample not in {one.sample for one in answer.shown} for strip in shown for answer in strip.answers)
    assert best_of(rows, 5).shape == (32, 5)
