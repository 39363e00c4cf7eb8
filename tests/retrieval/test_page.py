"""The page in a real browser: what somebody sees who drops a photo or types a text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser import chromium, opened_page
from tests.retrieval.conftest import Demo

SAME = "all four find the same five photos, in the same order"


@pytest.fixture(scope="module")
def opened(request: pytest.FixtureRequest) -> Iterator[tuple[Any, list[str]]]:
    """One browser for all of them; every test starts from a fresh load."""
    chromium()
    demo: Demo = request.getfixturevalue("demo")
    with opened_page(demo.address) as (page, said):
        yield page, said


@pytest.fixture
def page(opened: tuple[Any, list[str]]) -> Iterator[Any]:
    """The page, loaded anew; what its console says at the end must be nothing."""
    page, said = opened
    said.clear()
    page.set_viewport_size({"width": 1280, "height": 900})
    page.emulate_media(color_scheme="light")
    page.reload()
    page.wait_for_function("() => document.getElementById('about').textContent.includes('photos in')")
    yield page
    assert not [line for line in said if line.startswith("error") and "400 (Bad Request)" not in line]


def columns(page: Any) -> list[list[str]]:
    """The names in each column."""
    boxes = page.query_selector_all(".format")
    return [[one.get_attribute("data-name") for one in box.query_selector_all("li")] for box in boxes]


def verdict(page: Any, words: str) -> None:
    page.wait_for_function("words => document.getElementById('verdict').textContent.includes(words)", arg=words)


def test_a_chosen_photo_is_found_by_all_four(page: Any, demo: Demo) -> None:
    """The same five in four columns, their pictures loaded, the query marked."""
    page.set_input_files("#file", str(demo.folder / "03.png"))
    verdict(page, SAME)
    page.wait_for_function("() => [...document.querySelectorAll('.format img')].every(one => one.naturalWidth > 0)")

    found = columns(page)
    assert len(found) == 4 and found[0] == found[1] == found[2] == found[3] and len(found[0]) == 5
    assert found[0][0] == "03.png" and "the query itself" in page.inner_text(".format li")
    assert [one.inner_text() for one in page.query_selector_all(".format h2")] == [
        "torchscript/fp32_lite", "onnx/fp32", "tflite/fp32", "coreml/fp32",
    ]  # fmt: skip


def test_a_dropped_photo_is_found(page: Any, demo: Demo) -> None:
    """As from a folder's window."""
    data = list((demo.folder / "05.png").read_bytes())
    transfer = page.evaluate_handle(
        "data => { const all = new DataTransfer();"
        " all.items.add(new File([new Uint8Array(data)], '05.png', {type: 'image/png'})); return all; }",
        data,
    )

    page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})
    verdict(page, SAME)

    assert columns(page)[0][0] == "05.png"


def test_a_typed_text_is_found_by_keyboard_alone(page: Any) -> None:
    """Tab to the field, type, Enter."""
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "file"
    page.keyboard.press("Tab")
    page.keyboard.type("two red circles")
    page.keyboard.press("Enter")
    verdict(page, SAME)

    assert len(columns(page)) == 4 and not page.query_selector_all(".own")


def test_a_broken_file_is_answered_in_words(page: Any, tmp_path: Path) -> None:
    """What was wrong, without old results beside it."""
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")

    page.set_input_files("#file", str(tmp_path / "broken.png"))
    page.wait_for_selector("#problem:not([hidden])")

    assert "broken.png cannot be read as an image" in page.inner_text("#problem")
    assert not columns(page) and page.inner_text("#verdict") == ""


def test_a_difference_is_marked(page: Any) -> None:
    """Fed with an answer in which one format returns another photo: both are marked, and the line says so."""
    page.evaluate(
        """() => {
          const hit = (photo, name, rank) => ({photo, name, rank, score: 0.5, is_query: false});
          show({top: 1, verdict: "they differ", contrasts: [{first: "a", other: "b", shared: 0, returned: 1,
            missing: ["x"], added: ["y"], tied: false, tie_margin: 0, score_difference: 0.1}],
            answers: [{space: "a", hits: [hit(0, "x", 1)]}, {space: "b", hits: [hit(1, "y", 1)]}],
            union: [{photo: 0, name: "x", places: [hit(0, "x", 1), hit(0, "x", 2)]},
                    {photo: 1, name: "y", places: [hit(1, "y", 2), hit(1, "y", 1)]}]});
        }"""
    )

    assert page.eval_on_selector_all("li.differs", "all => all.map(one => one.dataset.name)") == ["x", "y"]
    assert "not found by 1 of 2" in page.inner_text("li.differs")
    assert page.get_attribute("#verdict", "class") == "differ"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_nobody_is_kept_out(page: Any, demo: Demo, scheme: str, width: int) -> None:
    """Axe finds nothing serious, and nothing is wider than the screen."""
    from axe_playwright_python.sync_playwright import Axe

    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    page.set_input_files("#file", str(demo.folder / "03.png"))
    verdict(page, SAME)

    found = Axe().run(page).response["violations"]
    assert not [one["id"] for one in found if one["impact"] in ("serious", "critical")]
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_axe_would_notice(page: Any) -> None:
    """The twin: a field without a label, and letters nobody can read."""
    from axe_playwright_python.sync_playwright import Axe

    page.evaluate(
        "document.querySelector('label[for=text]').remove(); document.getElementById('text').placeholder = ''"
    )
    page.evaluate("document.getElementById('about').style.color = 'rgb(200, 200, 200)'")

    found = {one["id"] for one in Axe().run(page).response["violations"]}
    assert {"label", "color-contrast"} <= found


def test_nothing_is_asked_of_other_machines(page: Any, demo: Demo) -> None:
    """Every request goes to the page's own server."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.set_input_files("#file", str(demo.folder / "03.png"))
    verdict(page, SAME)

    assert asked and all(url.startswith((demo.address, "blob:", "data:")) for url in asked)
