"""The command that writes everything about a model down: `report`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from converter.errors import UsageError

if TYPE_CHECKING:
    from converter.pipeline.reporting import ReportSettings
    from converter.reported import Reported

OUT = Path("artifacts")
DEFAULT_SAMPLES = 2

EXAMPLES = """\b
Examples:
  mcconvert report artifacts/mobileclip_s1                   writes artifacts/mobileclip_s1/report.html
  mcconvert report artifacts/mobileclip_s1 --quick           only what is known already, in seconds
  mcconvert report artifacts/mobileclip_s1 --markdown > comment.md      for a pull request
  mcconvert report artifacts/mobileclip_s1 -o s1.html        to send it by mail
"""


@click.command(epilog=EXAMPLES)
@click.argument("folder", metavar="[FOLDER]", required=False, default=None,
                type=click.Path(exists=True, path_type=Path))  # fmt: skip
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.html", default=None,
              help="Where the page goes.  [default: report.html in FOLDER]")  # fmt: skip
@click.option("--markdown", is_flag=True, help="Instead: Markdown on standard output, for a pull request.")
@click.option("--json", "as_json", is_flag=True, help="Instead: everything gathered, as JSON on standard output.")
@click.option("-q", "--quick", is_flag=True,
              help="Run and hash nothing: only what is known already. The report says what is not in it.")  # fmt: skip
@click.option("-j", "--jobs", type=click.IntRange(1, 64), default=1, show_default=True, help="Files side by side.")
@click.option("--samples", type=click.IntRange(1), default=DEFAULT_SAMPLES, show_default=True,
              help="Inputs to follow through each file for its SQNR along the depth.")  # fmt: skip
def report(folder: Path | None, *, output: Path | None, markdown: bool, as_json: bool, quick: bool, jobs: int,
           samples: int) -> None:  # fmt: skip
    """Write one HTML page about the exported model in FOLDER (artifacts/MODEL): all verdicts and what they rest on.

    The page needs nothing from elsewhere: it opens from a mail, without a network. Each file runs once on the stored
    samples, for the matrix and the photos that it finds, and is followed layer by layer beside PyTorch; what was
    found is kept, so that a second report of the same files takes seconds.
    """
    from converter.session_report import REPORT, gather, require_libraries, write_report

    if markdown and as_json:
        message = "--markdown and --json are two forms of standard output: give one of them"
        raise UsageError(message)
    place = _folder(folder)
    if not (markdown or as_json):
        require_libraries()
    reported = gather(place, _settings(place, quick=quick, jobs=jobs, samples=samples))
    if as_json:
        from converter.report.console import print_json

        print_json(reported)
    elif markdown:
        _print_markdown(reported)
    else:
        target = output or place / REPORT
        write_report(reported, target)
        click.echo(f"report: {target}")


def _folder(given: Path | None) -> Path:
    from converter.session_publish import default_folder

    folder = given or default_folder(OUT)
    return folder if folder.is_dir() else folder.parent


def _settings(folder: Path, *, quick: bool, jobs: int, samples: int) -> ReportSettings:
    from converter.pipeline.reporting import ReportSettings
    from converter.pipeline.workspace import Workspace

    place = folder.resolve()
    threads = max(1, min(2, (os.cpu_count() or 1) // jobs))
    return ReportSettings(
        cache=Workspace(out=place.parent, model=place.name).cache_root, quick=quick, jobs=jobs, threads=threads,
        samples=samples, said=lambda line: click.echo(line, err=True),
    )  # fmt: skip


def _print_markdown(reported: Reported) -> None:
    from converter.report.markdown_report import lines

    click.echo("\n".join(lines(reported)))
