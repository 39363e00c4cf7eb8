"""The Pareto front of files."""

from __future__ import annotations

from converter.report.html_parts import level
from converter.report.html_plots import scatter
from converter.report.pareto import Point, front


def point(name: str, cost: float, accuracy: float, *, passed: bool = True) -> Point:
    return Point(name=name, target="onnx", precision="fp32", passed=passed, cost=cost, accuracy=accuracy)


def test_who_is_beaten_in_both_is_not_on_the_front() -> None:
    """Cheapest first; a file that costs more must be nearer to the reference."""
    small, large, beaten = point("small", 1, 0.9), point("large", 4, 0.99), point("beaten", 5, 0.95)

    assert front([beaten, large, small]) == [small, large]


def test_a_file_that_failed_is_nobody_s_choice() -> None:
    """Though it were the cheapest and the nearest."""
    failed, good = point("failed", 1, 0.999, passed=False), point("good", 2, 0.9)

    assert front([failed, good]) == [good]


def test_float32_rounding_wins_no_place() -> None:
    """Of two that are equal but for it, the cheaper one alone; of equals in both, the first by name."""
    cheap, dear = point("cheap", 1, 1 - 1e-9), point("dear", 2, 1.0)

    assert front([dear, cheap]) == [cheap]
    assert front([point("b", 1, 0.9), point("a", 1, 0.9)]) == [point("a", 1, 0.9)]


def test_a_plot_takes_the_page_s_colours_and_escapes_its_words() -> None:
    """No colour of matplotlib's is left, no name is markup, and equal figures give equal bytes."""
    points = [point("<script>", 1, 0.9), point("two", 2, 0.99)]
    drawn = [scatter(points, across="size, MB", name="p", title="<b>", words="w") for _ in range(2)]

    assert drawn[0] == drawn[1]
    assert "<script>" not in drawn[0]
    assert "&lt;b&gt;" in drawn[0]
    assert "var(--onnx)" in drawn[0]
    assert "#0101" not in drawn[0]
    assert "#0201" not in drawn[0]


def test_only_all_has_the_colour_of_all() -> None:
    """A cell of 99.9 % is another colour than one of 100 %."""
    assert (level(1.0), level(0.999), level(0.5), level(0.49)) == (6, 5, 1, 0)
