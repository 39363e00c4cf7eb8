"""The local page: drop a photograph or type a text, and see what each file finds.

1. Only this machine is answered, and only by its own names: another Host header is what DNS rebinding looks like.
2. What changes nothing but costs work, a search, must come from our own page: its Origin is checked.
3. Pictures are served by their number in the gallery's list, as small JPEGs made here; no path comes from outside.
4. An upload is bounded while it arrives, and opened as every picture of a stranger is (`converter.models.images`).
5. The page asks nobody else: its policy forbids it.
"""

from __future__ import annotations

import functools
import io
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from converter.errors import McconvertError, MissingDependencyError, UsageError
from converter.models.images import open_image
from converter.retrieval.asking import Query
from converter.retrieval.indexing import Gallery
from converter.retrieval.reading import shown
from converter.retrieval.searching import search

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

ADDRESS = "127.0.0.1"
PAGE = Path(__file__).parent / "page"
FILES = {"/": ("index.html", "text/html"), "/page.css": ("page.css", "text/css"),
         "/page.js": ("page.js", "text/javascript")}  # fmt: skip
MAX_UPLOAD_BYTES = 32 * 1024 * 1024
MAX_TEXT_BYTES = 16 * 1024
THUMBNAIL_SIDE = 320
KEPT_THUMBNAILS = 512
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
MISSING = "the page needs starlette and uvicorn: pip install 'mcconvert[demo]'"

type Handler = Callable[[Request], Awaitable[Response]]


def make_app(gallery: Gallery, top: int, port: int) -> Starlette:
    """The page over an opened gallery, to be served at 127.0.0.1:`port`.

    Raises:
        MissingDependencyError: starlette is not installed.
    """
    try:
        from starlette.applications import Starlette
        from starlette.middleware import Middleware
        from starlette.middleware.base import BaseHTTPMiddleware
        from starlette.routing import Route
    except ImportError as error:
        raise MissingDependencyError(MISSING) from error

    page = _Page(gallery, top)
    routes = [
        *(Route(path, functools.partial(_file, path), methods=["GET"]) for path in FILES),
        Route("/facts", page.facts, methods=["GET"]),
        Route("/thumbnail/{number:int}", page.thumbnail, methods=["GET"]),
        Route("/search/image", page.by_image, methods=["POST"]),
        Route("/search/text", page.by_text, methods=["POST"]),
    ]
    guard = functools.partial(_guarded, frozenset({f"127.0.0.1:{port}", f"localhost:{port}"}))
    return Starlette(routes=routes, middleware=[Middleware(BaseHTTPMiddleware, dispatch=guard)])


@contextmanager
def bound(port: int) -> Iterator[socket.socket]:
    """The socket that the page will be served from, taken before any work is done.

    Raises:
        UsageError: the port is taken.
        MissingDependencyError: uvicorn is not installed.
    """
    _uvicorn()
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind((ADDRESS, port))
            taken.listen()  # who asks before the models are open waits
        except OSError as error:
            message = (
                f"port {port} cannot be had ({error.strerror}); give --port another one, or 0 for any that is free"
            )
            raise UsageError(message) from error
        yield taken


def serve(app: Starlette, taken: socket.socket) -> None:
    """Answer until Ctrl-C, or until the process is asked to end."""
    uvicorn = _uvicorn()
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1, server_header=False)
    with suppress(KeyboardInterrupt):  # uvicorn raises it again when it has ended in order
        uvicorn.Server(config).run(sockets=[taken])


def _uvicorn() -> Any:
    try:
        import uvicorn
    except ImportError as error:
        raise MissingDependencyError(MISSING) from error
    return uvicorn


class _Page:
    """The answers. The models are asked by one request at a time: runtimes are not made for several."""

    def __init__(self, gallery: Gallery, top: int) -> None:
        self._gallery = gallery
        self._top = top
        self._lock = threading.Lock()
        self._small = functools.lru_cache(maxsize=KEPT_THUMBNAILS)(self._thumbnail)

    async def facts(self, request: Request) -> Response:
        """What is searched, and with what."""
        spaces = [shelf.space for shelf in self._gallery.shelves]
        return _json(
            {
                "folder": shown(Path(self._gallery.folder.name)), "photographs": len(self._gallery.names),
                "top": self._top, "max_upload_bytes": MAX_UPLOAD_BYTES,
                "unread": len(self._gallery.indexed[0].unread), "texts": all(space.texts for space in spaces),
                "untrained": [space.name for space in spaces if not space.model.trained],
                "formats": [{"name": one.name, "executed_by": one.executed_by["image"]} for one in spaces],
            }
        )  # fmt: skip

    async def thumbnail(self, request: Request) -> Response:
        """A photograph of the gallery, small."""
        from starlette.concurrency import run_in_threadpool
        from starlette.responses import Response

        number = int(request.path_params["number"])
        if number >= len(self._gallery.names):
            return _refusal(
                f"there is no photograph {number}; they are numbered from 0 to {len(self._gallery.names) - 1}", 404
            )
        try:
            data = await run_in_threadpool(self._small, number)
        except McconvertError as error:
            return _refusal(str(error), 404)
        return Response(data, media_type="image/jpeg")

    async def by_image(self, request: Request) -> Response:
        """Search with the picture that is the request's body."""
        data = await _body(request, MAX_UPLOAD_BYTES)
        if data is None:
            limit = MAX_UPLOAD_BYTES // 2**20
            return _refusal(
                f"the picture is larger than {limit} MB; make it smaller, models look at a few hundred pixels", 413
            )
        if not data:
            return _refusal("the picture is empty; choose an image file", 400)
        return await self._answer(Query(name=request.query_params.get("name", "")[:200] or "the picture", data=data))

    async def by_text(self, request: Request) -> Response:
        """Search with the text that is the request's body, UTF-8."""
        data = await _body(request, MAX_TEXT_BYTES)
        if data is None:
            return _refusal(f"the text is longer than {MAX_TEXT_BYTES:,} bytes; models read its first 77 tokens", 413)
        try:
            text = data.decode("utf-8").strip()
        except UnicodeDecodeError:
            return _refusal("the text is no UTF-8", 400)
        if not text:
            return _refusal("the text is empty; describe what to look for", 400)
        if not all(shelf.space.texts for shelf in self._gallery.shelves):
            return _refusal("the page was opened without text towers; search with a picture", 400)
        return await self._answer(Query(name=text))

    async def _answer(self, query: Query) -> Response:
        from starlette.concurrency import run_in_threadpool

        try:
            return _json(await run_in_threadpool(self._search, query))
        except McconvertError as error:
            return _refusal(str(error), 400)

    def _search(self, query: Query) -> Any:
        with self._lock:
            return search(self._gallery, query, self._top)

    def _thumbnail(self, number: int) -> bytes:
        name = self._gallery.names[number]
        try:
            data = (self._gallery.folder / name).read_bytes()
        except OSError as error:
            message = f"{shown(name)}: {error.strerror}; it was there when the page was opened"
            raise UsageError(message) from error
        with self._lock:  # opening an image changes Pillow's limits, which are the whole process's
            image = open_image(name, io.BytesIO(data))
        image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=85)
        return buffer.getvalue()


async def _guarded(hosts: frozenset[str], request: Request, handle: Handler) -> Response:
    """Rules 1, 2 and 5."""
    host, origin = request.headers.get("host", ""), request.headers.get("origin")
    if host not in hosts:
        answer = _refusal(f"this page answers to {' and '.join(sorted(hosts))} only, not to {host[:100]}", 403)
    elif request.method == "POST" and origin != f"http://{host}":
        answer = _refusal("searches are taken from this page only", 403)
    else:
        answer = await handle(request)
    answer.headers.update(HEADERS)
    return answer


async def _file(path: str, request: Request) -> Response:
    from starlette.responses import Response

    name, kind = FILES[path]
    return Response((PAGE / name).read_bytes(), media_type=kind)


async def _body(request: Request, limit: int) -> bytes | None:
    """The request's body; None where it is longer than `limit`, of which no more than that is held."""
    declared = request.headers.get("content-length", "0")
    if not declared.isdigit() or int(declared) > limit:
        return None
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > limit:
            return None
    return bytes(data)


def _json(facts: object, status: int = 200) -> Response:
    from starlette.responses import Response

    return Response(msgspec.json.encode(facts), status_code=status, media_type="application/json")


def _refusal(message: str, status: int) -> Response:
    return _json({"error": message}, status)
