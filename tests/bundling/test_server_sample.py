"""The server sample answers many at once in few calls of the model, and survives what is no picture."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from tests.bundling.conftest import WITHOUT_US, cosine

CROWD = 50
"""Requests of each kind: far more than the five connections that Python's servers let wait."""


@pytest.fixture(scope="module")
def address(bundles: dict[str, Path]) -> Iterator[str]:
    """The server's own, on a free port, in a process that can import neither us nor torch."""
    command = [sys.executable, "-u", "-c", WITHOUT_US, "sample/server.py", "0"]
    with subprocess.Popen(command, cwd=bundles["server"], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().split()[-1]
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def expected(bundles: dict[str, Path]) -> Any:
    """What PyTorch gives."""
    return json.loads((bundles["server"] / "expected.json").read_text())


def test_many_at_once_share_calls_and_get_their_own_answers(
    bundles: dict[str, Path], address: str, expected: Any
) -> None:
    """A crowd of two kinds that comes at once: each gets PyTorch's embedding, in fewer calls than requests."""
    picture, text = (bundles["server"] / "test.png").read_bytes(), expected["text"]["text"].encode()
    start = Barrier(2 * CROWD)

    def post(tower: str, body: bytes) -> Any:
        start.wait()
        return _post(f"{address}/{tower}", body)

    with ThreadPoolExecutor(2 * CROWD) as pool:
        images = pool.map(lambda _: post("image", picture), range(CROWD))
        texts = pool.map(lambda number: post("text", text if number % 2 else b"a green ring"), range(CROWD))
        seen, read = list(images), list(texts)

    assert min(cosine(one["embedding"], expected["image"]["embedding"]) for one in seen) > 0.9999
    assert min(cosine(one["embedding"], expected["text"]["embedding"]) for one in read[1::2]) > 0.9999
    assert max(cosine(one["embedding"], expected["text"]["embedding"]) for one in read[::2]) < 0.99
    assert max(one["batch"] for one in [*seen, *read]) > 1


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [("image", b"no picture", 400), ("text", b"\xff", 400), ("image", b"", 413), ("x", b"x", 404)],
)
def test_what_cannot_be_embedded_is_refused_and_the_server_goes_on(
    address: str, path: str, body: bytes, status: int
) -> None:
    """One bad request is one bad answer."""
    with pytest.raises(urllib.error.HTTPError) as refused:
        _post(f"{address}/{path}", body)

    assert refused.value.code == status
    assert _post(f"{address}/text", b"still here")["batch"] == 1


def _post(url: str, body: bytes) -> Any:
    with urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=60) as answer:
        return json.load(answer)
