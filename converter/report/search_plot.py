"""Every point of a search as a picture: accuracy against latency and against size, the budget's lines, the choice."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converter.files import write_atomically
from converter.searched import COSTS, Budget, Figures, Found, Metric, value_of

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

PANEL, MARGIN, TOP, BOTTOM = 560, 84, 92, 104
TICKS = 5
INK, FAINT, PAPER = (36, 41, 47), (216, 222, 228), (255, 255, 255)
TRIED, MET, CHOSEN, LIMIT = (140, 149, 159), (9, 105, 218), (207, 34, 46), (154, 103, 0)
WORDS: dict[Metric, str] = {
    "centred_cosine_mean": "centred cosine, mean", "centred_cosine_min": "centred cosine, least",
    "top_k": "top-5 kept", "top1": "top-1 kept", "kendall_tau": "Kendall's tau", "sqnr_db": "SQNR in dB",
    "latency_ratio": "latency, share of float32's", "size_ratio": "size, share of float32's",
}  # fmt: skip
LEGEND = (("tried", TRIED), ("keeps the budget", MET), ("chosen", CHOSEN), ("bound", LIMIT))


@dataclass(frozen=True, kw_only=True)
class _Axis:
    """Values of one metric onto pixels from `start` to `end`."""

    metric: Metric
    low: float
    high: float
    start: int
    end: int

    def at(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def save_plot(found: Found, path: Path, title: str) -> None:
    """Write the picture as PNG, all of it or nothing."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (2 * PANEL, PANEL), PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((24, 18), title, fill=INK, font=_font(20))
    points = [(one.figures, _colour(found, one.recipe, one.figures)) for one in found.tried if one.figures]
    points.sort(key=lambda point: (TRIED, MET, CHOSEN).index(point[1]))
    kept = _kept(found.budget)
    for left, cost in ((0, "latency_ratio"), (PANEL, "size_ratio")):
        _panel(draw, left, points, (cost, kept), found.budget)  # type: ignore[arg-type]
    _legend(draw, image.height - 26)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    write_atomically(path, buffer.getvalue())


def _kept(budget: Budget) -> Metric:
    """What stands for accuracy: the first bound that is no cost."""
    return next((bound.metric for bound in budget.bounds if bound.metric not in COSTS), "centred_cosine_mean")


def _colour(found: Found, recipe: object, figures: Figures) -> tuple[int, int, int]:
    if found.chosen is not None and recipe == found.chosen.recipe:
        return CHOSEN
    from converter.searched import misses

    return TRIED if misses(found.budget, figures) else MET


def _panel(
    draw: ImageDraw, left: int, points: Sequence[tuple[Figures, Any]], metrics: tuple[Metric, Metric], budget: Budget
) -> None:
    x = _axis(metrics[0], points, budget, left + MARGIN, left + PANEL - 24)
    y = _axis(metrics[1], points, budget, PANEL - BOTTOM, TOP)
    _grid(draw, x, y)
    for bound in budget.bounds:
        if bound.metric == x.metric:
            draw.line([(x.at(bound.limit), y.start), (x.at(bound.limit), y.end)], fill=LIMIT, width=2)
        if bound.metric == y.metric:
            draw.line([(x.start, y.at(bound.limit)), (x.end, y.at(bound.limit))], fill=LIMIT, width=2)
    for figures, colour in points:
        radius = 8 if colour == CHOSEN else 5
        centre = (x.at(value_of(figures, x.metric)), y.at(value_of(figures, y.metric)))
        draw.ellipse([centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius], fill=colour,
                     outline=PAPER)  # fmt: skip


def _axis(metric: Metric, points: Sequence[tuple[Figures, Any]], budget: Budget, start: int, end: int) -> _Axis:
    values = [value_of(figures, metric) for figures, _ in points]
    values += [bound.limit for bound in budget.bounds if bound.metric == metric]
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = 0.06 * (high - low) or 0.05
    return _Axis(metric=metric, low=low - room, high=high + room, start=start, end=end)


def _grid(draw: ImageDraw, x: _Axis, y: _Axis) -> None:
    draw.rectangle([x.start, y.end, x.end, y.start], outline=FAINT)
    for across in _ticks(x):
        draw.line([(x.at(across), y.start), (x.at(across), y.end)], fill=FAINT)
        draw.text((x.at(across), y.start + 8), f"{across:.6g}", fill=INK, font=_font(13), anchor="ma")
    for up in _ticks(y):
        draw.line([(x.start, y.at(up)), (x.end, y.at(up))], fill=FAINT)
        draw.text((x.start - 8, y.at(up)), f"{up:.6g}", fill=INK, font=_font(13), anchor="rm")
    draw.text(((x.start + x.end) / 2, y.start + 30), WORDS[x.metric], fill=INK, font=_font(15), anchor="ma")
    draw.text((x.start - 60, y.end - 10), WORDS[y.metric], fill=INK, font=_font(15), anchor="ld")


def _ticks(axis: _Axis) -> list[float]:
    """Round numbers inside the axis: steps of 1, 2 or 5 times a power of ten."""
    rough = (axis.high - axis.low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [count * step for count in range(math.ceil(axis.low / step), math.floor(axis.high / step) + 1)]


def _legend(draw: ImageDraw, top: int) -> None:
    left = MARGIN
    for word, colour in LEGEND:
        draw.ellipse([left, top - 5, left + 10, top + 5], fill=colour)
        draw.text((left + 16, top), word, fill=INK, font=_font(14), anchor="lm")
        left += 44 + int(_font(14).getlength(word))


def _font(size: int) -> Any:
    from PIL import ImageFont

    load: Callable[..., Any] = ImageFont.load_default
    return load(size=size)
