"""The commands that search a folder of photographs: `search`, and `demo`, its local page."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from converter.cli_use import PYTORCH_OPTIONS, runtime_of
from converter.errors import SkippedError

if TYPE_CHECKING:
    from converter.inference import Space
    from converter.inference.embedding import Advanced
    from converter.records import Tower
    from converter.retrieval.indexing import Gallery

DEFAULT_TOP = 5
DEFAULT_PORT = 8123

SEARCH_EXAMPLES = """\b
Examples:
  mcconvert search --index photos/ --query cat.jpg --with artifacts/mobileclip_s1
  mcconvert search --index photos/ --query "a red bicycle" --with artifacts/mobileclip_s1
  mcconvert search --index photos/ --query cat.jpg --with artifacts/mobileclip_s1:onnx/fp32 \\
      --with artifacts/mobileclip_s1:tflite/int8                          side by side, and where they differ
  mcconvert search --index photos/ --with artifacts/mobileclip_s1         only bring the index up to date
"""

DEMO_EXAMPLES = """\b
Examples:
  mcconvert demo --index photos/ --with artifacts/mobileclip_s1
  mcconvert demo --index photos/ --with artifacts/mobileclip_s1:torchscript/fp32_lite \\
      --with artifacts/mobileclip_s1:onnx/fp32 --with artifacts/mobileclip_s1:tflite/fp32 \\
      --with artifacts/mobileclip_s1:coreml/fp32
"""

INDEX_OPTIONS = [
    click.option("--index", "folder", required=True, metavar="DIR",
                 type=click.Path(exists=True, file_okay=False, path_type=Path),
                 help="Folder of photographs to search; those in folders below it too."),
    click.option("--with", "files", multiple=True, metavar="FILE|FOLDER[:ROW]", type=click.Path(),
                 help="An exported file, a model's folder (its float32 files), a row of it such as "
                      "artifacts/mobileclip_s1:onnx/fp16, or FOLDER:all for every row. Repeat to compare; the first "
                      "is what the others are held against.  [default: the PyTorch model]"),
    *PYTORCH_OPTIONS,
    click.option("--top", type=click.IntRange(1, 1000), default=DEFAULT_TOP, show_default=True,
                 help="How many photographs are shown."),
    click.option("--index-cache", type=click.Path(file_okay=False, path_type=Path), default=None, metavar="DIR",
                 help="Where indexes are kept.  [default: MCCONVERT_CACHE/indexes, else the user's cache folder]"),
    click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), default="auto", show_default=True,
                 help="Where PyTorch, TorchScript and ONNX compute."),
    click.option("--threads", type=click.IntRange(1, 256), default=None,
                 help="Threads on the CPU.  [default: half of the cores; photographs are read meanwhile]"),
    click.option("--batch", type=click.IntRange(1, 4096), default=8, show_default=True,
                 help="Photographs a call, where the file leaves it open."),
]  # fmt: skip


def index_options[F: Callable[..., Any]](function: F) -> F:
    """The options that say what is searched, and with what."""
    return functools.reduce(lambda inner, option: option(inner), reversed(INDEX_OPTIONS), function)


@click.command(epilog=SEARCH_EXAMPLES)
@index_options
@click.option(
    "-q",
    "--query",
    "queries",
    multiple=True,
    metavar="IMAGE|TEXT",
    help="An image file, else a text. Repeat for several. Without one the index is only brought up to date.",
)
@click.option("--text", "is_text", is_flag=True, help="Every --query is a text, also one that names a file.")
@click.option("--exclude-query", is_flag=True, help="Leave the query's own picture out instead of marking it.")
@click.option("--forget", is_flag=True, help="Instead: remove the indexes of this folder.")
@click.option("--json", "as_json", is_flag=True, help="Results as JSON on standard output, for programs.")  # fmt: skip
def search(*, folder: Path, queries: tuple[str, ...], is_text: bool, exclude_query: bool, forget: bool, as_json: bool,
           top: int, **options: Any) -> None:  # fmt: skip
    """Find the photographs in a folder that are nearest to an image or a text, with one file or several side by side.

    The index is kept and brought up to date each time: what is new, changed or gone since. A photograph that cannot be
    read is left out and said, and the exit code is 8.
    """
    from converter.report.console import open_console, print_json
    from converter.retrieval.asking import understood
    from converter.retrieval.searching import search as ask
    from converter.retrieval.tables import contrast_line, searched_table

    if forget:
        _forget(folder, options["index_cache"])
        return
    asked = [understood(query, folder, is_text=is_text) for query in queries]
    towers: list[Tower] = ["image", *(["text"] if any(one.kind == "text" for one in asked) else [])]  # type: ignore[list-item]
    with opened(folder, options, towers) as gallery:
        found = [ask(gallery, one, top, exclude_query=exclude_query) for one in asked]
    if as_json:
        print_json({"folder": str(folder), "indexed": gallery.indexed, "searched": found})
    else:
        for one in found:
            open_console().print(searched_table(one))
            for contrast in one.contrasts:
                click.echo(contrast_line(contrast))
            click.echo(one.verdict)
    _end(gallery)


@click.command(epilog=DEMO_EXAMPLES)
@index_options
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=DEFAULT_PORT,
    show_default=True,
    help="Where on this machine the page is; 0 takes a free port.",
)
@click.option("--no-open", is_flag=True, help="Only print the address.")
@click.option("--images-only", is_flag=True, help="Open no text towers: photographs only, in less memory.")  # fmt: skip
def demo(*, folder: Path, top: int, port: int, no_open: bool, images_only: bool, **options: Any) -> None:
    """Open a page on this machine: drop a photo or type a text, and see what each file finds, side by side.

    Only this machine can open it, and nothing leaves it. Ctrl-C ends it.
    """
    import webbrowser

    from converter.retrieval.serving import bound, make_app, serve

    with (
        bound(port) as socket,
        opened(folder, options, ["image"] if images_only else ["image", "text"]) as gallery,
    ):
        taken = socket.getsockname()[1]
        address = f"http://127.0.0.1:{taken}/"
        app = make_app(gallery, top, taken)
        click.echo(address)
        if not no_open:
            webbrowser.open(address)
        serve(app, socket)
    _say("the page is closed")


@contextmanager
def opened(folder: Path, options: dict[str, Any], towers: Sequence[Tower]) -> Iterator[Gallery]:
    """The folder's indexes, up to date, with the files that made them open to answer queries."""
    from converter.inference.opening import untrained
    from converter.report.console import warn_untrained
    from converter.retrieval.indexing import open_gallery
    from converter.retrieval.places import default_root
    from converter.retrieval.tables import indexed_line
    from converter.retrieval.vectors import import_faiss

    import_faiss()
    with ExitStack() as stack:
        spaces = _spaces(options, towers, stack)
        if warning := untrained(spaces):
            warn_untrained(warning)
        begun = time.monotonic()
        gallery = open_gallery(folder, spaces, options["index_cache"] or default_root(), _say, _counting)
        for one in gallery.indexed:
            _say(indexed_line(one, time.monotonic() - begun))
        yield gallery


def _spaces(options: dict[str, Any], towers: Sequence[Tower], stack: ExitStack) -> list[Space]:
    from converter.inference import Compute
    from converter.inference.choosing import every_row
    from converter.inference.opening import Wanted, open_spaces

    compute = Compute(
        device=options["device"],
        threads=options["threads"] or max(1, (os.cpu_count() or 1) // 2),
        batch=options["batch"],
    )
    files = [one for named in options["files"] for one in every_row(named, runtime_of)]
    wanted = Wanted(
        files=tuple(files), model=options["model"], weights=options["weights"], towers=tuple(towers), compute=compute
    )
    return open_spaces(wanted, runtime_of, _say, stack)


def _counting(total: int) -> AbstractContextManager[Advanced]:
    from converter.cli_use import counting

    return counting(total, "embeddings")


def _forget(folder: Path, cache: Path | None) -> None:
    from converter.retrieval.places import default_root, forget

    root = cache or default_root()
    click.echo(f"{forget(root, folder)} indexes of {folder} removed from {root}")


def _end(gallery: Gallery) -> None:
    """Raises: SkippedError: not every photograph could be read; the results were given before."""
    unread = gallery.indexed[0].unread
    for one in unread:
        _say(f"skipped: {one.reason}")
    if unread:
        message = (
            f"{len(unread)} of {gallery.indexed[0].photographs} photographs could not be read and are not searched"
        )
        raise SkippedError(message)


def _say(line: str) -> None:
    click.echo(line, err=True)
