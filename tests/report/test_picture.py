"""Pictures of tables: whole, alike everywhere, and free of addresses."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.table import Table
from rich.text import Text

from converter.report.picture import save_svg

NAMESPACE = "http://www.w3.org/2000/svg"


def test_a_picture_is_an_svg_that_names_no_address(tmp_path: Path) -> None:
    """It shows the same offline, and no page that holds it asks another server for a font."""
    save_svg(Text("a < b & c"), tmp_path / "a.svg", title="R&D {braces} <here>", width=40)

    text = (tmp_path / "a.svg").read_text(encoding="utf-8")
    root = ElementTree.fromstring(text)
    assert root.tag == f"{{{NAMESPACE}}}svg"
    assert root.findtext(f"{{{NAMESPACE}}}title") == "R&D {braces} <here>"
    assert "a < b & c" in "".join(root.itertext()).replace("\N{NO-BREAK SPACE}", " ")
    assert re.findall(r"https?://[^\"']+", text) == [NAMESPACE]


def test_colours_of_cells_are_in_the_picture(tmp_path: Path) -> None:
    """A coloured cell is a rectangle of that very colour."""
    table = Table()
    table.add_row(Text("98.1", style="#101010 on #12ab34"))

    save_svg(table, tmp_path / "a.svg", title="t", width=40)

    assert 'fill="#12ab34"' in (tmp_path / "a.svg").read_text()


def test_the_terminal_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes depend on what is shown alone."""
    save_svg(Text("x", style="red"), tmp_path / "a.svg", title="t", width=40)
    for name, value in (("NO_COLOR", "1"), ("COLUMNS", "20"), ("TERM", "dumb"), ("FORCE_COLOR", "")):
        monkeypatch.setenv(name, value)

    save_svg(Text("x", style="red"), tmp_path / "b.svg", title="t", width=40)

    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
