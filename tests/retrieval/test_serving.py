"""The page's server: only this machine, only its own page, only the gallery's pictures, and words for each refusal."""

from __future__ import annotations

import http.client
import json
import socket
import sys
from typing import Any

import pytest

from converter.retrieval.serving import MAX_UPLOAD_BYTES
from tests.inference.conftest import use
from tests.retrieval.conftest import COUNT, Demo


def ask(demo: Demo, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, Any, dict[str, str]]:
    """(status, body, headers), with the headers that our own page would send unless told otherwise."""
    connection = http.client.HTTPConnection("127.0.0.1", demo.port, timeout=60)
    own = {"Host": f"127.0.0.1:{demo.port}", "Origin": f"http://127.0.0.1:{demo.port}"} | headers
    connection.request(method, path, body or None, {name: value for name, value in own.items() if value})
    response = connection.getresponse()
    data = response.read()
    connection.close()
    kind = response.headers.get("content-type", "")
    return response.status, json.loads(data) if "json" in kind else data, dict(response.headers)


def test_a_picture_and_a_text_are_answered_by_all_four(demo: Demo) -> None:
    """The same five, in four formats."""
    picture = (demo.folder / "03.png").read_bytes()

    for path, body in (("/search/image?name=mine.png", picture), ("/search/text", b"a cat")):
        status, found, _ = ask(demo, "POST", path, body)

        assert status == 200
        assert len(found["answers"]) == 4
        assert found["verdict"] == "all four find the same five photos, in the same order"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1", "127.0.0.1.evil.example"])
def test_another_host_is_refused(demo: Demo, host: str) -> None:
    """DNS rebinding: the request arrives here under somebody's name. The twin is every other test."""
    status, said, _ = ask(demo, "GET", "/facts", Host=host)

    assert status == 403 and "only" in said["error"]


@pytest.mark.parametrize("origin", ["", "http://evil.example", "null", "https://127.0.0.1"])
def test_a_search_from_another_page_is_refused(demo: Demo, origin: str) -> None:
    """Another origin, or none."""
    status, said, _ = ask(demo, "POST", "/search/text", b"a cat", Origin=origin)

    assert status == 403 and "this page only" in said["error"]


@pytest.mark.parametrize(
    "path",
    ["/thumbnail/../../etc/passwd", "/thumbnail/..%2f..%2fetc%2fpasswd", "/thumbnail/-1", "/thumbnail/03.png",
     "/../serving.py", "/%2e%2e/serving.py", f"/thumbnail/{COUNT}", f"/thumbnail/{10**30}", "/page/index.html"],
)  # fmt: skip
def test_nothing_but_the_gallery_is_served(demo: Demo, path: str) -> None:
    """Pictures go by number; no path leads anywhere. The twin: a number that is there is a JPEG."""
    status, _, _ = ask(demo, "GET", path)
    there, data, _ = ask(demo, "GET", f"/thumbnail/{COUNT - 1}")

    assert status == 404
    assert there == 200 and data.startswith(b"\xff\xd8\xff")


def test_an_upload_is_bounded(demo: Demo) -> None:
    """Declared or not: no more than the bound is held."""
    status, said, _ = ask(demo, "POST", "/search/image", **{"Content-Length": str(MAX_UPLOAD_BYTES + 1)})
    assert status == 413 and "32 MB" in said["error"]

    with socket.create_connection(("127.0.0.1", demo.port), timeout=60) as raw:
        head = f"Host: 127.0.0.1:{demo.port}\r\nOrigin: http://127.0.0.1:{demo.port}\r\nTransfer-Encoding: chunked\r\n"
        raw.sendall(f"POST /search/text HTTP/1.1\r\n{head}\r\n".encode())
        raw.sendall(b"8000\r\n" + b"x" * 0x8000 + b"\r\n0\r\n\r\n")
        assert b" 413 " in raw.recv(1000).splitlines()[0]


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/search/image", b"", "empty"),
        ("/search/image", b"\x89PNG\r\n\x1a\nbroken", "cannot be read as an image"),
        ("/search/text", b"  ", "empty"),
        ("/search/text", b"\xff\xfe", "UTF-8"),
    ],
)
def test_what_cannot_be_searched_is_said_in_words(demo: Demo, path: str, body: bytes, words: str) -> None:
    """400, and why."""
    status, said, _ = ask(demo, "POST", path, body)

    assert status == 400 and words in said["error"]


def test_every_answer_forbids_the_page_to_ask_others(demo: Demo) -> None:
    """Refusals too."""
    for path in ("/", "/page.js", "/facts", "/nothing"):
        _, _, headers = ask(demo, "GET", path)

        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["x-content-type-options"] == "nosniff"


def test_only_this_machine_is_listened_to(demo: Demo) -> None:
    """The socket is bound to the loopback address, not to every one."""
    import psutil

    mine = [one for one in psutil.net_connections("tcp") if one.laddr and one.laddr.port == demo.port]

    assert {one.laddr.ip for one in mine} == {"127.0.0.1"}


def test_a_port_that_is_taken_is_refused_before_any_work(demo: Demo, tmp_path: Any) -> None:
    """With the way on."""
    done = use("demo", "--index", demo.folder, "--port", demo.port, "--no-open", "--with", tmp_path)

    assert done.code == 2 and f"port {demo.port} cannot be had" in done.err and "--port" in done.err


@pytest.mark.parametrize("lacking", ["uvicorn", "starlette.applications"])
def test_without_its_libraries_one_line_says_what_to_install(
    lacking: str, scenes: Any, monkeypatch: pytest.MonkeyPatch, onnx_only: Any, tmp_path: Any
) -> None:
    """Exit code 3."""
    monkeypatch.setitem(sys.modules, lacking, None)

    done = use("demo", "--index", scenes, "--port", 0, "--no-open", "--images-only", "--with", onnx_only,
               "--index-cache", tmp_path)  # fmt: skip

    assert done.code == 3 and "pip install 'mcconvert[demo]'" in done.err
