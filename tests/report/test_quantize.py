"""What a search tells at its end, in words, in tables and as a picture."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

from PIL import Image
from rich.console import Console

from converter.quantization.budget import parse_budget
from converter.report.quantize import search_view, verdict
from converter.report.search_plot import CHOSEN, LIMIT, MET, TRIED, save_plot
from converter.searched import Found, Tried
from tests.quantization.test_writing import BASE, FIGURES, found
from tests.quantization.test_writing import CHOSEN as RECIPE


def _shown(one: Found) -> str:
    console = Console(file=io.StringIO(), width=170)
    console.print(search_view(one, "image tower"))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_chosen_recipe_is_marked() -> None:
    """A row a point, the chosen one with its mark, the others with what they miss."""
    lines = _shown(found()).splitlines()

    assert any("> two in float" in line and "chosen" in line for line in lines)
    assert any("every layer quantized" in line and "top_k -0.400" in line for line in lines)
    assert "2 of 3 groups in float" in verdict(found())


def test_a_budget_that_nothing_meets_names_the_best_and_its_misses() -> None:
    """By how much each bound is missed."""
    one = found()
    failed = dataclasses.replace(
        one, budget=parse_budget("top_k>=0.99, size_ratio<=0.3"), chosen=None, best=one.tried[1], stopped_early=True
    )

    text = verdict(failed)

    assert text.startswith("no recipe meets the budget. Best found: two in float")
    assert "top_k >= 0.99 (0.9800, missed by 0.0100)" in text
    assert "size_ratio <= 0.3 (0.3100, missed by 0.0100)" in text
    assert "stopped before it had tried all" in text


def test_a_point_that_could_not_be_made_says_why() -> None:
    """In its row, and at the end where there is no other."""
    dead = Tried(label="every layer quantized", recipe=BASE, failed="no int8 kernel for ERF")
    one = dataclasses.replace(found(), chosen=None, best=None, tried=(dead,))

    assert "no int8 kernel for ERF" in _shown(one)
    assert "no file could be made: no int8 kernel for ERF" in verdict(one)


def test_the_plot_shows_points_choice_and_bounds(tmp_path: Path) -> None:
    """Each kind of point has its colour, the bounds are lines; without a choice its colour is in the legend alone."""
    other = Tried(
        label="dearer", recipe=dataclasses.replace(RECIPE, smooth=0.5),
        figures=dataclasses.replace(FIGURES, latency_ratio=0.9, size_ratio=0.5),
    )  # fmt: skip
    one = dataclasses.replace(found(), tried=(*found().tried, other))
    save_plot(one, tmp_path / "with.png", "image tower")
    save_plot(dataclasses.replace(one, chosen=None), tmp_path / "without.png", "image tower")
    counts = [_counts(tmp_path / name) for name in ("with.png", "without.png")]

    assert all(counts[0][colour] > 50 for colour in (CHOSEN, LIMIT, MET, TRIED))
    assert counts[1][CHOSEN] < counts[0][CHOSEN]
    assert counts[1][MET] > counts[0][MET]


def test_a_plot_of_one_point_has_axes(tmp_path: Path) -> None:
    """Nothing to scale by is no reason to fail."""
    save_plot(dataclasses.replace(found(), tried=found().tried[:1], chosen=None), tmp_path / "one.png", "one")

    assert Image.open(tmp_path / "one.png").size[0] > 100


def _counts(path: Path) -> dict[tuple[int, int, int], int]:
    colours = Image.open(path).convert("RGB").getcolors(maxcolors=2**24) or []
    found_colours = {colour: count for count, colour in colours}
    return {wanted: found_colours.get(wanted, 0) for wanted in (CHOSEN, LIMIT, MET, TRIED)}
