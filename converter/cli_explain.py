"""The command that looks inside a file: `explain`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from converter.errors import ParityError
from converter.records import TOWERS

if TYPE_CHECKING:
    from converter.explained import Explanation, Order
    from converter.pipeline.explain import Chosen
    from converter.records import Tower

DEFAULT_SAMPLES = 4
PICTURE_WIDTH = 150

EXAMPLES = """\b
Examples:
  mcconvert explain artifacts/mobileclip_s1/tflite/image_int8.tflite
  mcconvert explain artifacts/mobileclip_s1/coreml/text_fp16.mlpackage --all
  mcconvert explain broken/image_fp32.onnx --model artifacts/mobileclip_s1      a copy from elsewhere
  mcconvert explain artifacts/mobileclip_s1/onnx/image_fp16.onnx --bound 40 --picture depth.svg
"""


@click.command(epilog=EXAMPLES)
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option("-m", "--model", "folder", metavar="FOLDER", default=None,
              type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="The export that the file belongs to, where it does not lie in it: a changed copy, say.  "
                   "[default: the nearest folder above the file that has a manifest.json]")  # fmt: skip
@click.option("--tower", type=click.Choice(TOWERS), default=None,
              help="Which tower a copy is of, where its name does not say it.")  # fmt: skip
@click.option("--bound", type=float, metavar="DB", default=None,
              help="The SQNR in dB below which a layer counts as another.  [default: what the row's own tolerance of "
                   "cosine asks for: 47 dB for float32, 27 for float16, 12 for int8]")  # fmt: skip
@click.option("--samples", type=click.IntRange(1), default=DEFAULT_SAMPLES, show_default=True,
              help="Inputs to run, spread over the stored samples; more find inputs that make it worse.")  # fmt: skip
@click.option("--all", "every", is_flag=True, help="A row for every value, not only the last of each module.")
@click.option("--json", "as_json", is_flag=True, help="Everything as JSON on standard output, for programs.")
@click.option("--picture", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.svg", default=None,
              help="Write verdict and table as a picture too.")  # fmt: skip
def explain(artifact: Path, folder: Path | None, tower: Tower | None, bound: float | None, samples: int, every: bool,
            as_json: bool, picture: Path | None) -> None:  # fmt: skip
    """Find where ARTIFACT, an exported file, parts from the PyTorch model: at which layer, and on what input.

    The file and the stored PyTorch tower run on the same samples. Every value that the file computes on its way is
    matched with the PyTorch module that it came from, and each layer gets two figures in dB (SQNR; 20 more is ten times
    nearer): how near the file is to PyTorch there, and "by itself", what this layer alone would leave if all before
    it were right. A layer that is low by itself is at fault; one that is low without being low by itself only carries
    on what came before.

    Marks: > the layer to look at, < the first below the bound, ! more layers at fault. The exit code is 0 when the file
    holds, 6 when it parts from the reference.
    """
    from converter.pipeline.explain import choose, find_folder
    from converter.pipeline.explain import explain as explain_file
    from converter.publishing.manifest import read_manifest
    from converter.report.console import print_json

    place = (folder or find_folder(artifact)).resolve()
    chosen = choose(artifact, place, read_manifest(place), tower)
    _say_chosen(chosen)
    explained = explain_file(chosen, _order(chosen, bound, samples), _say)
    if as_json:
        print_json(explained)
    else:
        _print(explained, every=every)
    if picture is not None:
        _picture(explained, picture, every=every)
    sys.exit(ParityError.exit_code if explained.parts else 0)


def _order(chosen: Chosen, bound: float | None, samples: int) -> Order:
    from converter.explained import Order
    from converter.parity.suspicion import bound_of

    entry = chosen.entry
    bound_db, why = bound_of(entry.tolerances, entry.precision) if bound is None else (bound, "--bound")
    return Order(samples=samples, bound_db=bound_db, bound_why=why)


def _print(explained: Explanation, *, every: bool) -> None:
    from converter.report.console import open_console
    from converter.report.layers import layers_view

    open_console().print(layers_view(explained, every=every), highlight=False)


def _picture(explained: Explanation, path: Path, *, every: bool) -> None:
    from converter.report.layers import layers_view
    from converter.report.picture import save_svg

    save_svg(layers_view(explained, every=every), path, title=f"{explained.entry} along its depth", width=PICTURE_WIDTH)
    _say(f"picture written to {path}")


def _say_chosen(chosen: Chosen) -> None:
    _say(f"taken for {chosen.entry.step_id} of {chosen.folder.name}, by {chosen.chosen_by}")
    if chosen.changed:
        _say(f"note: its bytes are not those that {chosen.entry.step_id} was judged by")


def _say(line: str) -> None:
    click.echo(line, err=True)
