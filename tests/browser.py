"""A real browser for tests of pages: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

ENABLE = "make test-browser"


def chromium() -> str:
    """The browser's path; a test without one is skipped, and says what enables it."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip(f"there is no chromium here: '{ENABLE}' installs it")
    return found


@contextmanager
def opened_page(url: str, *, executable: str = "") -> Iterator[tuple[Any, list[str]]]:
    """A page at `url`, and the lines that its console and its errors have given so far."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable or chromium(), args=["--no-sandbox"])
        page, said = browser.new_page(), []
        page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: said.append(f"error: {error}"))
        try:
            page.goto(url)
            yield page, said
        finally:
            browser.close()
