"""Embeddings over HTTP: requests that come at the same time share one call of the model.

python sample/server.py [PORT [HOST]]
curl --data-binary @cat.jpg -H 'Content-Type: image/jpeg' localhost:8000/image
curl --data-binary 'a cat' -H 'Content-Type: text/plain' localhost:8000/text

The answer is {"embedding": [...], "batch": N}: the vector, and how many inputs its call took. GET /health says whether
the server is up. It has no TLS, no users and no limit of requests: put it behind a proxy that has.
"""

from __future__ import annotations

import io
import json
import queue
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from mobileclip import MobileCLIP, prepare, to_input
from PIL import Image

LARGEST_BATCH = 16
WAIT_SECONDS = 0.005
LARGEST_BODY = 32 * 2**20


class Batcher:
    """Collects inputs of one tower and runs those that are there together."""

    def __init__(self, run: Callable[[list], np.ndarray]) -> None:
        self._run, self._waiting = run, queue.SimpleQueue()
        threading.Thread(target=self._work, daemon=True).start()

    def embed(self, value: object) -> tuple[np.ndarray, int]:
        """The embedding of one input, and how many inputs its call took."""
        done: Future = Future()
        self._waiting.put((value, done))
        return done.result()

    def _work(self) -> None:
        while True:
            batch = [self._waiting.get()]
            until = time.monotonic() + WAIT_SECONDS
            while len(batch) < LARGEST_BATCH:
                try:
                    batch.append(self._waiting.get(timeout=max(0.0, until - time.monotonic())))
                except queue.Empty:
                    break
            self._answer(batch)

    def _answer(self, batch: list[tuple[object, Future]]) -> None:
        try:
            rows = self._run([value for value, _ in batch])
        except Exception as error:
            for _, done in batch:
                done.set_exception(error)
            return
        for row, (_, done) in zip(rows, batch, strict=True):
            done.set_result((row, len(batch)))


class Handler(BaseHTTPRequestHandler):
    """POST /image takes a picture's bytes, POST /text takes UTF-8."""

    protocol_version = "HTTP/1.1"
    model: MobileCLIP
    batchers: dict[str, Batcher]

    def do_GET(self) -> None:
        """GET /health."""
        self._send(200 if self.path == "/health" else 404, {"towers": sorted(self.batchers)})

    def do_POST(self) -> None:
        """One input, one embedding."""
        tower = self.path.strip("/")
        length = int(self.headers.get("Content-Length") or 0)
        if tower not in self.batchers or not 0 < length <= LARGEST_BODY:
            self.close_connection = True
            self._send(404 if tower not in self.batchers else 413, {"error": f"POST a body to {sorted(self.batchers)}"})
            return
        try:
            value = self._read(tower, self.rfile.read(length))
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            self._send(400, {"error": f"not {'a picture' if tower == 'image' else 'UTF-8'}: {error}"})
            return
        row, batch = self.batchers[tower].embed(value)
        self._send(200, {"embedding": row.tolist(), "batch": batch})

    def _read(self, tower: str, body: bytes) -> object:
        """A picture is decoded and resized here, in the request's own thread; only the model waits for others."""
        return prepare(Image.open(io.BytesIO(body)), self.model.image) if tower == "image" else body.decode()

    def _send(self, status: int, answer: dict) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing of each request."""


class Server(ThreadingHTTPServer):
    """A thread for each request."""

    request_queue_size = 128
    """Connections that may wait to be taken in: with Python's 5, a crowd that comes at once is partly turned away."""


def serve(port: int, host: str) -> None:
    """Serve until interrupted."""
    model = MobileCLIP()
    runs: dict[str, Callable[[list], np.ndarray]] = {}
    if model.image:
        runs["image"] = lambda pixels: model.run("image", to_input(np.stack(pixels), model.image))
    if model.text:
        runs["text"] = model.embed_texts
    Handler.model, Handler.batchers = model, {tower: Batcher(run) for tower, run in runs.items()}
    server = Server((host, port), Handler)
    print(f"serving {', '.join(runs)} on http://{host}:{server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    serve(int((*sys.argv[1:], "8000")[0]), (*sys.argv[2:], "127.0.0.1")[0])
