"""The pages as Sphinx builds them: without a warning, and readable in a browser that has no network."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.browser import chromium, opened_page

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("index.html", "tutorial.html", "reference/cli.html", "reference/config.html", "results.html")
pytestmark = pytest.mark.xdist_group("docs")  # the site is built once
PHONE = {"width": 390, "height": 844}


def _built(source: Path, out: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-n", str(source), str(out)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole site, built as `make docs` does."""
    out = tmp_path_factory.mktemp("site")
    done = _built(DOCS, out)
    assert (done.returncode, done.stderr) == (0, "")
    return out


def test_the_site_is_built_without_a_warning(site: Path) -> None:
    """Every page is there, every command has its section, and options that end in an underscore are text."""
    commands = (site / "reference/cli.html").read_text()

    assert all((site / page).exists() for page in PAGES)
    assert "``" not in commands
    assert "mixed_ and" in commands
    assert all(f'id="mcconvert-{name}"' in commands for name in ("verify", "explain", "publish", "quantize"))


@pytest.mark.parametrize(
    ("page", "warning"),
    [
        ("[a](nowhere.md)", "nowhere.md"),
        ("[a](other.md#nowhere)", "nowhere"),
        ("(twin)=\n\nText.\n\n(twin)=\n\nText.", "twin"),
        ("```{toctree}\nnowhere\n```", "nonexisting document 'nowhere'"),
    ],
    ids=["link", "anchor", "label", "list"],
)
def test_a_mistake_in_a_page_is_an_error(tmp_path: Path, page: str, warning: str) -> None:
    """A link, an anchor, a label that stands twice, a list that names no page; and the page that no list names."""
    source = tmp_path / "docs"
    source.mkdir()
    shutil.copytree(DOCS / "static", source / "static")
    shutil.copy(DOCS / "conf.py", source)
    (source / "index.md").write_text(f"# Title\n\n```{{toctree}}\n:glob:\n\nother\nlater*\n```\n\n{page}\n")
    (source / "other.md").write_text("# Other\n\nText.\n")
    (source / "orphan.md").write_text("# Orphan\n\nText.\n")

    done = _built(source, tmp_path / "out")

    assert done.returncode == 1
    assert warning in done.stderr
    assert "orphan.md: WARNING: document isn't included in any toctree" in done.stderr
    assert "later" not in done.stderr


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_whole_without_a_network(site: Path, page: str) -> None:
    """Nothing is asked of another place, the console is silent, and a phone's page does not scroll sideways."""
    address = (site / page).as_uri()
    with opened_page("about:blank", executable=chromium()) as (opened, said):
        asked: list[str] = []
        opened.on("request", lambda request: asked.append(request.url))
        opened.set_viewport_size(PHONE)
        opened.goto(address, wait_until="networkidle")
        width = opened.evaluate("document.documentElement.scrollWidth")
        fixed = opened.evaluate("getComputedStyle(document.querySelector('.sidebar-drawer')).position")

    assert [line for line in said if line.startswith(("error", "warning"))] == []
    assert {urlsplit(url).scheme for url in asked} <= {"file", "data"}
    assert width <= PHONE["width"]
    assert fixed == "fixed"  # the theme's style was loaded


def test_a_request_to_elsewhere_is_seen(tmp_path: Path) -> None:
    """The twin: a page with a font from elsewhere, and one that is too wide."""
    page = tmp_path / "page.html"
    page.write_text("<link rel=stylesheet href='https://fonts.example.org/a.css'><div style='width: 900px'>wide</div>")
    with opened_page("about:blank", executable=chromium()) as (opened, said):
        asked: list[str] = []
        opened.on("request", lambda request: asked.append(request.url))
        opened.set_viewport_size(PHONE)
        opened.goto(page.as_uri(), wait_until="networkidle")
        width = opened.evaluate("document.documentElement.scrollWidth")

    assert any(line.startswith("error") for line in said)
    assert "https" in {urlsplit(url).scheme for url in asked}
    assert width > PHONE["width"]
