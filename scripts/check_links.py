"""Links of every Markdown page as a code host follows them: `scripts/check_links.py [ROOT]`, or `make docs-check`.

A link to a file must lead to one inside the repository, an anchor to a heading, an address elsewhere must be a whole
https one. No address is asked for: `make docs-links` does that, where there is a network. Sphinx checks the pages below
docs/ once more as it builds them; README.md and others lie outside of what it builds.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

from markdown_it import MarkdownIt
from markdown_it.token import Token

GENERATED = ("build", "artifacts", "tests", "node_modules")
"""Folders below the root whose pages are not ours to read; hidden ones are left out too."""


def main(root: Path) -> None:
    """Print every broken link.

    Raises:
        SystemExit: there is one.
    """
    found = [f"{page.relative_to(root)}: {problem}" for page in pages(root) for problem in problems(page, root)]
    if found:
        sys.exit("\n".join([*found, f"{len(found)} broken links"]))


def pages(root: Path) -> list[Path]:
    """Every Markdown page of the repository."""
    found = sorted(root.rglob("*.md"))
    return [page for page in found if not _left_out(page.relative_to(root))]


def problems(page: Path, root: Path) -> Iterator[str]:
    """What is wrong with the page's links and pictures."""
    for target in _targets(page):
        parts = urlsplit(target)
        if parts.scheme or parts.netloc:
            yield from _elsewhere(target)
            continue
        file = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        if not file.is_relative_to(root.resolve()):
            yield f"{target} leads out of the repository"
        elif not file.exists():
            yield f"{target}: there is no such file"
        elif parts.fragment and (file.suffix != ".md" or parts.fragment not in _anchors(file)):
            yield f"{target}: the page has no such heading"


def _left_out(path: Path) -> bool:
    return path.parts[0] in GENERATED or any(part.startswith(".") for part in path.parts)


def _elsewhere(target: str) -> Iterator[str]:
    parts = urlsplit(target)
    host = parts.hostname or ""
    if parts.scheme != "https" or "." not in host or parts.username or re.search(r"\s", target):
        yield f"{target}: expected a whole address that begins with https://"


def _targets(page: Path) -> Iterator[str]:
    for token in _inline(_tokens(page)):
        name = {"link_open": "href", "image": "src"}.get(token.type)
        if name:
            yield str(token.attrs[name])


def _inline(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield from token.children or ()


@cache
def _anchors(page: Path) -> set[str]:
    """What a code host makes of the headings: lower case, no punctuation, dashes for blanks, a number for a twin."""
    tokens, seen = _tokens(page), dict[str, int]()
    anchors = set()
    for opened, inline in pairwise(tokens):
        if opened.type != "heading_open":
            continue
        words = "".join(child.content for child in inline.children or ())
        name = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        count = seen.get(name, 0)
        seen[name] = count + 1
        anchors.add(f"{name}-{count}" if count else name)
    return anchors


def _tokens(page: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1])
