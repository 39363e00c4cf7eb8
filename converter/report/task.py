"""The table of a task: on the console, and in docs/nano.md (`python -m converter.report.task FIGURES.json PAGE`)."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from converter.accuracy import Kept, Share, TaskAccuracy, TaskSide
from converter.records import from_json
from converter.report.marks import replace_between_marks

COMMAND = "make nano-accuracy"
COLUMNS = (
    "image file, text file", "zero-shot, %", "to text @1 / @5, %", "to image @1 / @5, %", "lost, points",
    "top-5 kept", "Kendall's tau", "centred cosine", "verdict",
)  # fmt: skip
STYLES = {"PASSED": "green", "FAILED": "red", "": "default"}


def main(figures: Path, page: Path) -> None:
    """Write the table between the page's marks.

    Raises:
        SystemExit: the marks are missing.
    """
    replace_between_marks(page, COMMAND, markdown(from_json(figures.read_bytes(), TaskAccuracy)))


def print_task(console: Console, found: TaskAccuracy) -> None:
    """The table, what its words mean, and every bound that was missed."""
    table = Table(title=_title(found), title_justify="left", title_style="bold")
    for index, name in enumerate(COLUMNS):
        text = index in (0, len(COLUMNS) - 1)
        table.add_column(name, justify="left" if text else "right", no_wrap=index != 0, overflow="fold")
    for side in found.sides:
        *cells, verdict = _cells(side)
        table.add_row(*cells, Text(verdict or "-", style=STYLES[verdict]))
    console.print(table)
    console.print(_legend(found), soft_wrap=True)
    for side in found.sides:
        for why in side.failures:
            console.print(Text(f"FAILED {side.name}: {why}", style="red"), soft_wrap=True)


def markdown(found: TaskAccuracy) -> Iterable[str]:
    """The lines of a Markdown table, a row a pair of files."""
    yield _title(found)
    yield ""
    yield f"| {' | '.join(COLUMNS)} |"
    yield "|---|" + "---:|" * (len(COLUMNS) - 2) + "---|"
    for side in found.sides:
        yield f"| {' | '.join(_cells(side))} |"
    yield ""
    yield _legend(found)


def _title(found: TaskAccuracy) -> str:
    return (
        f"{found.model}: {found.images} images of {found.kinds} held-out kinds, {found.captions} captions; every file "
        "against PyTorch float32"
    )


def _legend(found: TaskAccuracy) -> str:
    return (
        "to text @k: an image's own caption is among the first k of all; to image: the other way. lost: points of "
        f"zero-shot accuracy that PyTorch has and the files have not. top-{found.k} kept and Kendall's tau: of "
        "PyTorch's order, right or wrong; to text / to image. Centred cosine: image / text. In brackets: within which "
        "range a figure may lie for other kinds of scenes, with 95 % confidence."
    )


def _cells(side: TaskSide) -> list[str]:
    scores = side.scores
    verdict = "" if side.kept is None else "FAILED" if side.failures else "PASSED"
    return [
        side.name,
        f"{100 * scores.zero_shot.value:.1f} {_range(scores.zero_shot, 100)}",
        f"{100 * scores.image_to_text_at_1.value:.1f} / {100 * scores.image_to_text_at_5.value:.1f}",
        f"{100 * scores.text_to_image_at_1.value:.1f} / {100 * scores.text_to_image_at_5.value:.1f}",
        *(_kept(side.kept) if side.kept else ("-",) * 4),
        verdict,
    ]


def _kept(kept: Kept) -> tuple[str, ...]:
    lost = kept.zero_shot_lost
    return (
        f"{100 * lost.value:+.1f} {_range(lost, 100)}",
        f"{kept.image_to_text_top_k.value:.3f} / {kept.text_to_image_top_k.value:.3f}",
        f"{kept.image_to_text_tau.value:.3f} / {kept.text_to_image_tau.value:.3f}",
        f"{kept.image_centred_cosine:.4f} / {kept.text_centred_cosine:.4f}",
    )


def _range(share: Share, scale: float) -> str:
    low, high = share.interval
    return f"[{scale * low:.1f}, {scale * high:.1f}]"


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
