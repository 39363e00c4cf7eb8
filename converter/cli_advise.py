"""The command that names the file to ship: `advise`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from converter.advised import PlatformName, Preference
from converter.errors import ParityError
from converter.records import TOWERS

if TYPE_CHECKING:
    from converter.advised import Advice

EXAMPLES = """\b
Examples:
  mcconvert advise artifacts/mobileclip_s1 --for android --prefer speed
  mcconvert advise artifacts/mobileclip_s1 --for ios --prefer size --tower image
  mcconvert advise artifacts/mobileclip_s1 --for server-cpu --prefer fidelity --json
"""


@click.command(epilog=EXAMPLES)
@click.argument("folder", metavar="FOLDER", type=click.Path(exists=True, path_type=Path))
@click.option("--for", "platform", type=click.Choice(get_args(PlatformName)), required=True,
              help="Where the file will run.")  # fmt: skip
@click.option(
    "--prefer",
    "preference",
    type=click.Choice(get_args(Preference)),
    default="speed",
    show_default=True,
    help="What matters most. speed: time of one call, as 'mcconvert bench' measured it. size: bytes of the "
    "file. fidelity: the worst centred cosine of the proof. ease: facts that spare work in the app.",
)
@click.option("--tower", type=click.Choice([*TOWERS, "both"]), default="both", show_default=True,
              help="One tower only: an app that stores text embeddings ships no text tower.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Everything as JSON on standard output.")
def advise(folder: Path, *, platform: PlatformName, preference: Preference, tower: str, as_json: bool) -> None:
    """Name the file of FOLDER (artifacts/MODEL) to ship, from what was measured of it.

    Only files that PASSED, on bytes that are still there, and whose format runs on the platform. Times come from the
    benchmark whose machine is nearest to the platform; files that these cannot tell apart are told apart by size and
    fidelity. Says what the answer rests on, what was not measured, and how to measure it. The exit code is 6 when
    nothing that PASSED fits.
    """
    from converter.report.console import open_console, print_json, warn_untrained

    place = (folder if folder.is_dir() else folder.parent).absolute()
    found = _advice(place, platform, preference, tower)
    if as_json:
        print_json(found)
    else:
        if not found.trained:
            warn_untrained(f"{found.model}: these weights are not trained. Nothing here may be shipped.")
        from converter.report.advice import print_advice

        print_advice(open_console(), found)
    failed = [one.tower for one in found.towers if one.winner is None]
    if failed or not found.towers:
        which = " and ".join(failed) or ("any" if tower == "both" else tower)
        click.echo(f"mcconvert: no file of the {which} tower that PASSED fits {platform}", err=True)
        sys.exit(ParityError.exit_code)


def _advice(place: Path, platform: PlatformName, preference: Preference, tower: str) -> Advice:
    from converter.advice.advising import Question
    from converter.advice.advising import advise as choose
    from converter.advice.platforms import load_platforms
    from converter.bench.history import read_history
    from converter.publishing.manifest import read_manifest

    runs, unread = read_history(place)
    for line in unread:
        click.echo(f"not used: {line}", err=True)
    question = Question(
        name=platform, platform=load_platforms()[platform], preference=preference,
        towers=TOWERS if tower == "both" else (tower,),  # type: ignore[arg-type]
    )  # fmt: skip
    return choose(place, read_manifest(place), runs, question)
