"""Plots as SVG that lies inside a page: text stays text, colours are the page's own, equal figures give equal bytes.

matplotlib draws with colours that nobody would use; each is then replaced by a CSS variable of the page, so that one
picture serves light, dark and paper.
"""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from converter.report.html_words import signed_exponent
from converter.report.pareto import ALIKE, Point, front
from converter.reported import Depth

SIZE_INCHES = (5.2, 3.7)
INK, LINE, SOFT = "#010101", "#010102", "#010103"
TARGETS = {"onnx": "#020101", "tflite": "#020102", "coreml": "#020103", "torchscript": "#020104"}
OTHER = "#020105"
SERIES = tuple(f"#0301{number:02x}" for number in range(1, 9))
VARIABLES: Mapping[str, str] = {
    INK: "--ink", LINE: "--line", SOFT: "--soft", OTHER: "--other",
    **{colour: f"--{target}" for target, colour in TARGETS.items()},
    **{colour: f"--series-{number}" for number, colour in enumerate(SERIES, 1)},
}  # fmt: skip
MARKERS = {"fp32": "o", "fp16": "s", "int8": "^", "int6": "D", "int4": "v"}
DASHES: Sequence[Any] = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (7, 2)), (0, (3, 3)))
EQUAL_DB = 140.0
"""Figures of SQNR end here: beyond, float32 rounding alone is seen."""
NEAR = (0.3, 0.6)
"""Names of points that are nearer than that, in tens of cost and nines of accuracy, would lie on each other."""
RC = {"svg.fonttype": "none", "svg.hashsalt": "mcconvert", "font.size": 10.0, "axes.spines.top": False,
      "axes.spines.right": False, "font.family": "sans-serif"}  # fmt: skip


def scatter(points: Sequence[Point], *, across: str, name: str, title: str, words: str) -> str:
    """Accuracy against a cost: a mark a file, hollow where it did not pass, a line through the Pareto front.

    `name` tells its parts from those of other pictures in the page, `title` and `words` say what is to be seen.
    """
    figure, axes = _figure()
    chosen = front(points)
    axes.step([one.cost for one in chosen], [_nines(one.accuracy) for one in chosen], where="post", color=SOFT, lw=1.2)
    for one in points:
        colour = TARGETS.get(one.target, OTHER)
        axes.plot([one.cost], [_nines(one.accuracy)], marker=MARKERS.get(one.precision, "P"), ms=7, ls="",
                  mec=colour, mfc=colour if one.passed else "none", mew=1.4, alpha=0.9)  # fmt: skip
    for one in _named(chosen):
        axes.annotate(one.name, (one.cost, _nines(one.accuracy)), xytext=(5, 7), textcoords="offset points",
                      color=INK, fontsize=8.5)  # fmt: skip
    axes.set_xscale("log")
    _plain_ticks(axes, [one.cost for one in points])
    axes.set_xlabel(across)
    low = math.floor(min((_nines(one.accuracy) for one in points), default=0.0))
    ticks = range(min(low, 0), 8)
    axes.set_yticks(list(ticks), [_nines_label(tick) for tick in ticks])
    axes.set_ylim(min(low, 0) - 0.2, 7.6)
    axes.set_ylabel("centred cosine, mean")
    return _svg(figure, name, title, words)


def along_depth(depths: Sequence[Depth], *, name: str, title: str, words: str) -> str:
    """SQNR from the first layer to the last, a line a file, and where each row's own bound lies."""
    figure, axes = _figure(legend_lines=(len(depths) + 1) // 2)
    for number, one in enumerate(depths):
        count = max(1, len(one.places) - 1)
        shares = [100 * index / count for index in range(len(one.places))]
        axes.plot(shares, [min(place.sqnr_db, EQUAL_DB) for place in one.places], lw=1.5,
                  color=SERIES[number % len(SERIES)], ls=DASHES[number % len(DASHES)],
                  label=one.step_id.rpartition("/")[2])  # fmt: skip
    axes.set_ylim(min(0.0, *(place.sqnr_db for one in depths for place in one.places)), EQUAL_DB + 5)
    axes.set_xlabel("way through the tower, % of its layers")
    axes.set_ylabel("SQNR, dB")
    axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.2), ncols=2, frameon=False, fontsize=8.5, labelcolor=INK)
    return _svg(figure, name, title, words)


def _figure(legend_lines: int = 0) -> tuple[Any, Any]:
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(RC):  # type: ignore[arg-type]
        width, height = SIZE_INCHES
        figure = Figure(figsize=(width, height + 0.19 * legend_lines), layout="constrained")
        axes = figure.add_subplot()
    axes.grid(visible=True, color=LINE, lw=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, which="both", labelsize=9)
    for spine in axes.spines.values():
        spine.set_color(SOFT)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    figure.patch.set_alpha(0)
    axes.patch.set_alpha(0)
    return figure, axes


def _named(chosen: Sequence[Point]) -> list[Point]:
    """Points whose names have room; the caption names all."""
    named: list[Point] = []
    for one in chosen:
        across = [abs(math.log10(one.cost / other.cost)) for other in named]
        up = [abs(_nines(one.accuracy) - _nines(other.accuracy)) for other in named]
        if all(a > NEAR[0] or b > NEAR[1] for a, b in zip(across, up, strict=True)):
            named.append(one)
    return named


def _nines(accuracy: float) -> float:
    """0.9 is 1, 0.99 is 2, and so on: what is lost, on a logarithmic scale."""
    return -math.log10(min(10.0, max(1.0 - ALIKE, 1.0 - accuracy)))


def _nines_label(tick: int) -> str:
    return f"{1 - 10.0**-tick:.{max(tick, 0)}f}"


def _plain_ticks(axes: Any, costs: Sequence[float]) -> None:
    """1, 2, 5 and their tens, as people write them, with room for names on the right."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

    low, high = min(costs, default=1.0), max(costs, default=1.0)
    axes.set_xlim(low / 1.25, high * 1.9)
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    axes.xaxis.set_major_locator(FixedLocator([step * 10.0**power for power in powers for step in (1, 2, 5)]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.minorticks_off()


def _svg(figure: Any, name: str, title: str, words: str) -> str:
    """The picture alone: no prolog, no date, names of its own, and what it shows in words."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context(RC):  # type: ignore[arg-type]
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", text)
    text = re.sub(r"#0[123]01[0-9a-f]{2}", lambda found: _variable(found[0]), text)
    text = re.sub(
        r'<svg [^>]*viewBox="([^"]+)"[^>]*>', lambda found: _head(found[1], name, title, words), text, count=1
    )
    return signed_exponent(re.sub(r"\n\s*", "\n", text))


def _variable(colour: str) -> str:
    found = VARIABLES.get(colour)
    return f"var({found})" if found else colour


def _head(box: str, name: str, title: str, words: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="{box}" '
        f'role="img" aria-labelledby="{name}-title {name}-desc">'
        f'<title id="{name}-title">{html.escape(title)}</title><desc id="{name}-desc">{html.escape(words)}</desc>'
    )
