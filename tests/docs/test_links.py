"""Links of pages as a code host follows them: ours lead somewhere, and a broken one is seen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts/check_links.py"


def _checked(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, root], capture_output=True, text=True)


def test_every_link_of_our_pages_leads_somewhere() -> None:
    """README.md, CONTRIBUTING.md and docs/."""
    done = _checked(ROOT)

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("link", "problem"),
    [
        ("docs/other.md", "docs/other.md: there is no such file"),
        ("docs/page.md#nowhere", "docs/page.md#nowhere: the page has no such heading"),
        ("#nowhere", "#nowhere: the page has no such heading"),
        ("../elsewhere.md", "../elsewhere.md leads out of the repository"),
        ("http://example.org/", "http://example.org/: expected a whole address that begins with https://"),
        ("https://localhost/", "https://localhost/: expected a whole address that begins with https://"),
    ],
)
def test_a_broken_link_is_named(tmp_path: Path, link: str, problem: str) -> None:
    """A file, an anchor, an anchor of its own page, a way out, an address that is none."""
    _site(tmp_path, f"[a]({link})")

    done = _checked(tmp_path)

    assert done.returncode == 1
    assert done.stderr.startswith(f"README.md: {problem}\n1 broken links")


def test_good_links_pass(tmp_path: Path) -> None:
    """Code, punctuation and a twin in headings; what stands in a fence is no link."""
    _site(tmp_path, "[a](docs/page.md#it-failed-now-what) [b](docs/page.md#twin-1) [c](docs/)\n\n```\n[d](no.md)\n```")

    assert _checked(tmp_path).returncode == 0


def _site(root: Path, text: str) -> None:
    (root / "docs").mkdir()
    (root / "docs/page.md").write_text("# It failed, `now` what?\n\n## Twin\n\n## Twin\n")
    (root / "README.md").write_text(f"# Title\n\n{text}\n")
