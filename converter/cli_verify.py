"""The command that judges files on disk again: `verify`. --matrix compares them, --task asks what they know,
--provenance holds every byte against what the folder says of itself.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from converter.errors import ParityError, UsageError
from converter.records import to_json

if TYPE_CHECKING:
    from converter.agreement import Agreement
    from converter.pipeline.matrix import Folder
    from converter.pipeline.verify import VerifySettings
    from converter.records import StageResult

PICTURE = "matrix.svg"

EXAMPLES = """\b
Examples:
  mcconvert verify artifacts/mobileclip_s1                        is each file still the model?
  mcconvert verify artifacts/mobileclip_s1 --matrix               does each file agree with each other?
  mcconvert verify artifacts/mobileclip_s1 mac/mobileclip_s1 --matrix --picture both.svg
  mcconvert verify artifacts/mobileclip_nano --task               what does each file still know?
  mcconvert verify artifacts/mobileclip_s1 --provenance --key releases.pub     is it what its maker signed?
"""


@click.command(epilog=EXAMPLES)
@click.argument("folders", metavar="FOLDER...", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("-j", "--jobs", type=click.IntRange(1, 64), default=1, show_default=True, help="Files side by side.")
@click.option("--hashes-only", is_flag=True, help="Only check that no byte changed; run nothing.")
@click.option(
    "--matrix",
    is_flag=True,
    help="Also compare every two files with each other: would they return the same five photos, the same "
    "labels, and can they share an index? Takes several folders of one model.",
)
@click.option(
    "--picture",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.svg",
    help="Where --matrix draws its picture; its figures go beside it as FILE.json.  "
    "[default: matrix.svg in the first FOLDER]",
)
@click.option(
    "--task",
    is_flag=True,
    help="Instead: zero-shot accuracy, recall and order of results of every pair of files on 720 held-out scenes, "
    "beside PyTorch. For mobileclip_nano, which is trained on drawn scenes; bounds in configs/task.yaml.",
)
@click.option(
    "--provenance",
    is_flag=True,
    help="Instead: hold every byte of the folder against its statement, SBOM, checksums and signature, offline; runs "
    "nothing. Fails on anything changed, missing, added or out of place.",
)
@click.option(
    "--key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE.pub",
    help="With --provenance: the public key whose signature must be there.",
)
@click.option("--identity", metavar="NAME", help="With --provenance and --issuer: who must have signed by sigstore.")
@click.option("--issuer", metavar="URL", help="With --identity: who vouches for it.")
@click.option("--json", "as_json", is_flag=True, help="Results as JSON on standard output.")
def verify(
    folders: Sequence[Path], *, jobs: int, hashes_only: bool, matrix: bool, picture: Path | None, task: bool,
    provenance: bool, key: Path | None, identity: str | None, issuer: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Judge the files in FOLDER (artifacts/MODEL) again, from the manifest alone.

    Every byte is hashed and every file is run on the stored samples; any change fails and names the file.
    """
    from converter.pipeline.run import exit_code_of
    from converter.pipeline.verify import VerifySettings
    from converter.report.console import open_console
    from converter.report.live import LiveLines

    if provenance or key or identity or issuer:
        _check_alone(folders, provenance=provenance, others=matrix or task or picture is not None)
        sys.exit(_provenance(folders[0], key, identity or "", issuer or "", as_json=as_json))
    if task:
        sys.exit(_task(folders, jobs=jobs, others=hashes_only or matrix, as_json=as_json))
    if not matrix and (len(folders) > 1 or picture is not None):
        message = "several folders, and --picture, go with --matrix; verify one folder at a time without it"
        raise UsageError(message)
    with LiveLines(open_console(stderr=True)) as live:
        settings = VerifySettings(jobs=jobs, hashes_only=hashes_only, finished=live.finished)
        verified, agreement = _verified([_opened(folder) for folder in folders], settings, matrix=matrix)
    results = [result for _, found in verified for result in found]
    if as_json:
        click.echo(to_json({"results": results, "matrix": agreement} if agreement else results).decode(), nl=False)
    else:
        _print(verified, agreement)
    if agreement is not None:
        _draw(agreement, picture or verified[0][0].path / PICTURE)
    sys.exit(exit_code_of(results))


def _check_alone(folders: Sequence[Path], *, provenance: bool, others: bool) -> None:
    if not provenance:
        message = "--key, --identity and --issuer go with --provenance"
        raise UsageError(message)
    if others or len(folders) > 1:
        message = (
            "--provenance checks one folder, and goes with neither --matrix nor --task; --hashes-only is part of it"
        )
        raise UsageError(message)


def _provenance(folder: Path, key: Path | None, identity: str, issuer: str, *, as_json: bool) -> int:
    from converter.cli_sign import check
    from converter.publishing.signing import Keys

    if bool(identity) != bool(issuer):
        message = "--identity and --issuer go together: an identity is worth what its issuer is"
        raise UsageError(message)
    place = folder if folder.is_dir() else folder.parent
    return check(place.absolute(), Keys(key=key, identity=identity, issuer=issuer), as_json=as_json)


def _task(folders: Sequence[Path], *, jobs: int, others: bool, as_json: bool) -> int:
    from converter.pipeline.task import TaskSettings, measure_task
    from converter.report.console import open_console
    from converter.report.task import print_task

    if others or len(folders) > 1:
        message = "--task measures the files of one folder, and goes with neither --matrix nor --hashes-only"
        raise UsageError(message)
    folder = _opened(folders[0])
    console = open_console(stderr=True)
    settings = TaskSettings(jobs=jobs, finished=lambda name: console.print(f"ran {name}", highlight=False))
    found = measure_task(folder.path.resolve(), folder.manifest, settings)
    if as_json:
        click.echo(to_json(found).decode(), nl=False)
    else:
        print_task(open_console(), found)
    return ParityError.exit_code if any(side.failures for side in found.sides) else 0


def _opened(folder: Path) -> Folder:
    from converter.pipeline.matrix import Folder
    from converter.publishing.manifest import read_manifest

    manifest = read_manifest(folder)
    return Folder(path=folder if folder.is_dir() else folder.parent, manifest=manifest)


def _verified(
    folders: Sequence[Folder], settings: VerifySettings, *, matrix: bool
) -> tuple[list[tuple[Folder, list[StageResult]]], Agreement | None]:
    from converter.pipeline.matrix import compare_folders
    from converter.pipeline.verify import verify as verify_files

    if matrix:
        return compare_folders(folders, settings)
    (folder,) = folders
    return [(folder, verify_files(folder.path.resolve(), folder.manifest, settings))], None


def _print(verified: Sequence[tuple[Folder, list[StageResult]]], agreement: Agreement | None) -> None:
    from converter.report.console import open_console
    from converter.report.matrix import print_matrix
    from converter.report.summary import print_summary

    console = open_console()
    for folder, results in verified:
        print_summary(console, results, f"{folder.manifest.model.id}: files in {folder.path}, judged again")
    if agreement is not None:
        print_matrix(console, agreement)


def _draw(agreement: Agreement, picture: Path) -> None:
    """The picture, and the figures beside it."""
    from converter.files import write_atomically
    from converter.report.matrix import PICTURE_WIDTH, matrix_view
    from converter.report.picture import save_svg

    figures = picture.with_suffix(".json")
    save_svg(matrix_view(agreement, PICTURE_WIDTH), picture, title=f"{agreement.model}: which files agree",
             width=PICTURE_WIDTH)  # fmt: skip
    write_atomically(figures, to_json(agreement))
    click.echo(f"wrote {picture} and {figures}", err=True)
