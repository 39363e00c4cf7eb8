"""Reference pages come from the code, and the committed ones are what it says now."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from converter.report.fields import field_table, type_words
from converter.report.reference import main, pages

FOLDER = Path(__file__).parents[2] / "docs/reference"


@dataclass(frozen=True, kw_only=True)
class _Example:
    """A record."""

    kind: Literal["one", "two"] = "one"
    """What it is, of a | b."""
    names: tuple[str, ...] = ()
    sizes: tuple[int, int]
    other: float | None = None


def test_the_committed_pages_are_up_to_date() -> None:
    """Whoever changes a record, an option, a recipe or an exit code runs `make reference`."""
    main(FOLDER, check=True)


def test_a_stale_page_is_named(tmp_path: Path) -> None:
    """One changed word, and a page that is missing."""
    main(tmp_path, check=False)
    page = tmp_path / "config.md"
    page.write_text(page.read_text().replace("`export-all`", "`export-some`", 1))
    (tmp_path / "exit-codes.md").unlink()

    with pytest.raises(SystemExit, match=r"config\.md, .*exit-codes\.md; 'make reference' writes them"):
        main(tmp_path, check=True)


def test_fields_are_shown_with_type_default_and_meaning() -> None:
    """In the words of YAML; a bar in a docstring does not end the cell."""
    assert list(field_table(_Example))[2:] == [
        "| `kind` | `one`, `two` | `one` | What it is, of a \\| b. |",
        "| `names` | list of text | - |  |",
        "| `sizes` | list of 2: integer | required |  |",
        "| `other` | number or null | - |  |",
    ]
    assert type_words(_Example) == "[_Example](#_example)"


def test_every_exit_code_and_stage_is_there() -> None:
    """Those of refusals, a bug, success and interruption; a section for each stage's options."""
    made = pages()

    assert all(f"\n| {code} | " in made["exit-codes.md"] for code in (0, 1, 2, 3, 4, 5, 6, 7, 8, 130))
    stages = (FOLDER.parents[1] / "converter/stages").glob("to_*.py")
    assert all(f"### {path.stem}\n" in made["config.md"] for path in stages)
