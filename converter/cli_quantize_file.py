"""The command that quantizes an image model given as a file: `quantize-file`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from converter.completion import complete_recipes
from converter.errors import ParityError, UsageError

if TYPE_CHECKING:
    from converter.records import Preprocessing, Recipe

CHANNELS = 3
IMAGENET = {"mean": "0.485,0.456,0.406", "std": "0.229,0.224,0.225"}

EXAMPLES = """\b
Examples:
  mcconvert quantize-file resnet18.onnx --recipe static_w8a8 --mean imagenet --std imagenet
  mcconvert quantize-file mine.tflite --recipe dynamic_w8 --mean 0 --std 1 --images photographs
  mcconvert quantize-file resnet18.onnx --recipe static_w8a8 --mean imagenet --std imagenet \\
      --calibration imagenet/train-sample --images imagenet/val --resize 256
"""


@click.command(name="quantize-file", epilog=EXAMPLES)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-r", "--recipe", default="static_w8a8", show_default=True, metavar="NAME|FILE",
              shell_complete=complete_recipes, help="How numbers are stored and computed.")  # fmt: skip
@click.option("-t", "--target", "targets", multiple=True, type=click.Choice(["tflite", "onnx"]),
              help="Format to write. Repeat for several.  [default: both for .onnx, tflite for .tflite]")  # fmt: skip
@click.option("--mean", required=True, metavar="R,G,B|imagenet",
              help="What is subtracted from pixels in [0, 1]; one number counts for all channels.")  # fmt: skip
@click.option("--std", required=True, metavar="R,G,B|imagenet",
              help="What they are divided by then; 0.00392157 for a file that takes 0 to 255.")  # fmt: skip
@click.option("--size", type=click.IntRange(1), default=None, metavar="PIXELS",
              help="Side of the images, where the file leaves it open.")  # fmt: skip
@click.option("--resize", type=click.IntRange(1), default=None, metavar="PIXELS",
              help="The shortest side before the centre is cropped out.  [default: the images' side]")  # fmt: skip
@click.option("--interpolation", type=click.Choice(["bilinear", "bicubic", "nearest", "lanczos"]), default="bilinear",
              show_default=True, help="How pictures are resized.")  # fmt: skip
@click.option("--calibration", type=click.Path(exists=True, path_type=Path), default=None, metavar="PATH",
              help="Images that ranges are taken from: a folder, an archive, arrays or parquet, as an export takes "
                   "them.  [default: 128 views of built-in photographs]")  # fmt: skip
@click.option("--images", type=click.Path(exists=True, file_okay=False, path_type=Path), default=None, metavar="FOLDER",
              help="Images that files are judged on, none of them calibrated on. With a folder for each class, "
                   "accuracy is counted too.  [default: 64 views of other built-in photographs]")  # fmt: skip
@click.option("-o", "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("artifacts/quantized"),
              show_default=True, help="Folder for what is made.")  # fmt: skip
@click.option("--threads", type=click.IntRange(1, 64), default=2, show_default=True, help="Of every file that runs.")
@click.option("--json", "as_json", is_flag=True, help="Results as JSON on standard output.")
def quantize_file_command(
    file: Path, *, recipe: str, targets: tuple[str, ...], mean: str, std: str, size: int | None, resize: int | None,
    interpolation: str, calibration: Path | None, images: Path | None, out: Path, threads: int, as_json: bool,
) -> None:  # fmt: skip
    """Quantize any image model in FILE (.onnx or .tflite, float32), and judge the result beside it.

    The recipes are those of the towers, so that the quantizer can be checked on a model whose accuracy you know. FILE
    takes one square RGB image and gives one float output: class logits, an embedding.
    """
    from converter.judged import QuantizeOrder
    from converter.pipeline.quantize_file import quantize_file
    from converter.report.console import open_console, print_json
    from converter.report.quantized_file import print_quantized

    order = QuantizeOrder(
        file=str(file), recipe=_recipe(recipe), formats=targets,  # type: ignore[arg-type]  # of the same words
        preprocessing=_preprocessing(mean, std, size, resize, interpolation),
        calibration=str(calibration) if calibration else None, images=str(images) if images else None, out=str(out),
        threads=threads,
    )  # fmt: skip
    found = quantize_file(order, lambda line: click.echo(line, err=True))
    if as_json:
        print_json(found)
    else:
        print_quantized(open_console(), found)
    broken = [one for one in found.files if one.agreed is not None and one.agreed.nonfinite]
    made = [one for one in found.files if one.path]
    if not made:
        raise UsageError("; ".join(f"{one.format}: {one.why_not}" for one in found.files))
    sys.exit(ParityError.exit_code if broken else 0)


def _recipe(name: str) -> Recipe:
    from converter.config import load_config
    from converter.errors import nearest
    from converter.recipe_files import is_recipe_file, recipe_name

    files = (name,) if is_recipe_file(name) else ()
    known = load_config(recipe_files=files).recipes
    wanted = recipe_name(name) if files else name
    if wanted not in known:
        message = f"unknown recipe '{name}'; {nearest(name, known)}"
        raise UsageError(message)
    return known[wanted]


def _preprocessing(mean: str, std: str, size: int | None, resize: int | None, interpolation: str) -> Preprocessing:
    """`size` 0 stands for what the file says."""
    from converter.records import Preprocessing

    offsets, scales = _numbers("mean", mean), _numbers("std", std)
    if min(scales) <= 0:
        message = f"--std {std}: expected numbers above 0, pixels are divided by them"
        raise UsageError(message)
    low = min(-offset / scale for offset, scale in zip(offsets, scales, strict=True))
    high = max((1 - offset) / scale for offset, scale in zip(offsets, scales, strict=True))
    return Preprocessing(
        size=size or 0, resize_size=resize, interpolation=interpolation, mean=offsets, std=scales,  # type: ignore[arg-type]
        value_range=(low, high),
    )  # fmt: skip


def _numbers(option: str, text: str) -> tuple[float, float, float]:
    try:
        values = [float(part) for part in (IMAGENET[option] if text == "imagenet" else text).split(",")]
    except ValueError:
        values = []
    if len(values) == 1:
        values *= CHANNELS
    if len(values) != CHANNELS:
        message = f"--{option} {text}: expected 1 or {CHANNELS} numbers such as {IMAGENET[option]}, or imagenet"
        raise UsageError(message)
    return values[0], values[1], values[2]
