"""The command that hands a model over to an app's developer: `bundle`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from converter.bundled import PLATFORMS, Platform
from converter.errors import UsageError
from converter.records import TOWERS, Tower

if TYPE_CHECKING:
    from converter.bundled import Bundle

EXAMPLES = """\b
Examples:
  mcconvert bundle artifacts/mobileclip_s1 --for web
  mcconvert bundle artifacts/mobileclip_s1 --for android --image tflite/int8 --archive zip
  mcconvert bundle artifacts/mobileclip_s1 --for ios --tower image --out handover/ios
"""


@click.command(epilog=EXAMPLES)
@click.argument("folder", metavar="FOLDER", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--for",
    "platform",
    type=click.Choice(PLATFORMS),
    required=True,
    help="Who takes it: ios (Swift, Core ML), android (Kotlin, LiteRT), web (JavaScript, onnxruntime-web), "
    "python (onnxruntime), server (the same behind HTTP, with batches).",
)
@click.option(
    "--image", metavar="ROW", help="Row of the image file, such as onnx/fp16.  [default: a float row that PASSED]"
)
@click.option(
    "--text", metavar="ROW", help="Row of the text file, such as onnx/fp32.  [default: a float row that PASSED]"
)
@click.option(
    "--tower",
    type=click.Choice([*TOWERS, "both"]),
    default="both",
    show_default=True,
    help="One tower only: an app that stores text embeddings needs no text file.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    default=None,
    help="Where to write it; with --archive without the ending.  [default: bundles/MODEL_PLATFORM]",
)
@click.option("--archive", type=click.Choice(["zip"]), default=None, help="Write one DIR.zip instead of a folder.")
@click.option(
    "--without-reference",
    is_flag=True,
    help="Leave out what 'mcconvert verify' judges the files against, and be as small as can be.",
)
@click.option("--json", "as_json", is_flag=True, help="Results as JSON on standard output.")
def bundle(
    folder: Path, *, platform: Platform, image: str | None, text: str | None, tower: str, out: Path | None,
    archive: str | None, without_reference: bool, as_json: bool,
) -> None:  # fmt: skip
    """Hand over an exported model: proven files, tokenizer, and a working sample with a test of its own.

    FOLDER is artifacts/MODEL. Refuses files that did not PASS (exit code 7) and files whose bytes changed since (6).
    The README in the bundle says how to run the sample, and which checks it went through.
    """
    from converter.bundling.choosing import Rows
    from converter.report.console import print_json, warn_untrained
    from converter.session_bundle import BundleRequest
    from converter.session_bundle import bundle as write_bundle

    rows = Rows(platform=platform, towers=_towers(tower), named=_named(tower, image=image, text=text))
    made = write_bundle(
        BundleRequest(folder=folder, rows=rows, out=out, archive=archive is not None, reference=not without_reference)
    )
    if not made.trained:
        warn_untrained(
            f"{made.model}: the weights are NOT TRAINED. The bundle runs, and its embeddings mean nothing; its README "
            "says so too. Trained weights: mcconvert --weights FILE, or --weights hub."
        )
    if as_json:
        print_json(made)
    else:
        _print(made)


def _towers(tower: str) -> tuple[Tower, ...]:
    return TOWERS if tower == "both" else (tower,)  # type: ignore[return-value]


def _named(tower: str, **rows: str | None) -> dict[Tower, str]:
    named = {one: row for one, row in rows.items() if row}
    for one in named:
        if tower not in ("both", one):
            message = f"--{one} {named[one]} and --tower {tower} contradict each other: leave one of them out"
            raise UsageError(message)
    return named  # type: ignore[return-value]


def _print(made: Bundle) -> None:
    from converter.report.summary import size_words

    for file in made.artifacts:
        click.echo(f"{file.path}  {size_words(file.size_bytes)}  cosine with PyTorch {file.cosine:.6f}")
    click.echo(f"{made.model} for {made.platform}: {made.files} files, {size_words(made.size_bytes)}, in {made.path}")
