"""The commands that use what was exported: `embed` and `classify`."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from converter.completion import complete_models
from converter.errors import MissingDependencyError, SkippedError, UsageError

if TYPE_CHECKING:
    from converter.inference import Skipped, Space
    from converter.inference.embedding import Embedded
    from converter.records import Tower
    from converter.runtimes import Runtime

DEFAULT_TOP = 5

EMBED_EXAMPLES = """\b
Examples:
  mcconvert embed cat.jpg dog.jpg --with artifacts/mobileclip_s1
  mcconvert embed photos/ --with artifacts/mobileclip_s1/onnx/image_fp16.onnx --out photos.npz
  mcconvert embed photos/ --out photos.parquet --model mobileclip_s1      PyTorch, no exported file
  mcconvert embed --text "a red bicycle" --with artifacts/mobileclip_s1:tflite/fp32 --json
"""

CLASSIFY_EXAMPLES = """\b
Examples:
  mcconvert classify cat.jpg --labels cat,dog,bicycle --with artifacts/mobileclip_s1
  mcconvert classify photos/ --labels-file labels.txt --top 1 --json
  mcconvert classify cat.jpg --labels cat,dog --with artifacts/mobileclip_s1:onnx/fp32 \\
      --with artifacts/mobileclip_s1:tflite/int8                          side by side
  mcconvert classify cat.jpg --labels cat,dog --with A --with B --ensemble
"""

PYTORCH_OPTIONS = [
    click.option("-m", "--model", metavar="NAME", shell_complete=complete_models,
                 help="Model to run in PyTorch; beside --with it gets a column of its own.  [default: mobileclip_s1]"),
    click.option("-w", "--weights", metavar="auto|hub|seeded|FILE",
                 help="Weights of the PyTorch model, as for an export.  [default: auto]"),
]  # fmt: skip
"""Which model runs without an exported file, or beside one."""

SPACE_OPTIONS = [
    click.option("--with", "files", multiple=True, metavar="FILE|FOLDER[:ROW]", type=click.Path(),
                 help="An exported file, a model's folder (its float32 files: ONNX, else TorchScript, else TFLite), or "
                      "a row of it such as artifacts/mobileclip_s1:onnx/fp16. Repeat to compare.  "
                      "[default: the PyTorch model]"),
    *PYTORCH_OPTIONS,
    click.option("--ensemble", is_flag=True, help="Average what several --with give."),
    click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), default="auto", show_default=True,
                 help="Where PyTorch, TorchScript and ONNX compute. auto: CUDA where it is installed, else the CPU."),
    click.option("--threads", type=click.IntRange(1, 256), default=None, help="Threads on the CPU.  [default: cores]"),
    click.option("--batch", type=click.IntRange(1, 4096), default=8, show_default=True,
                 help="Inputs a call, where the file leaves it open; files for phones take one at a time."),
    click.option("--json", "as_json", is_flag=True, help="Results as JSON on standard output, for programs."),
]  # fmt: skip


def space_options[F: Callable[..., Any]](function: F) -> F:
    """The options that say what runs, and where."""
    return functools.reduce(lambda inner, option: option(inner), reversed(SPACE_OPTIONS), function)


@click.command(epilog=EMBED_EXAMPLES)
@click.argument("images", nargs=-1, metavar="[IMAGE|FOLDER]...", type=click.Path(exists=True, path_type=Path))
@click.option("--text", "texts", multiple=True, metavar="TEXT", help="A text to embed too. Repeat for several.")
@click.option(
    "--texts",
    "texts_file",
    metavar="FILE",
    type=click.Path(),
    help="Texts in a file, a line each; - reads standard input.",
)
@click.option("-o", "--out", type=click.Path(path_type=Path), default=None, metavar="FILE",
              help="Write to .npy (names in FILE.npy.json), .npz or .parquet.  [default: print a table]")  # fmt: skip
@space_options
def embed(*, images: tuple[Path, ...], texts: tuple[str, ...], texts_file: str | None, out: Path | None, ensemble: bool,
          as_json: bool, **options: Any) -> None:  # fmt: skip
    """Embed images and texts: unit vectors, nearer the more alike, images and texts in one space.

    Rows keep the order given, images before texts; a folder gives all images in it, sorted. An image that cannot be
    read is skipped and said, and the exit code is 8.
    """
    from converter.inference.embedding import Embedded, averaged, embed_images, embed_texts, require_one_space
    from converter.inference.reading import find_images, read_lines
    from converter.inference.tables import embedded_json, embedded_table, origin
    from converter.inference.writing import require_writable, write_rows
    from converter.report.console import open_console, print_json

    _require_several(options, ensemble=ensemble)
    paths = find_images(images, _say)
    lines = [*texts, *(read_lines(texts_file) if texts_file else ())]
    if not paths and not lines:
        message = "nothing to embed; give images, a folder, --text or --texts ('mcconvert embed --help' has examples)"
        raise UsageError(message)
    if out is not None:
        require_writable(out, 1 if ensemble else _count_spaces(options))
    towers: list[Tower] = [*(["image"] if paths else []), *(["text"] if lines else [])]  # type: ignore[list-item]
    with _opened(options, towers) as spaces:
        if ensemble:
            require_one_space(spaces)
        with counting(len(paths) + len(lines), "inputs") as advanced:
            seen = embed_images(spaces, paths, options["batch"], advanced)
            read = embed_texts(spaces, lines, options["batch"], advanced)
    both = Embedded(rows=(*seen.rows, *read.rows), skipped=seen.skipped)
    _require_some(both, len(paths))
    done = averaged(both) if ensemble else both
    if out is not None:
        write_rows(out, done.rows, origin(spaces))
        _say(f"{len(done.rows)} rows written to {out}")
    if as_json:
        print_json(embedded_json(done, spaces, ensemble=ensemble, out=str(out) if out else None))
    elif out is None:
        open_console().print(embedded_table(done, ["ensemble"] if ensemble else [space.name for space in spaces]))
    _end(both.skipped, len(paths))


@click.command(epilog=CLASSIFY_EXAMPLES)
@click.argument(
    "images", nargs=-1, required=True, metavar="IMAGE|FOLDER...", type=click.Path(exists=True, path_type=Path)
)
@click.option("-l", "--labels", metavar="A,B,C", help="Labels to choose from, with commas between.")
@click.option(
    "--labels-file", metavar="FILE", type=click.Path(), help="Labels in a file, a line each; - reads standard input."
)
@click.option(
    "--template",
    "templates",
    multiple=True,
    metavar="TEXT",
    help="How a label becomes a text, {} its place. Repeat to average several.  [default: a photo of a {}]",
)
@click.option("--top", type=click.IntRange(1), default=DEFAULT_TOP, show_default=True, help="Labels shown an image.")
@space_options
def classify(*, images: tuple[Path, ...], labels: str | None, labels_file: str | None, templates: tuple[str, ...],
             top: int, ensemble: bool, as_json: bool, **options: Any) -> None:  # fmt: skip
    """Say which labels fit each image: probabilities over the labels, the best first.

    Nothing is trained for it: labels become texts, and the nearest text wins. Both towers are needed; for an image
    file its text file is taken from the same folder.
    """
    from converter.inference.classifying import TEMPLATE, best, label_vectors, prompts
    from converter.inference.classifying import classify as judge
    from converter.inference.embedding import embed_images
    from converter.inference.reading import find_images
    from converter.inference.tables import classified_json, classified_table
    from converter.report.console import open_console, print_json

    names, sayings = _labels(labels, labels_file), templates or (TEMPLATE,)
    for saying in sayings:
        prompts(names, saying)
    _require_several(options, ensemble=ensemble)
    paths = find_images(images, _say)
    with _opened(options, ["image", "text"]) as spaces:
        vectors = [label_vectors(space, names, sayings, options["batch"]) for space in spaces]
        with counting(len(paths), "images") as advanced:
            seen = embed_images(spaces, paths, options["batch"], advanced)
    _require_some(seen, len(paths))
    classified = best(judge(spaces, seen, names, vectors, ensemble=ensemble), top)
    if as_json:
        print_json(classified_json(classified, spaces))
    else:
        open_console().print(classified_table(classified))
    _end(seen.skipped, len(paths))


@contextmanager
def _opened(options: dict[str, Any], towers: Sequence[Tower]) -> Iterator[list[Space]]:
    from converter.inference import Compute
    from converter.inference.opening import Wanted, open_spaces, untrained
    from converter.report.console import warn_untrained

    threads = options["threads"] or os.cpu_count() or 1
    wanted = Wanted(
        files=options["files"], model=options["model"], weights=options["weights"], towers=tuple(towers),
        compute=Compute(device=options["device"], threads=threads, batch=options["batch"]),
    )  # fmt: skip
    with ExitStack() as stack:
        spaces = open_spaces(wanted, runtime_of, _say, stack)
        warning = untrained(spaces)
        if warning:
            warn_untrained(warning)
        yield spaces


@contextmanager
def counting(total: int, what: str) -> Iterator[Callable[[int], None]]:
    """A counter on standard error of so many to come."""
    from converter.inference.progress import Counter
    from converter.report.console import open_console

    with Counter(open_console(stderr=True), total, what) as counter:
        yield counter.advanced


def _count_spaces(options: dict[str, Any]) -> int:
    pytorch = bool(options["model"] or options["weights"] or not options["files"])
    return len(options["files"]) + pytorch


def _require_several(options: dict[str, Any], *, ensemble: bool) -> None:
    if ensemble and _count_spaces(options) < 2:
        message = "--ensemble needs two models or more: repeat --with"
        raise UsageError(message)


def runtime_of(fmt: str) -> Runtime:
    """The runtime of a format. Raises: MissingDependencyError: what it needs is not installed."""
    from converter.pipeline.plugins import load_runtime, missing

    runtime = load_runtime(fmt)
    absent = missing(runtime.REQUIRES)
    if absent:
        message = f"{fmt} files need {', '.join(absent)}, not installed here: pip install {' '.join(absent)}"
        raise MissingDependencyError(message)
    return runtime


def _labels(given: str | None, file: str | None) -> list[str]:
    from converter.inference.reading import read_lines

    labels = [label.strip() for label in (given or "").split(",") if label.strip()]
    labels += read_lines(file) if file else []
    if not labels:
        message = "no labels; give --labels cat,dog,bicycle or --labels-file FILE"
        raise UsageError(message)
    return labels


def _require_some(embedded: Embedded, images: int) -> None:
    if not embedded.rows:
        _end(embedded.skipped, images)


def _end(skipped: Sequence[Skipped], images: int) -> None:
    """Raises: SkippedError: not every image could be read; the results were given before."""
    for one in skipped:
        _say(f"skipped: {one.reason}")
    if skipped:
        message = f"{len(skipped)} of {images} images could not be read and were skipped"
        raise SkippedError(message)


def _say(line: str) -> None:
    click.echo(line, err=True)
