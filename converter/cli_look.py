"""The commands that look at what there is and at what was made: `models`, `targets`, `doctor`, `clean`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from converter.completion import complete_models
from converter.errors import ConversionError, MissingDependencyError

if TYPE_CHECKING:
    from converter.models.catalog import Source


@click.command()
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
        print_records(facts, as_json=as_json, table=lambda: model_table(spec, why_no_text(spec), known))
        return
    found = listing(word, source)
    print_records(found, as_json=as_json, table=lambda: models_table(found))


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON on standard output.")
def targets(*, as_json: bool) -> None:
    """List the targets with their rows: what --target and --quant take."""
    from converter.config import load_config
    from converter.pipeline.plugins import extra_targets
    from converter.report.listings import targets_table

    config = load_config(extra_targets=extra_targets())
    print_records(config.targets, as_json=as_json, table=lambda: targets_table(config))


@click.command()
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
    print_records(findings, as_json=as_json, table=lambda: findings_table(findings))
    if any("pip install" in finding.advice for finding in findings):
        sys.exit(MissingDependencyError.exit_code)
    sys.exit(ConversionError.exit_code if any(finding.damaged for finding in findings) else 0)


@click.command()
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


def print_records(records: object, *, as_json: bool, table: Callable[[], Any]) -> None:
    """Records as JSON on standard output, or as the table that is made of them only then."""
    from converter.report.console import open_console, print_json

    if as_json:
        print_json(records)
    else:
        open_console().print(table())
