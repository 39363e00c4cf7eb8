"""How Sphinx builds these pages: `make docs` into build/docs. Markdown stays readable where it lies."""

from __future__ import annotations

import fnmatch
import re

from sphinx.application import Sphinx

from converter import __version__

project = "mcconvert"
author = "the authors of mcconvert"
project_copyright = "the authors of mcconvert"
version = release = __version__

extensions = ["myst_parser", "sphinx_click", "sphinx_copybutton"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["ci"]
nitpicky = True
smartquotes = False

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "deflist"]

html_theme = "furo"
html_title = f"mcconvert {release}"
html_static_path = ["static"]
html_css_files = ["mcconvert.css"]
html_show_sphinx = False
html_copy_source = False
copybutton_prompt_text = r"\$ "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = True
linkcheck_timeout = 20
linkcheck_retries = 2


def setup(app: Sphinx) -> None:
    """Hook up what the pages need beside their extensions."""
    app.connect("source-read", _drop_empty_patterns)
    for part in ("description", "options", "arguments", "epilog"):
        app.connect(f"sphinx-click-process-{part}", _escape_help)


def _drop_empty_patterns(app: Sphinx, docname: str, source: list[str]) -> None:
    """A pattern such as `report*` in the list of pages may match nothing: that part need not be there."""
    if docname == "index":
        lines = source[0].split("\n")
        source[0] = "\n".join(line for line in lines if "*" not in line or not _is_pattern(line) or _matches(app, line))


def _is_pattern(line: str) -> bool:
    return re.fullmatch(r"[\w/*-]+", line) is not None


def _matches(app: Sphinx, pattern: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for name in app.env.found_docs)


def _escape_help(app: Sphinx, context: object, lines: list[str]) -> None:
    """Help is plain text: `mixed_` and `trunk.*` are no markup of reStructuredText."""
    for index, line in enumerate(lines):
        if not line.lstrip().startswith(("..", ":")):  # directives and their fields are markup
            lines[index] = re.sub(r"(?<!\\)(\*|`|(?<=\w)_(?!\w))", r"\\\1", line)
