"""Generated parts of hand-written pages: what stands between two marks is replaced, the rest stays."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from converter.files import write_atomically

END = "<!-- results: end -->"


def replace_between_marks(page: Path, command: str, lines: Iterable[str]) -> None:
    """Write `lines` into `page` between the mark that names `command` and the closing one.

    Raises:
        SystemExit: the page lacks the marks.
    """
    begin = f"<!-- results: begin, written by `{command}` -->"
    before, opened, rest = page.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(END)
    if not opened or not closed:
        sys.exit(f"{page} lacks the marks {begin} and {END}")
    write_atomically(page, "\n".join([before + begin, *lines, END + after]).encode())
