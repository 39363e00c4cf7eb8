"""The picture of a run's results: `python -m converter.report.results_plot MANIFEST PICTURE`, or `make picture`.

For each tower a panel, a line a precision with the size of its files, a mark a target: how many of the five nearest
neighbours the file finds as PyTorch does. Dark ink on white paper, readable on a light page and on a dark one; an SVG
that needs nothing from elsewhere, with the same bytes for the same manifest.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from converter.errors import MissingDependencyError
from converter.files import write_atomically
from converter.manifest import Manifest, ManifestEntry
from converter.records import TOWERS, Tower, from_json
from converter.report.readme import SHOWN_ROWS, step_row, weights_words
from converter.report.summary import size_words

INCHES = (8.2, 3.5)
INK, FAINT, PAPER = "#24292f", "#d8dee4", "#ffffff"
MARKS = (("o", "#0969da"), ("s", "#1a7f37"), ("^", "#bc4c00"), ("D", "#8250df"), ("v", "#bf3989"), ("P", "#57606a"))
"""Shape and colour of each target in turn; the shapes tell them apart without the colours."""
STYLE: Any = {
    "font.family": "sans-serif", "font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "mcconvert",
    "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "axes.edgecolor": FAINT,
}  # fmt: skip


def main(manifest_path: Path, picture: Path) -> None:
    """Draw the run that the manifest tells of.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    picture.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(picture, draw(from_json(manifest_path.read_bytes(), Manifest)))


def draw(manifest: Manifest) -> bytes:
    """The SVG.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        message = "the picture of results needs matplotlib: pip install 'mcconvert[report]'"
        raise MissingDependencyError(message) from error
    towers = [tower for tower in TOWERS if any(entry.tower == tower for entry in manifest.artifacts)]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=INCHES, facecolor=PAPER, layout="constrained")
        for axes, tower in zip(figure.subplots(1, len(towers), squeeze=False)[0], towers, strict=True):
            _panel(axes, manifest, tower)
        words = f"{manifest.model.id}, {weights_words(manifest)} weights: every file against PyTorch float32"
        figure.suptitle(words, fontsize=10, fontweight="bold")
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=6, frameon=False)
        return _svg(figure, words)


def _panel(axes: Any, manifest: Manifest, tower: Tower) -> None:
    """Lines from the largest files, above, to the smallest; targets side by side within a line."""
    entries = [one for one in manifest.artifacts if one.tower == tower and one.parity and one.parity.ranking]
    rows = [row for row in SHOWN_ROWS if any(step_row(one)[1] == row for one in entries)]
    targets = list(dict.fromkeys(one.target for one in manifest.artifacts))
    for index, target in enumerate(targets):
        shape, colour = MARKS[index % len(MARKS)]
        found = [one for one in entries if one.target == target and step_row(one)[1] in rows]
        places = [rows.index(step_row(one)[1]) + 0.16 * (index - (len(targets) - 1) / 2) for one in found]
        axes.plot(_kept(found), places, shape, color=colour, markersize=6, markeredgecolor=PAPER, label=target)
    axes.set_yticks(range(len(rows)), [f"{row}\n{_sizes(entries, row)}" for row in rows])
    axes.set_ylim(max(len(rows), 1) - 0.5, -0.5)
    lowest = min(_kept([one for one in entries if step_row(one)[1] in rows]), default=0.95)
    axes.set_xlim(min(0.945, lowest - 0.01), 1.004)
    axes.set_xlabel(f"{tower} tower: top-5 kept")
    axes.grid(axis="x", color=FAINT)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0)


def _kept(entries: Sequence[ManifestEntry]) -> list[float]:
    return [one.parity.ranking.top_k for one in entries if one.parity and one.parity.ranking]


def _sizes(entries: Sequence[ManifestEntry], row: str) -> str:
    """From the smallest to the largest file of that row, once where they are alike."""
    sizes = [one.size_bytes for one in entries if step_row(one)[1] == row]
    ends = dict.fromkeys(size_words(one) for one in (min(sizes), max(sizes)))
    return " to ".join(one.removesuffix(" MB") for one in ends) + " MB" if len(ends) > 1 else next(iter(ends))


def _svg(figure: Any, title: str) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", facecolor=PAPER, metadata={"Date": None, "Creator": None, "Title": title})
    text = buffer.getvalue().decode()
    begin = text.index("<svg")
    return (text[begin:].replace("<svg ", '<svg role="img" ', 1)).encode()


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
    except MissingDependencyError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
