"""What rich can print, kept as an SVG picture that needs nothing from elsewhere: no font address, no script."""

from __future__ import annotations

import html
import io
from pathlib import Path

from rich.console import Console, RenderableType
from rich.terminal_theme import TerminalTheme

from converter.files import write_atomically

FONT_ASPECT_RATIO = 0.6
"""Width over height of a letter of the fonts below; each run of letters is stretched to fit where a font differs."""

PAPER = TerminalTheme(
    (255, 255, 255),
    (36, 41, 47),
    [(36, 41, 47), (190, 30, 40), (26, 127, 55), (154, 103, 0), (9, 105, 218), (130, 80, 223), (27, 124, 131),
     (110, 119, 129)],
    [(87, 96, 106), (207, 34, 46), (45, 164, 78), (191, 135, 0), (33, 139, 255), (163, 113, 247), (49, 146, 170),
     (140, 149, 159)],
)  # fmt: skip
"""Dark ink on white, readable on a light page and on a dark one."""

PAGE = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">
<title>@TITLE@</title>
<style>
text {{ font: {char_height}px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace; }}
{styles}
</style>
<defs>
{lines}
</defs>
<rect width="{width}" height="{height}" rx="6" fill="@PAPER@"/>
<text x="{terminal_x}" y="28" fill="@INK@" style="font-weight: bold">@TITLE@</text>
<g transform="translate({terminal_x} {terminal_y})">
{backgrounds}
{matrix}
</g>
</svg>
"""
"""The page that rich fills in; what stands between @ is ours."""


def save_svg(renderable: RenderableType, path: Path, *, title: str, width: int) -> None:
    """Write `renderable`, laid out `width` letters wide, as a picture at `path`; all of it or nothing.

    The same renderable and title give the same bytes, whatever the terminal and the environment are.
    """
    console = Console(
        file=io.StringIO(), record=True, width=width, force_terminal=True, color_system="truecolor", no_color=False,
        legacy_windows=False, _environ={},
    )  # fmt: skip
    console.print(renderable, highlight=False)
    svg = console.export_svg(title=title, theme=PAPER, code_format=_page(title), font_aspect_ratio=FONT_ASPECT_RATIO)
    write_atomically(path, svg.encode())


def _page(title: str) -> str:
    """The page with its title; braces are doubled, because rich takes the page as a format string."""
    shown = html.escape(title).replace("{", "{{").replace("}", "}}")
    ours = {"@TITLE@": shown, "@PAPER@": PAPER.background_color.hex, "@INK@": PAPER.foreground_color.hex}
    page = PAGE
    for mark, text in ours.items():
        page = page.replace(mark, text)
    return page
