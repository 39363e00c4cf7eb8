"""The report in Markdown."""

from __future__ import annotations

import dataclasses

from converter.publishing.diff import compare_manifests
from converter.publishing.manifest import read_manifest
from converter.report import markdown_diff
from converter.report.markdown_report import lines, plain
from converter.reported import Reported
from tests.report.conftest import Made


def test_the_verdict_comes_first(gathered: Reported) -> None:
    """Then a row a file; the twin with a failed file says so in its first line and gives the reason."""
    good = list(lines(gathered))
    first = gathered.files[0]
    entry = dataclasses.replace(first.entry, status="FAILED", failures=("top_k 0.5 is below 0.9",))
    bad = list(
        lines(dataclasses.replace(gathered, files=(dataclasses.replace(first, entry=entry), *gathered.files[1:])))
    )

    count = len(gathered.files)
    assert good[0] == f"### ✅ mobileclip\\_nano: {count} of {count} required files PASSED"
    assert sum("✅ PASSED" in line for line in good) == count
    assert bad[0] == f"### ❌ mobileclip\\_nano: {count - 1} of {count} required files PASSED, 1 did not"
    assert any("top\\_k 0.5 is below 0.9" in line for line in bad)


def test_untrained_weights_are_said(gathered: Reported) -> None:
    """Above everything that they make worthless."""
    untrained = dataclasses.replace(gathered, model=dataclasses.replace(gathered.model, trained=False))

    assert "NOT TRAINED" in list(lines(untrained))[2]
    assert "NOT TRAINED" not in "\n".join(lines(gathered))


def test_a_stranger_s_words_are_text() -> None:
    """Neither markup, nor a cell's end, nor somebody called, nor another line."""
    assert plain("<b>|@you\n# x") == "&lt;b&gt;\\|\\@you \\# x"


def test_a_difference_says_what_broke_first(made: Made) -> None:
    """A file that passed and does not: named above the table. Equal manifests give no row."""
    old = read_manifest(made.folder)
    spoilt = dataclasses.replace(old.artifacts[0], status="FAILED", size_bytes=1)
    new = dataclasses.replace(old, artifacts=(spoilt, *old.artifacts[1:]))

    broken = list(markdown_diff.lines(compare_manifests(old, new), "v1", "v2"))
    same = list(markdown_diff.lines(compare_manifests(old, old), "v1", "v2"))

    assert broken[0].startswith("### ❌")
    assert any(line.startswith("- **worse**") for line in broken)
    assert same[0].startswith("### ✅")
    assert not any(line.startswith("|") for line in same)
