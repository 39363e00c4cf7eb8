"""Write a bundle: staged beside its place, then renamed, so that it is whole or absent.

A folder that we did not write, or in which somebody has worked since, is never replaced.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath

from converter.bundled import SAMPLE, Platform
from converter.bundling.choosing import require_unchanged
from converter.errors import UsageError
from converter.files import TAG, hash_path, make_tagged, place, write_atomically
from converter.manifest import Manifest, ManifestEntry
from converter.publishing.checksums import files_of, named, sums
from converter.publishing.gathering import released
from converter.publishing.manifest import write_manifest
from converter.release import MANIFEST, SUMS

SAMPLES = Path(__file__).with_name("samples")
PARTS: Mapping[Platform, tuple[str, ...]] = {
    "ios": ("ios",), "android": ("android",), "web": ("web",), "python": ("python",), "server": ("python", "server"),
}  # fmt: skip
"""Which folders of `samples` make a platform's sample."""
_FIRST_ZIP_TIME = (1980, 1, 1, 0, 0, 0)


def sample_files(platform: Platform) -> dict[str, Path]:
    """The files of a platform's sample, by their path in its folder."""
    return {
        file.relative_to(SAMPLES / part).as_posix(): file
        for part in PARTS[platform]
        for file in sorted((SAMPLES / part).rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts
    }


def bundled_manifest(manifest: Manifest, entries: tuple[ManifestEntry, ...], *, reference: bool) -> Manifest:
    """The manifest of a bundle: its artifacts alone, with what they are judged against where that goes along."""
    reduced = released(replace(manifest, artifacts=entries), manifest.waivers)
    return reduced if reference else replace(reduced, references=())


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A tagged folder beside `out` to put a bundle together in; it is gone afterwards."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.", suffix=TAG) as scratch:
        stage = Path(scratch) / "bundle"
        make_tagged(stage)
        yield stage


def fill(stage: Path, folder: Path, manifest: Manifest, platform: Platform, documents: Mapping[str, bytes]) -> None:
    """Copy what the manifest names and the sample, and write the documents, the manifest and `SHA256SUMS`.

    Raises:
        ParityError: a file is not the one that the manifest names; the copy is hashed too.
    """
    for one in named(manifest):
        require_unchanged(folder, one.path, one.sha256)
        _copy(folder / one.path, stage / one.path)
        require_unchanged(stage, one.path, one.sha256)
    for path, source in sample_files(platform).items():
        _copy(source, stage / SAMPLE / path)
    for path, data in documents.items():
        write_atomically(stage / path, data)
    write_manifest(stage / MANIFEST, manifest)
    write_atomically(stage / SUMS, sums({path: hash_path(stage / path)[0] for path in plain_files(stage)}))


def plain_files(folder: Path) -> list[str]:
    """The paths of all files in a bundle but its tag and `SHA256SUMS`, sorted."""
    paths = (path for entry in sorted(folder.iterdir()) for path in files_of(folder, entry.name))
    return sorted(path for path in paths if path not in (TAG, SUMS))


def put_in_place(stage: Path, out: Path) -> None:
    """Give the bundle its name; one of ours in which nobody has worked gives way to it.

    Raises:
        UsageError: something else is there.
    """
    require_ours(out)
    place(stage, out)


def put_in_archive(stage: Path, archive: Path, name: str) -> None:
    """The bundle as one .zip, in a folder called `name`; the same files give the same bytes.

    Raises:
        UsageError: something is there already.
    """
    require_free(archive)
    beside = stage.with_name("bundle.zip")
    with zipfile.ZipFile(beside, "w", zipfile.ZIP_STORED) as packed:
        for path in [*plain_files(stage), SUMS]:
            entry = zipfile.ZipInfo(f"{name}/{path}", _FIRST_ZIP_TIME)
            entry.create_system, entry.external_attr = 3, 0o100644 << 16
            entry.file_size = (stage / path).stat().st_size
            with (stage / path).open("rb") as source, packed.open(entry, "w") as target:
                shutil.copyfileobj(source, target)
    place(beside, archive)


def archive_of(out: Path) -> Path:
    """The archive of a bundle that would be called `out` as a folder."""
    return out.with_name(f"{out.name}.zip")


def require_free(archive: Path) -> None:
    """Refuse to replace an archive.

    Raises:
        UsageError: something is there.
    """
    if os.path.lexists(archive):
        message = f"{archive} is there already, and is not replaced: remove it, or give another --out"
        raise UsageError(message)


def require_ours(out: Path) -> None:
    """Refuse to replace what is not a bundle of ours as it was written.

    Raises:
        UsageError: naming what is there.
    """
    if not os.path.lexists(out) or (out.is_dir() and not out.is_symlink() and not any(out.iterdir())):
        return
    if out.is_symlink() or not (out / TAG).is_file() or not (out / SUMS).is_file():
        message = f"{out} is there and is no bundle of mcconvert: it is left as it is; give another --out"
        raise UsageError(message)
    touched = _touched(out)
    if touched:
        message = (
            f"{out} is a bundle in which somebody has worked ({', '.join(touched[:3])}): it is left as it is; move it "
            "away, or give another --out"
        )
        raise UsageError(message)


def _touched(out: Path) -> list[str]:
    """Files that were changed, added or removed since the bundle was written."""
    lines = (out / SUMS).read_text(encoding="utf-8").splitlines()
    written = {path: sha256 for sha256, _, path in (line.partition("  ") for line in lines)}
    found = plain_files(out)
    changed = [path for path in found if path not in written or hash_path(out / path)[0] != written[path]]
    return sorted([*changed, *(path for path in written if path not in found)])


def _copy(source: Path, target: Path) -> None:
    """A copy of its own: whoever is handed a bundle may change it, and the export stays as it was proven."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, copy_function=shutil.copyfile)
    else:
        shutil.copyfile(source, target)


def folder_name(model: str, platform: Platform) -> str:
    """What a bundle is called: mobileclip_s1_web."""
    return f"{PurePosixPath(model).name}_{platform}"
