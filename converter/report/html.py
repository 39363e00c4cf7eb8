"""Pages that need nothing from elsewhere: one HTML file with its styles, its script and its pictures inside.

Strings of manifests are a stranger's: everything is escaped but the pictures and files of this package, and the page
forbids its reader's browser to load anything (`Content-Security-Policy`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from converter.difference import Difference
from converter.errors import MissingDependencyError
from converter.report import html_parts, html_words
from converter.report.diff import closing_line
from converter.reported import Reported

TEMPLATES = Path(__file__).with_name("templates")
LICENCE_SCHEMES = ("http://", "https://")


def render(reported: Reported) -> str:
    """The page of `mcconvert report`; equal records give equal pages.

    Raises:
        MissingDependencyError: jinja2 is not installed.
    """
    return render_template("report.html", {
        "reported": reported, "heat_maps": html_parts.heat_maps(reported.agreement),
        "plots": html_parts.plots(reported),
        "along": html_parts.along(reported.depths), "picks": html_parts.picks(reported),
        "headline": html_words.headline(reported), "not_passed": html_words.not_passed(reported),
        "all_passed": html_words.all_passed(reported), "cautions": html_words.cautions(reported.files),
    })  # fmt: skip


def render_diff(found: Difference, old: str, new: str) -> str:
    """The page of `mcconvert diff`, between what its user called `old` and `new`.

    Raises:
        MissingDependencyError: jinja2 is not installed.
    """
    return render_template("diff.html", {"found": found, "old": old, "new": new, "closing": closing_line(found)})


def render_template(name: str, facts: Mapping[str, Any]) -> str:
    """One of this package's pages.

    Raises:
        MissingDependencyError: jinja2 is not installed.
    """
    try:
        import jinja2
        from markupsafe import Markup
    except ImportError as error:
        message = "a page in HTML needs jinja2, not installed here: pip install 'mcconvert[report]'"
        raise MissingDependencyError(message) from error

    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    pages.filters |= html_words.filters()
    pages.filters["ours"] = Markup  # for pictures that we drew; their words are escaped where they are drawn
    pages.globals |= {
        "level": html_parts.level,
        "latency": html_parts.latency,
        "MARKS": html_words.MARKS,
        "TENTHS": html_parts.TENTHS,
        "LINKS": LICENCE_SCHEMES,
        **{part: Markup((TEMPLATES / f"page.{part}").read_text(encoding="utf-8")) for part in ("css", "js")},
    }
    return pages.get_template(name).render(facts)
