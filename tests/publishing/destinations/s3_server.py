"""An S3 server (moto's, over real HTTP) that can be told to misbehave at a certain request."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

Wsgi = Callable[[dict[str, Any], Any], Iterable[bytes]]
BUCKET = "models"


@dataclass(kw_only=True)
class Trouble:
    """What happens at which request: `at` counts those that write (PUT, POST, DELETE), from 1; 0 is never.

    `kill` is a process that dies by SIGKILL, before the request is carried out or after; `answer` is a status in place
    of carrying it out; `cut` ends the connection in the middle of the request's body.
    """

    at: int = 0
    forever: bool = False
    kill: int = 0
    after: bool = False
    answer: str = ""
    cut: bool = False
    writes: list[str] = field(default_factory=list)
    """Every request that wrote, as "PUT /models/..."."""

    def strikes(self) -> bool:
        number = len(self.writes)
        return bool(self.at) and (number == self.at or (self.forever and number > self.at))


@dataclass(frozen=True, kw_only=True)
class S3:
    """A running server with one bucket."""

    url: str
    trouble: Trouble
    client: Any

    def objects(self) -> dict[str, bytes]:
        """All that is in the bucket."""
        keys = [one["Key"] for one in self.client.list_objects_v2(Bucket=BUCKET).get("Contents", [])]
        return {key: self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}


@contextmanager
def s3_server(environment: Callable[[str, str], None]) -> Iterator[S3]:
    """Serve on a free port; `environment` sets the variables by which clients find it."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    trouble = Trouble()
    server = make_server(
        "127.0.0.1", 0, _between(DomainDispatcherApplication(create_backend_app), trouble), threaded=True
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    for name, value in variables(url).items():
        environment(name, value)
    try:
        yield S3(url=url, trouble=trouble, client=_client(url))
    finally:
        server.shutdown()
        thread.join()


def variables(url: str) -> dict[str, str]:
    """What tells a client of S3 where to go and who it is."""
    return {
        "AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "someone", "AWS_SECRET_ACCESS_KEY": "sesame-7a1c",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true", "NO_PROXY": "127.0.0.1",
    }  # fmt: skip


def _client(url: str) -> Any:
    import boto3

    client = boto3.client("s3", endpoint_url=url)
    import requests

    requests.post(f"{url}/moto-api/reset", timeout=10)
    client.create_bucket(Bucket=BUCKET)
    return client


def _between(app: Any, trouble: Trouble) -> Wsgi:
    def carry(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in ("PUT", "POST", "DELETE") and "moto-api" not in environ["PATH_INFO"]:
            trouble.writes.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
            if trouble.strikes():
                return _struck(app, trouble, environ, start)
        return list(app(environ, start))

    return carry


def _struck(app: Any, trouble: Trouble, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
    if trouble.after:
        answer = list(app(environ, start))
        os.kill(trouble.kill, signal.SIGKILL)
        return answer
    if trouble.kill:
        os.kill(trouble.kill, signal.SIGKILL)
    if trouble.cut:
        environ["wsgi.input"].read(1000)
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    start(trouble.answer or "500 Internal Server Error", [("Content-Length", "0")])
    return []
