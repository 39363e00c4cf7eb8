"""Pages in a real browser: they render, sort, filter, load nothing, and can be read by everybody."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from converter.publishing.diff import compare_manifests
from converter.publishing.manifest import read_manifest
from converter.report.html import render, render_diff
from converter.reported import Reported
from tests.browser import opened_page
from tests.report.conftest import Made

SIZES = {"phone": (390, 844), "desktop": (1440, 900)}
HOSTILE = '<script>document.title = "taken"</script>'
SERIOUS = ("serious", "critical")


@contextmanager
def shown(text: str, folder: Path, size: str = "desktop", scheme: Any = "light") -> Iterator[tuple[Any, list[str]]]:
    """The page as a file on disk, loaded once more with this size and these colours."""
    file = folder / "page.html"
    file.write_text(text)
    with opened_page(file.as_uri()) as (page, said):
        width, height = SIZES[size]
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=scheme)
        page.on("request", lambda request: said.append(f"request: {request.url}"))
        page.reload()
        said[:] = [line for line in said if not re.fullmatch(r"request: file:.*page\.html", line)]
        yield page, said


def overflow(page: Any) -> int:
    """By how many pixels the page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - innerWidth"))


def violations(page: Any) -> list[str]:
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {one['nodes'][0]['html'][:120]}" for one in found if one["impact"] in SERIOUS]


def sizes(page: Any) -> list[int]:
    cells = page.locator("#table tbody tr:not([hidden]) td[data-value]:nth-child(4)")
    return [int(one) for one in cells.evaluate_all("cells => cells.map(cell => cell.dataset.value)")]


@pytest.fixture(scope="module")
def text(gathered: Reported) -> str:
    return render(gathered)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_a_page_renders_whole(text: str, tmp_path: Path, size: str, scheme: str) -> None:
    """No error on the console, nothing asked of a network, never wider than the window, nothing axe-core objects to."""
    with shown(text, tmp_path, size, scheme) as (page, said):
        assert page.locator("h1").inner_text() == "mobileclip_nano"
        assert said == []
        assert overflow(page) <= 0
        assert violations(page) == []
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")

    assert colour == {"light": "rgb(255, 255, 255)", "dark": "rgb(13, 17, 23)"}[scheme]


@pytest.mark.parametrize(
    ("broken", "seen"),
    [
        ('<img src="http://192.0.2.1/x.png" alt="x">', "Content Security Policy"),
        ("<script>nobody()</script>", "nobody is not defined"),
    ],
)
def test_a_page_that_loads_or_fails_is_seen(text: str, tmp_path: Path, broken: str, seen: str) -> None:
    """The console is really watched, and the page's own policy stops what would be loaded."""
    with shown(text.replace("</main>", f"{broken}</main>"), tmp_path) as (_page, said):
        assert any(seen in line for line in said), said


def test_a_page_that_is_too_wide_or_too_pale_is_seen(text: str, tmp_path: Path) -> None:
    """The twins of the checks of width and of axe-core."""
    wide = '<p style="width: 2000px; color: #eee; background: #fff">wide and pale</p>'
    with shown(text.replace("</main>", f"{wide}</main>"), tmp_path, "phone") as (page, _):
        assert overflow(page) > 0
        assert [one for one in violations(page) if one.startswith("color-contrast")]


def test_sorting_by_size_sorts(text: str, tmp_path: Path) -> None:
    """Up, then down; the head says which to those who cannot see."""
    with shown(text, tmp_path) as (page, _):
        given = sizes(page)
        head = page.locator("#table thead th", has_text="size")
        head.get_by_role("button").click()
        up, said_up = sizes(page), head.get_attribute("aria-sort")
        head.get_by_role("button").click()
        down, said_down = sizes(page), head.get_attribute("aria-sort")

    assert given not in (up, down), "sorted by chance: choose other rows"
    assert (up, said_up) == (sorted(given), "ascending")
    assert (down, said_down) == (sorted(given, reverse=True), "descending")


def test_a_script_that_sorts_wrongly_is_seen(text: str, tmp_path: Path) -> None:
    """The twin: the comparison turned round."""
    broken = text.replace("(down ? -1 : 1)", "(down ? 1 : -1)")
    assert broken != text
    with shown(broken, tmp_path) as (page, _):
        page.locator("#table thead th", has_text="size").get_by_role("button").click()
        assert sizes(page) != sorted(sizes(page))


def test_filters_hide(text: str, tmp_path: Path) -> None:
    """By precision, by a piece of the name, and all again; a number says how many are left."""
    with shown(text, tmp_path) as (page, _):
        rows, said = page.locator("#table tbody tr:not([hidden])"), page.locator("#shown")
        total = rows.count()
        page.locator("#filters select[name=precision]").select_option("int8")
        by_precision = rows.locator("td:nth-child(3)").all_inner_texts()
        words = said.inner_text()
        page.locator("#filters input").fill("fp32")
        none = rows.count()
        page.get_by_role("button", name="show all").click()
        page.wait_for_function("document.querySelectorAll('#table tbody tr[hidden]').length === 0")

    assert set(by_precision) == {"int8"}
    assert 0 < len(by_precision) < total
    assert words == f"{len(by_precision)} of {total} files shown"
    assert none == 0


def test_a_filter_that_hides_nothing_is_seen(text: str, tmp_path: Path) -> None:
    """The twin."""
    broken = text.replace("row.hidden = !(", "row.hidden = false && !(")
    assert broken != text
    with shown(broken, tmp_path) as (page, _):
        page.locator("#filters select[name=precision]").select_option("int8")
        assert set(page.locator("#table tbody tr:not([hidden]) td:nth-child(3)").all_inner_texts()) != {"int8"}


def test_without_scripts_everything_is_there(text: str, tmp_path: Path) -> None:
    """Every section and every row can be seen; what needs a script is not shown."""
    with shown(text, tmp_path) as (page, _):
        still = page.context.browser.new_context(java_script_enabled=False).new_page()
        still.goto((tmp_path / "page.html").as_uri())

        assert still.locator("section h2").count() == still.locator("section h2:visible").count() == 7
        assert still.locator("#table tbody tr:visible").count() == page.locator("#table tbody tr").count() > 0
        assert not still.locator("#filters").is_visible()
        assert not still.locator("#theme").is_visible()


def test_colours_can_be_chosen(text: str, tmp_path: Path) -> None:
    """As the system has them, then light, then dark; pictures take the page's colours."""
    with shown(text, tmp_path) as (page, _):
        label = page.locator("#plots svg text").first
        before = label.evaluate("one => getComputedStyle(one).fill")
        page.locator("#theme").click()
        page.locator("#theme").click()
        after = label.evaluate("one => getComputedStyle(one).fill")
        name = page.locator("#theme").get_attribute("aria-label")

    assert name == "Colours: dark"
    assert (before, after) == ("rgb(27, 31, 36)", "rgb(230, 237, 243)")


def test_a_file_s_name_leads_to_its_code(text: str, gathered: Reported, tmp_path: Path) -> None:
    """A click on a row opens the block that says how to load that very file."""
    entry = gathered.files[1].entry
    with shown(text, tmp_path) as (page, _):
        page.locator("#table tbody a", has_text=re.compile(f"^{re.escape(entry.step_id)}$")).click()
        code = page.locator(f'pre[aria-label="Code for {entry.path}"]')

        assert code.is_visible()
        assert entry.path in code.inner_text()


def test_a_hostile_name_is_text(gathered: Reported, tmp_path: Path) -> None:
    """Wherever a manifest's words go, they are read and not obeyed."""
    first = gathered.files[0]
    entry = dataclasses.replace(
        first.entry, step_id=f"image/{HOSTILE}/x", failures=(HOSTILE,), notes=(HOSTILE,), status="FAILED"
    )
    model = dataclasses.replace(gathered.model, id=HOSTILE, license_url="javascript:document.title='taken'")
    depths = tuple(dataclasses.replace(one, step_id=f"image/onnx/{HOSTILE}") for one in gathered.depths)
    hostile = dataclasses.replace(
        gathered, model=model, files=(dataclasses.replace(first, entry=entry), *gathered.files[1:]), depths=depths
    )
    text = render(hostile)

    with shown(text, tmp_path) as (page, said):
        assert page.locator("h1").inner_text() == HOSTILE
        assert page.title().startswith(HOSTILE)
        assert page.locator('a[href^="javascript"]').count() == 0
        assert said == []
    with shown(text.replace(f"<h1>{_escaped(HOSTILE)}", f"<h1>{HOSTILE}"), tmp_path) as (page, _):
        assert page.title() == "taken", "the twin: a page that escapes nothing"


def test_a_difference_is_a_page_too(made: Made, tmp_path: Path) -> None:
    """What broke comes first, and the same checks hold."""
    old = read_manifest(made.folder)
    spoilt = dataclasses.replace(old.artifacts[0], status="FAILED", size_bytes=1)
    new = dataclasses.replace(old, artifacts=(spoilt, *old.artifacts[1:]))
    text = render_diff(compare_manifests(old, new), "v1", HOSTILE)

    for scheme in ("light", "dark"):
        with shown(text, tmp_path, "phone", scheme) as (page, said):
            assert page.locator(".headline").inner_text().endswith("1 worse than promised")
            assert page.locator(".failures").inner_text().count("PASSED -> FAILED") == 1
            assert said == []
            assert overflow(page) <= 0
            assert violations(page) == []


def _escaped(words: str) -> str:
    from markupsafe import escape

    return str(escape(words))
