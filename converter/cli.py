"""The command line: parse, call, print; nothing else.

Results go to standard output, progress and notices to standard error. Exit codes: 0 ok, 1 bug, 2 usage or
configuration, 3 missing dependency, 4 weights unavailable, 5 conversion failed, 6 parity failed, 7 publishing
refused, 8 some inputs were skipped, 130 interrupted.
"""

from __future__ import annotations

import functools
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from converter import __version__
from converter.cli_explain import explain
from converter.cli_publish import diff, publish
from converter.cli_quantize import quantize
from converter.cli_quantize_file import quantize_file_command
from converter.cli_report import report
from converter.cli_sign import keygen, sign
from converter.cli_use import classify, embed
from converter.cli_verify import verify
from converter.completion import complete_models, complete_quants, complete_targets
from converter.errors import (
    INTERRUPTED_EXIT_CODE,
    ConversionError,
    McconvertError,
    MissingDependencyError,
    UsageError,
    system_words,
)
from converter.records import TOWERS, to_json
from converter.watched import is_to_be_watched, watch

if TYPE_CHECKING:
    from converter.models.catalog import Source
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
  mcconvert classify cat.jpg --labels cat,dog --with artifacts/mobileclip_s1
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
@click.argument("word", metavar="[WORD]", default="")
@click.option(
    "--source",
    type=click.Choice(["yaml", "open_clip", "timm"]),
    default="yaml",
    show_default=True,
    help="yaml: models with a description of their own. open_clip, timm: all that the library knows.",
)
@click.option(
    "--show",
    metavar="NAME",
    shell_complete=complete_models,
    help="All facts of one model: preprocessing, parameters, licence, what was proven.",
)
@click.option("--json", "as_json", is_flag=True, help="As JSON on standard output.")
def models(*, word: str, source: Source, show: str | None, as_json: bool) -> None:
    """List the models that --model takes, or those whose name contains WORD."""
    from converter.models.catalog import find, listing, proven, why_no_text
    from converter.report.listings import model_table, models_table

    if show:
        spec = find(show)
        known = proven(spec)
        facts = {"model": spec, "proven": known}
        _show(facts, as_json=as_json, table=lambda: model_table(spec, why_no_text(spec), known))
        return
    found = listing(word, source)
    _show(found, as_json=as_json, table=lambda: models_table(found))


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON on standard output.")
def targets(*, as_json: bool) -> None:
    """List the targets with their rows: what --target and --quant take."""
    from converter.config import load_config
    from converter.pipeline.plugins import extra_targets
    from converter.report.listings import targets_table

    config = load_config(extra_targets=extra_targets())
    _show(config.targets, as_json=as_json, table=lambda: targets_table(config))


@cli.command()
@click.option("-o", "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("artifacts"),
              show_default=True, help="Folder that exports would write to.")  # fmt: skip
@click.option("--deep", is_flag=True, help="Hash every byte of the cache and of the exported files.")
@click.option("--json", "as_json", is_flag=True, help="As JSON on standard output.")
def doctor(out: Path, *, deep: bool, as_json: bool) -> None:
    """Look at this machine and at what earlier runs wrote: what is missing or broken, and what mends it.

    Exit code 3: a library is missing; 5: files were changed, cut off or lost; 0: neither.
    """
    from converter.config import load_config
    from converter.pipeline.cache import Cache
    from converter.pipeline.doctor import examine
    from converter.pipeline.plugins import extra_targets
    from converter.pipeline.workspace import Workspace
    from converter.publishing.manifest import read_manifests
    from converter.report.listings import findings_table

    workspace = Workspace(out=out.resolve(), model="")
    config, cache = load_config(extra_targets=extra_targets()), Cache(workspace.cache_root)
    findings = examine(config, workspace.out, cache, read_manifests(workspace.out), deep=deep)
    _show(findings, as_json=as_json, table=lambda: findings_table(findings))
    if any("pip install" in finding.advice for finding in findings):
        sys.exit(MissingDependencyError.exit_code)
    sys.exit(ConversionError.exit_code if any(finding.damaged for finding in findings) else 0)


@cli.command()
@click.option("-o", "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("artifacts"),
              show_default=True, help="Folder to clean.")  # fmt: skip
@click.option("--cache/--no-cache", default=True, help="Also remove the finished steps kept for reuse.")
@click.option("--models/--no-models", "clean_models", default=True, help="Also remove the exported files.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def clean(out: Path, *, cache: bool, clean_models: bool, yes: bool) -> None:
    """Remove what exports made: only in folders that carry our tag, only files that we wrote and nobody changed."""
    from converter.pipeline.clean import cleanable, remove
    from converter.pipeline.workspace import Workspace
    from converter.publishing.manifest import listed_files, read_manifests

    workspace = Workspace(out=out.resolve(), model="")
    unread = [folder / "manifest.json" for folder, one in read_manifests(workspace.out).items() if isinstance(one, str)]
    found = cleanable(workspace.out, workspace.cache_root, listed_files(workspace.out), unread,
                      models=clean_models, cache=cache)  # fmt: skip
    for path, why in found.kept.items():
        click.echo(f"kept {path}: {why}", err=True)
    doomed = found.ours
    if not doomed:
        click.echo(f"nothing of ours below {workspace.out}")
        return
    click.echo("\n".join(str(path) for path in doomed))
    if yes or click.confirm(f"Remove these {len(doomed)}?", err=True):
        remove(doomed, workspace.out)
        click.echo(f"removed {len(doomed)}", err=True)


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


cli.add_command(embed)
cli.add_command(classify)
cli.add_command(verify)
cli.add_command(publish)
cli.add_command(diff)
cli.add_command(keygen)
cli.add_command(sign)
cli.add_command(report)
cli.add_command(explain)
cli.add_command(quantize)
cli.add_command(quantize_file_command)


def main() -> NoReturn:
    """Entry point: every refusal becomes one message and its exit code; a bug keeps its traceback."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if is_to_be_watched(sys.argv[1:]):
            sys.exit(watch(sys.argv[1:]))
        cli.main(standalone_mode=False, prog_name="mcconvert")
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted; what had ended is kept, run again to go on", err=True)
        sys.exit(INTERRUPTED_EXIT_CODE)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except McconvertError as error:
        click.echo(f"mcconvert: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:
        click.echo(f"mcconvert: {system_words(error)}", err=True)
        sys.exit(ConversionError.exit_code)
    sys.exit(0)


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
    _show(planned, as_json=as_json, table=lambda: plan_table(planned))


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


def _show(records: object, *, as_json: bool, table: Callable[[], Any]) -> None:
    from converter.report.console import open_console, print_json

    if as_json:
        print_json(records)
    else:
        open_console().print(table())


if __name__ == "__main__":
    main()
