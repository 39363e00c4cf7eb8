"""The real hub client against a small server on this machine: what it serves arrives, what it lies about is noticed."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from converter.errors import WeightsError
from converter.models import hub

CONTENT = b"tensors " * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
COMMIT = "a" * 40

RESOLVE = """
import dataclasses, sys
from pathlib import Path
from converter.config import load_models
from converter.errors import WeightsError
from converter.models.weights import resolve
spec = dataclasses.replace(load_models()["mobileclip_s1"], hub_repo=sys.argv[1], sha256=None, revision="main")
try:
    weights = resolve(spec, sys.argv[2], cache_dir=Path(sys.argv[3]))
    print(weights.kind, weights.sha256, weights.revision, weights.notice, sep="|")
except WeightsError as error:
    print("WeightsError", error, sep="|")
"""


class Hub(BaseHTTPRequestHandler):
    """Serves one file as the hub does; the repository "some/liar" gives a wrong hash, "some/nothing" does not exist."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        if self._answer():
            self.wfile.write(CONTENT)

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""

    def _answer(self) -> bool:
        exists = "/resolve/" in self.path and not self.path.startswith("/some/nothing")
        self.send_response(200 if exists else 404)
        if exists:
            self.send_header("ETag", f'"{"0" * 64 if self.path.startswith("/some/liar") else SHA256}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(len(CONTENT)))
        else:
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
        self.end_headers()
        return exists


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """The address of a running server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def ask(endpoint: str, repo: str, request: str, folder: Path) -> list[str]:
    """What `resolve` gives in a process whose hub is `endpoint`, and which therefore cannot reach the real one."""
    unset = ("HF_HUB_OFFLINE", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HF_TOKEN")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    environment |= {"HF_ENDPOINT": endpoint, "HF_HUB_CACHE": str(folder / "hub"), "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-c", RESOLVE, repo, request, str(folder / "memory")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert not done.stderr
    return done.stdout.strip().split("|")


@pytest.mark.parametrize("request_", ["auto", "hub"])
def test_a_download_is_checked_recorded_and_found_again(endpoint: str, tmp_path: Path, request_: str) -> None:
    """The resolved commit stands for "main", nothing is written to stderr, and the second time no hub is needed."""
    first = ask(endpoint, "some/model", request_, tmp_path)
    second = ask("http://127.0.0.1:1", "some/model", request_, tmp_path)

    assert first == ["hub", SHA256, COMMIT, ""]
    assert second == first


@pytest.mark.parametrize("request_", ["auto", "hub"])
def test_a_file_that_is_not_what_the_hub_says_is_refused(endpoint: str, tmp_path: Path, request_: str) -> None:
    """Bytes that do not match the hub's own sha256 are not used, and not replaced by seeded weights."""
    kind, message = ask(endpoint, "some/liar", request_, tmp_path)

    assert kind == "WeightsError"
    assert SHA256 in message
    assert "0" * 64 in message


def test_a_missing_repository_is_refused_and_auto_goes_on(endpoint: str, tmp_path: Path) -> None:
    """`hub` says what to do; `auto` gives the reason in its notice."""
    refused = ask(endpoint, "some/nothing", "hub", tmp_path)
    seeded = ask(endpoint, "some/nothing", "auto", tmp_path)

    assert refused[0] == "WeightsError"
    assert "--weights FILE" in refused[1]
    assert seeded[0] == "seeded"
    assert "SEEDED" in seeded[3]


def test_a_hub_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even when nothing below times out, the wait ends."""
    from threading import Event

    never = Event()
    monkeypatch.setattr(hub, "GIVE_UP_SECONDS", 0.05)
    monkeypatch.setattr(hub, "_ask", lambda *_: never.wait())

    with pytest.raises(WeightsError, match=r"no answer within 0\.05 seconds"):
        hub.download("some/model", "file", "main")
    never.set()


def test_the_cache_is_where_the_hub_client_keeps_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By each environment variable that it knows."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    code = "from huggingface_hub.constants import HF_HUB_CACHE; print(HF_HUB_CACHE)"
    for name in ("HOME", "XDG_CACHE_HOME", "HF_HOME", "HUGGINGFACE_HUB_CACHE", "HF_HUB_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / name))
        theirs = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()

        assert str(hub._cache_root()) == theirs
