"""A small HTTP server for the tests: an application answers requests, and can be told to break off."""

from __future__ import annotations

import json
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request, its path unquoted and its query taken apart."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """What the body holds."""
        return json.loads(self.body)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer; a body that is no bytes is sent as JSON."""

    status: int = 200
    body: Any = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def data(self) -> bytes:
        """The bytes to send."""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


class Application(Protocol):
    """What answers. `cuts` counts how many requests whose "METHOD /path" contains a text are broken off midway."""

    url: str
    cuts: dict[str, int]

    def answer(self, request: Request) -> Answer:
        """The answer to a request that arrived whole."""
        ...


@contextmanager
def served(application: Application) -> Iterator[None]:
    """Serve on a free port of this machine; `application.url` says where."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(application))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    application.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def _handler(application: Application) -> type[BaseHTTPRequestHandler]:
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _respond(self) -> None:
            if self._is_cut():
                self.rfile.read(min(1000, int(self.headers.get("Content-Length", 0))))
                self.close_connection = True
                self.connection.shutdown(2)
                return
            parts = urllib.parse.urlsplit(self.path)
            query = dict(urllib.parse.parse_qsl(parts.query))
            request = Request(
                method=self.command, path=urllib.parse.unquote(parts.path), query=query,
                headers={name.lower(): text for name, text in self.headers.items()}, body=self._body(),
            )  # fmt: skip
            with lock:
                answer = application.answer(request)
            self._send(answer)

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            parts = []
            while size := int(self.rfile.readline().strip() or b"0", 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def _send(self, answer: Answer) -> None:
            data = answer.data()
            self.send_response(answer.status)
            if not isinstance(answer.body, bytes):
                self.send_header("Content-Type", "application/json")
            for name, text in answer.headers.items():
                self.send_header(name, text)
            if "Content-Length" not in answer.headers:
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def _is_cut(self) -> bool:
            whole = f"{self.command} {self.path}"
            for text, left in application.cuts.items():
                if text in whole and left:
                    application.cuts[text] = left - 1
                    return True
            return False

        def log_message(self, *arguments: Any) -> None:
            """Say nothing."""

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _respond

    return Handler
