"""The commands about versions: `publish` carries one away, `diff` says what changed between two."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from converter.errors import ParityError, UsageError

if TYPE_CHECKING:
    from converter.difference import Difference
    from converter.manifest import Manifest
    from converter.records import StageResult
    from converter.release import Transfer
    from converter.session_publish import Publication

OUT = Path("artifacts")


class PublishCommand(click.Command):
    """`publish --help` shows an address of every destination that is found, those of other packages too."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """What can be waived, and an example of each destination."""
        from converter.publishing.opening import examples

        with formatter.section("Destinations"):
            formatter.write_dl([(address, words) for address, _, words in (one.partition(": ") for one in examples())])
        with formatter.section("What --allow takes"):
            formatter.write_dl(list(_waivers().items()))


@click.command(cls=PublishCommand)
@click.argument("destination", metavar="DEST")
@click.option("--from", "folder", type=click.Path(exists=True, path_type=Path), metavar="FOLDER", default=None,
              help="What to publish.  [default: artifacts/MODEL, where only one model was exported]")  # fmt: skip
@click.option("-n", "--dry-run", is_flag=True, help="Look at everything, change nothing, say what would be carried.")
@click.option("--allow", multiple=True, metavar="WHAT",
              help="Publish although; written into the manifest and the model card. Repeat for several.")  # fmt: skip
@click.option("--verify", is_flag=True, help="Run every file once more before anything is published.")
@click.option("--sign", "key", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="KEY",
              default=None, help="Sign the release with a private key of 'mcconvert keygen'.")  # fmt: skip
@click.option("--sigstore", is_flag=True, help="Sign the release as the CI job that this runs in, by sigstore.")
@click.option("-j", "--jobs", type=click.IntRange(1, 64), default=1, show_default=True,
              help="Files side by side, with --verify.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Results as JSON on standard output.")
def publish(
    destination: str, *, folder: Path | None, dry_run: bool, allow: Sequence[str], verify: bool, key: Path | None,
    sigstore: bool, jobs: int, as_json: bool,
) -> None:  # fmt: skip
    """Publish an exported model to DEST as its next version: v1, v2, ...

    Refuses, with exit code 7, unless every file is proven on its very bytes and the weights are trained. Files arrive
    one by one, the manifest last: an interrupted upload shows nothing, and goes on when run again. A version never
    changes; what is there already is not published twice.
    """
    from converter.session_publish import PublishRequest, default_folder
    from converter.session_publish import publish as publish_model

    request = PublishRequest(
        address=destination, folder=folder or default_folder(OUT), allow=tuple(allow), dry_run=dry_run,
        sign=_signer(key, sigstore=sigstore), verify=_verifier(jobs) if verify else None,
    )  # fmt: skip
    publication = publish_model(request, _say_carried)
    if as_json:
        from converter.report.console import print_json

        print_json(publication)
    else:
        _print(publication)


@click.command()
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@click.option("--model", metavar="NAME", default="",
              help="Which model to look for at ADDRESS@VERSION.  [default: the one of a folder beside it]")  # fmt: skip
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", default=None,
              help="Write it as a page too, which needs nothing from elsewhere.")  # fmt: skip
@click.option("--markdown", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", default=None,
              help="Write it as Markdown too, for a pull request.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="As JSON on standard output.")
def diff(old: str, new: str, *, model: str, html: Path | None, markdown: Path | None, as_json: bool) -> None:
    """Say what changed between two versions of a model: files, parity, verdicts, bounds, recipes, tools.

    OLD and NEW are exported folders, manifests, or published versions: ADDRESS@v1, ADDRESS@latest. Exit code 6 when a
    file that PASSED no longer does, or a required one is gone.
    """
    from converter.publishing.diff import compare_manifests
    from converter.report.console import open_console, print_json
    from converter.report.diff import print_diff
    from converter.session_publish import model_of, opened_manifest

    name = model or model_of((old, new))
    with ExitStack() as stack:
        before, after = (stack.enter_context(opened_manifest(side, name)) for side in (old, new))
    found = compare_manifests(before, after)
    if as_json:
        print_json(found)
    else:
        print_diff(open_console(), found, old, new)
    _write_pages(found, old, new, html=html, markdown=markdown)
    sys.exit(ParityError.exit_code if found.broken else 0)


def _write_pages(found: Difference, old: str, new: str, *, html: Path | None, markdown: Path | None) -> None:
    from converter.files import write_atomically

    if html is not None:
        from converter.report.html import render_diff

        write_atomically(html, render_diff(found, old, new).encode())
    if markdown is not None:
        from converter.report.markdown_diff import lines

        write_atomically(markdown, ("\n".join(lines(found, old, new)) + "\n").encode())
    for path in (html, markdown):
        if path is not None:
            click.echo(f"wrote {path}", err=True)


def _waivers() -> dict[str, str]:
    from converter.publishing.gates import WAIVERS

    return dict(WAIVERS)


def _signer(key: Path | None, *, sigstore: bool) -> Callable[[Path], object] | None:
    if key is not None and sigstore:
        message = "--sign and --sigstore are two ways to sign: give one of them"
        raise UsageError(message)
    if sigstore:
        from converter.publishing.keyless import sign_keyless

        return sign_keyless
    if key is None:
        return None
    from converter.cli_sign import signing_key
    from converter.publishing.signing import sign

    private = signing_key(key)  # asked for before anything is hashed
    return lambda folder: sign(folder, private)


def _verifier(jobs: int) -> Callable[[Path, Manifest], Sequence[StageResult]]:
    def run(folder: Path, manifest: Manifest) -> Sequence[StageResult]:
        from converter.pipeline.verify import VerifySettings, verify
        from converter.report.console import open_console
        from converter.report.live import LiveLines

        with LiveLines(open_console(stderr=True)) as live:
            return verify(folder, manifest, VerifySettings(jobs=jobs, finished=live.finished))

    return run


def _say_carried(number: int, count: int, transfer: Transfer) -> None:
    from converter.report.summary import size_words

    click.echo(f"{number}/{count} {transfer.file.path}  {size_words(transfer.file.size_bytes)}", err=True)


def _print(publication: Publication) -> None:
    from converter.report.summary import size_words

    for waiver in publication.waivers:
        click.echo(f"ALLOWED {waiver.name}: {waiver.what}", err=True)
    for name in publication.unused:
        click.echo(f"--allow {name} was not needed: there is nothing to waive by that name", err=True)
    if publication.left_out:
        click.echo(f"left out, for they did not pass: {', '.join(publication.left_out)}", err=True)
    if publication.status == "would publish":
        for file in publication.files:
            click.echo(f"{file.action:6}  {size_words(file.size_bytes):>9}  {file.path}")
    carried = [file for file in publication.files if file.action == "upload"]
    size = size_words(sum(file.size_bytes for file in carried))
    counts: dict[str, Any] = {
        "published": f"{len(publication.files)} files, {len(carried)} of them carried now, {size}",
        "would publish": f"{len(publication.files)} files, {len(carried)} to carry, {size}; nothing was changed",
        "published already": "the same content is there; nothing to do"
        + (", but its index was behind and is mended" if publication.mended else ""),
    }
    line = f"{publication.status}: {publication.model} {publication.version} at {publication.destination}"
    click.echo(f"{line}: {counts[publication.status]}")
