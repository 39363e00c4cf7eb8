"""The tables of `converter.bench.int8`: printed, and written into docs/int8.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from converter.report.marks import replace_between_marks

if TYPE_CHECKING:
    from converter.bench.int8 import Figures

COMMAND = "make int8-page"
MAKERS = ("plain", "ours")
TITLES = {
    "image": "image tower, 96 photographs",
    "text": "text tower, 96 captions",
}


def write_page(note: str, found: Mapping[str, Sequence[Figures]], page: Path | None) -> None:
    """Print the tables, and put them between the page's marks where there is a page.

    Raises:
        SystemExit: the page lacks its marks.
    """
    text = "\n".join(lines(note, found))
    print(text)
    if page is not None:
        replace_between_marks(page, COMMAND, text.splitlines())


def lines(note: str, found: Mapping[str, Sequence[Figures]]) -> Iterator[str]:
    """Markdown: for each tower the ratios of both makers side by side, then what they are ratios of."""
    for tower, figures in found.items():
        yield f"**{TITLES[tower]}**"
        yield ""
        yield "| file | figure | plain library calls | mcconvert |"
        yield "|---|---|---:|---:|"
        yield from _rows({(one.maker, one.name): one for one in figures})
        yield ""
    yield note
    yield ""
    for tower, figures in found.items():
        words = (f"{one.maker} {one.name} {one.milliseconds:.1f} ms, {one.size_bytes / 1e6:.1f} MB" for one in figures)
        yield f"Medians and sizes, {tower}: {'; '.join(words)}."


def _rows(figures: Mapping[tuple[str, str], Figures]) -> Iterator[str]:
    names = dict.fromkeys(name for _, name in figures)
    for name in sorted(names, key=lambda name: (name.startswith("onnx"), "fp32" not in name)):
        sides = [figures.get((maker, name)) for maker in MAKERS]
        for title, words in _columns(name).items():
            yield f"| {name} | {title} | {' | '.join(words(one) if one else '-' for one in sides)} |"


def _columns(name: str) -> dict[str, Callable[[Figures], str]]:
    kind, _, recipe = name.partition(" ")
    if recipe == "fp32":
        return {} if kind == "onnx" else {"latency / ONNX Runtime fp32": lambda one: _ratio(one.against_onnx_fp32)}
    return {
        f"latency / {kind} fp32 of the same column": lambda one: _ratio(one.against_own_fp32),
        "latency / ONNX Runtime fp32": lambda one: _ratio(one.against_onnx_fp32),
        "size / fp32": lambda one: f"{one.size_ratio:.2f}",
        "centred cosine / top-5 kept": lambda one: f"{one.centred_cosine:.3f} / {one.top_k_kept:.2f}",
    }


def _ratio(value: tuple[float, float, float]) -> str:
    middle, low, high = value
    return f"{middle:.2f} [{low:.2f}, {high:.2f}]"
