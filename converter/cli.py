"""The command line: parse, call, print; nothing else.

Results go to standard output, progress and notices to standard error. Exit codes: 0 ok, 1 bug, 2 usage or
configuration, 3 missing dependency, 4 weights unavailable, 5 conversion failed, 6 parity failed, 7 publishing
refused, 8 some inputs were skipped, 130 interrupted, 141 the reader of its output went.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from converter import __version__
from converter.cli_advise import advise
from converter.cli_bench import bench
from converter.cli_bundle import bundle
from converter.cli_explain import explain
from converter.cli_look import clean, doctor, models, print_records, targets
from converter.cli_publish import diff, publish
from converter.cli_quantize import quantize
from converter.cli_quantize_file import quantize_file_command
from converter.cli_report import report
from converter.cli_search import demo, search
from converter.cli_sign import keygen, sign
from converter.cli_use import classify, embed
from converter.cli_verify import verify
from converter.completion import complete_models, complete_quants, complete_targets
from converter.errors import (
    INTERRUPTED_EXIT_CODE,
    READER_GONE_EXIT_CODE,
    ConversionError,
    McconvertError,
    UsageError,
    system_words,
)
from converter.records import TOWERS, to_json
from converter.watched import is_to_be_watched, watch

if TYPE_CHECKING:
    from converter.session import Prepared, Request

EXAMPLES = """\b
Examples:
  mcconvert                                    everything, as configs/pipelines/export-all.yaml says
  mcconvert --target tflite --quant int8       both towers as INT8 files for LiteRT
  mcconvert --target onnx --target coreml --tower image
  mcconvert --model mobileclip2_s0 --weights ./my.safetensors
  mcconvert plan --set onnx.fp32.options.opset=17
  mcconvert verify artifacts/mobileclip_s1     judge the files on disk again
  mcconvert verify artifacts/mobileclip_s1 --matrix      do the files agree with each other?
  mcconvert report artifacts/mobileclip_s1     all of it as one HTML page
  mcconvert publish s3://bucket/models --dry-run         what would be published, and may it be?
  mcconvert explain artifacts/mobileclip_s1/tflite/image_int8.tflite     where does it part from PyTorch?
  mcconvert quantize --budget "centred_cosine_mean>=0.97, as fast as possible"    which layers must stay in float?
  mcconvert bundle artifacts/mobileclip_s1 --for web     files, tokenizer and a working sample
  mcconvert classify cat.jpg --labels cat,dog --with artifacts/mobileclip_s1
  mcconvert search --index photos/ --query "a red bicycle" --with artifacts/mobileclip_s1
"""

REQUEST_OPTIONS = [
    click.option("-m", "--model", metavar="NAME", shell_complete=complete_models,
                 help="Model to convert: a name of 'mcconvert models', open_clip:NAME[@TAG], timm:NAME, or "
                      "mobileclip:NAME (Apple's installed package).  [default: mobileclip_s1]"),
    click.option("-t", "--target", "targets", multiple=True, metavar="NAME", shell_complete=complete_targets,
                 help="Format to write: torchscript, onnx, tflite, coreml or all. Repeat for several.  "
                      "[default: what the pipeline names]"),
    click.option("-q", "--quant", "quants", multiple=True, metavar="NAME", shell_complete=complete_quants,
                 help="Precision to write: fp32, fp16, int8, a recipe such as static_w8a8 or the YAML file of one, or "
                      "all. Repeat for several.  [default: what the pipeline names]"),
    click.option("--tower", type=click.Choice([*TOWERS, "both"]), default=None,
                 help="One tower only: an app that stores text embeddings needs no text tower.  [default: both]"),
    click.option("--input", type=click.Choice(["tensor", "image"]), default=None,
                 help="What the image files take. tensor: floats that the app scales and normalises. image: uint8 RGB "
                      "pixels, resized and cropped by the app, normalised inside the file.  [default: tensor]"),
    click.option("-w", "--weights", metavar="auto|hub|seeded|FILE",
                 help="auto: local cache, then the hub, then seeded with a notice. seeded: untrained but awake, for "
                      "trying the pipeline. FILE: a .pt, .safetensors or a folder.  [default: auto]"),
    click.option("-c", "--config", type=click.Path(exists=True, dir_okay=False, path_type=Path), default=None,
                 help="A pipeline of your own in YAML instead of export-all.yaml."),
    click.option("-s", "--set", "settings", multiple=True, metavar="KEY=VALUE",
                 help="Change one setting, for example onnx.fp32.options.opset=17 or limits.minutes=10. Repeatable."),
    click.option("-o", "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("artifacts"),
                 show_default=True, help="Folder for what is made; each model gets a folder in it."),
    click.option("--images", type=click.Path(exists=True, file_okay=False, path_type=Path), default=None,
                 help="Folder of your own photographs to judge the image tower on, instead of the built-in ones."),
    click.option("--calibration", "--calibration-images", "calibration_images", metavar="PATH", default=None,
                 type=click.Path(exists=True, path_type=Path),
                 help="Photographs to calibrate INT8 with: a folder, a .zip or .tar, uint8 pixels in .npy or .npz, or "
                      "parquet; none may be among --images.  [default: built-in photographs]"),
    click.option("--calibration-captions", metavar="FILE", default=None,
                 type=click.Path(exists=True, dir_okay=False, path_type=Path),
                 help="Captions to calibrate INT8 with: .txt, .json, .jsonl, .csv, .tsv, or an archive of .txt.  "
                      "[default: built-in captions]"),
    click.option("-j", "--jobs", type=click.IntRange(1, 64), default=None,
                 help="Steps side by side. Each takes up to 2 threads and a few GiB.  [default: 1]"),
    click.option("--part", metavar="TARGET/TOWER", default=None,
                 help="Of all that is selected only one target of one tower, as 'plan --matrix' divides a run for the "
                      "jobs of a CI service.  [default: everything]"),
    click.option("-f", "--force", is_flag=True, help="Run every step again, whatever the cache holds."),
    click.option("--json", "as_json", is_flag=True, help="Results as JSON on standard output, for programs."),
    click.option("-v", "--verbose", is_flag=True, help="Say why each row failed as it ends, and when steps begin."),
]  # fmt: skip


def request_options[F: Callable[..., Any]](function: F) -> F:
    """The options that say what to make."""
    return functools.reduce(lambda inner, option: option(inner), reversed(REQUEST_OPTIONS), function)


@click.group(invoke_without_command=True, epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@request_options
@click.option("-n", "--dry-run", is_flag=True, help="Print the plan with its reasons and stop; same as 'plan'.")
@click.version_option(__version__, prog_name="mcconvert")
@click.pass_context
def cli(context: click.Context, /, *, dry_run: bool, as_json: bool, verbose: bool, **options: Any) -> None:
    """Convert MobileCLIP and its relatives to what phones, servers and browsers run, and prove each file.

    Without a command it exports: builds the PyTorch reference, converts, runs every file on real photographs and
    captions, and writes the files with their manifest to artifacts/MODEL. What did not change is not made again.
    """
    if context.invoked_subcommand is not None:
        return
    request = _request(options)
    if dry_run:
        _print_plan(request, as_json=as_json)
        return
    sys.exit(_export(request, as_json=as_json, verbose=verbose))


@cli.command()
@request_options
@click.option("--matrix", is_flag=True, help="Instead: the jobs of a CI matrix as one line of JSON, docs/ci.md.")
def plan(*, as_json: bool, verbose: bool, matrix: bool, **options: Any) -> None:
    """Print what an export would do, step by step, and why; run nothing."""
    del verbose
    if matrix:
        _print_matrix(_request(options))
    else:
        _print_plan(_request(options), as_json=as_json)


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print tab completion for SHELL: eval "$(mcconvert completion bash)"."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        message = f"no completion for {shell}"
        raise UsageError(message)
    click.echo(kind(cli, {}, "mcconvert", "_MCCONVERT_COMPLETE").source())


cli.add_command(models)
cli.add_command(targets)
cli.add_command(doctor)
cli.add_command(clean)
cli.add_command(embed)
cli.add_command(classify)
cli.add_command(search)
cli.add_command(demo)
cli.add_command(verify)
cli.add_command(publish)
cli.add_command(diff)
cli.add_command(keygen)
cli.add_command(sign)
cli.add_command(report)
cli.add_command(explain)
cli.add_command(quantize)
cli.add_command(quantize_file_command)
cli.add_command(bench)
cli.add_command(advise)
cli.add_command(bundle)


def main() -> NoReturn:
    """Entry point: every refusal becomes one message and its exit code; a bug keeps its traceback."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code = _run()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered goes nowhere
        code = READER_GONE_EXIT_CODE
    sys.exit(code)


def _run() -> int:
    try:
        if is_to_be_watched(sys.argv[1:]):
            return watch(sys.argv[1:])
        cli.main(standalone_mode=False, prog_name="mcconvert")
    except click.exceptions.Exit as done:
        return done.exit_code
    except SystemExit as done:
        if isinstance(done.__context__, BrokenPipeError):  # click says 1 of it, as of a bug
            raise done.__context__ from None
        return done.code if isinstance(done.code, int) else 1
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted; what had ended is kept, run again to go on", err=True)
        return INTERRUPTED_EXIT_CODE
    except click.ClickException as error:
        error.show()
        return 2
    except McconvertError as error:
        click.echo(f"mcconvert: {error}", err=True)
        return error.exit_code
    except BrokenPipeError:
        raise
    except OSError as error:
        click.echo(f"mcconvert: {system_words(error)}", err=True)
        return ConversionError.exit_code
    return 0


def _request(options: dict[str, Any]) -> Request:
    from converter.session import Request

    tower = options.pop("tower")
    towers = () if tower is None else TOWERS if tower == "both" else (tower,)
    return Request(towers=towers, **options)


def _export(request: Request, *, as_json: bool, verbose: bool) -> int:
    from converter.pipeline.run import exit_code_of
    from converter.publishing.checksums import is_signed
    from converter.report.console import open_console
    from converter.report.live import LiveLines
    from converter.report.summary import print_summary
    from converter.session import export, prepare
    from converter.session_report import report_after

    prepared = prepare(request)
    _notice(prepared)
    signed = is_signed(prepared.workspace.folder)
    with LiveLines(open_console(stderr=True), verbose=verbose) as live:
        report = export(prepared, live.started, live.finished)
    if as_json:
        click.echo(to_json(report.results).decode(), nl=False)
    elif report.results:
        weights = f"{prepared.weights.kind} weights" + ("" if prepared.weights.trained else ", NOT TRAINED")
        print_summary(open_console(), report.results, f"{prepared.spec.id}, {weights}: {prepared.workspace.folder}")
    if report.peak_rss_bytes:
        click.echo(f"peak memory of all steps together: {report.peak_rss_bytes / 2**30:.1f} GiB", err=True)
    if signed and not is_signed(prepared.workspace.folder):
        click.echo("the signature was removed: it was over what the folder said before; sign again", err=True)
    if report.interrupted:
        raise KeyboardInterrupt
    report_after(prepared, report, functools.partial(click.echo, err=True))
    return exit_code_of(report.results)


def _print_plan(request: Request, *, as_json: bool) -> None:
    from converter.report.listings import plan_table
    from converter.session import plan as make_plan
    from converter.session import prepare

    prepared = prepare(request)
    _notice(prepared)
    planned = make_plan(prepared)
    print_records(planned, as_json=as_json, table=lambda: plan_table(planned))


def _print_matrix(request: Request) -> None:
    import json

    import msgspec

    from converter.session import prepare
    from converter.session_matrix import matrix_of

    prepared = prepare(request)
    _notice(prepared)
    click.echo(json.dumps(msgspec.to_builtins(matrix_of(request, prepared))))


def _notice(prepared: Prepared) -> None:
    from converter.publishing.manifest import read_manifest

    if prepared.workspace.manifest.exists():
        try:
            read_manifest(prepared.workspace.manifest)
        except UsageError as error:
            click.echo(f"{error}\nan export writes a new one that lists the rows of that run only", err=True)
    if prepared.left_out:
        click.echo(f"image tower only: {prepared.left_out}", err=True)
    if prepared.weights.notice:
        from converter.report.console import warn_untrained

        warn_untrained(prepared.weights.notice)


if __name__ == "__main__":
    main()
