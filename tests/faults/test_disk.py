"""Disks that fill up, at several sizes: wherever it happens, 5, the disk is named, and nothing half is left."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.command import any_command, use
from tests.faults.conftest import Export, Faults
from tests.faults.wholeness import check_all_as_ever, check_nothing_half

pytestmark = pytest.mark.faults
FULL = "no space left on the disk"
SMALL_CACHES = (64, 256, 1024, 3000, 6500, 9000, 9300, 11500, 14000)
"""KiB: too small for the folder itself, for the reference, for its commit, for a first or second conversion."""
SMALL_FOLDERS = (16, 100, 1000, 2100, 4300, 6400, 8500, 9212, 9220)
"""KiB: too small for a log, for one artifact or two, for the reference's files, for the manifest alone."""


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Make a file system of so many KiB, and take it away afterwards."""
    mounted: list[Path] = []

    def mount(kib: int) -> Path:
        place = tmp_path / f"small-{kib}"
        place.mkdir()
        line = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(place)]
        if subprocess.run(line, check=False, capture_output=True).returncode:
            pytest.skip("a small file system cannot be mounted here: run as root on Linux")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("kib", SMALL_CACHES)
def test_a_full_disk_below_the_cache(
    undisturbed: Export, faults: Faults, tmp_path: Path, small: Callable[[int], Path], kib: int
) -> None:
    """Some step has no room: 5, said in words; where there is room again, the same run completes."""
    place = small(kib)
    export = Export(out=tmp_path / "out", cache=place / "cache", seconds=0)

    with faults.inject(f"a disk of {kib} KiB for the cache"):
        ran = export.run()
        assert ran.code == 5, ran.text
        assert FULL in ran.text or "is full" in ran.text, ran.text
        check_nothing_half(export.folder, export.cache, undisturbed.contents())
        subprocess.run(["mount", "-o", "remount,size=200m", str(place)], check=True)
        ran = export.run()
        assert ran.code == 0, ran.text
        check_all_as_ever(export.folder, export.cache, undisturbed.contents())


@pytest.mark.parametrize("kib", SMALL_FOLDERS)
def test_a_full_disk_below_the_output_folder(
    undisturbed: Export, faults: Faults, tmp_path: Path, small: Callable[[int], Path], kib: int
) -> None:
    """Files are copied there: what does not fit is not placed; no half file has a name, no half manifest is written."""
    copied = undisturbed.copy(tmp_path / "copy")
    place = small(kib)
    export = Export(out=place / "out", cache=copied.cache, seconds=0)

    with faults.inject(f"a disk of {kib} KiB for the output folder"):
        ran = export.run()
        assert ran.code in (2, 5), ran.text
        assert FULL in ran.text, ran.text
        assert "run again" in " ".join(ran.text.split())
        check_nothing_half(export.folder, export.cache, undisturbed.contents())
        subprocess.run(["mount", "-o", "remount,size=200m", str(place)], check=True)
        ran = export.run()
        assert ran.code == 0, ran.text
        check_all_as_ever(export.folder, export.cache, undisturbed.contents())


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".parquet"])
def test_a_full_disk_below_vectors(
    undisturbed: Export, faults: Faults, tmp_path: Path, small: Callable[[int], Path], suffix: str
) -> None:
    """`embed --out`: the file is there whole, or the old one is; the disk is named."""
    place = small(64)
    out = place / f"vectors{suffix}"
    out.write_bytes(b"the old file")
    (place / "filler").write_bytes(os.urandom(60 * 1024))
    picture = tmp_path / "p.png"
    _picture(picture)
    line = use("embed", picture, "--with", undisturbed.folder, "--out", out)

    with faults.inject(f"a full disk below a {suffix}"):
        ran = any_command(line, cache=tmp_path)
        assert ran.code == 5, ran.text
        assert f"{FULL} while writing {out}" in " ".join(ran.text.split()).replace("\n", "")
        assert out.read_bytes() == b"the old file"
        assert sorted(one.name for one in place.iterdir()) == sorted(["filler", out.name])


def test_a_full_disk_below_standard_output(undisturbed: Export, faults: Faults, tmp_path: Path) -> None:
    """`mcconvert --json > file` on a full disk is an error, not silence."""
    export = undisturbed.copy(tmp_path)

    with faults.inject("/dev/full as standard output"):
        ran = any_command(["bash", "-c", '"$@" > /dev/full', "-", *use("models", "--json")], cache=export.cache)
        assert ran.code == 5, ran.text
        assert FULL in ran.text


def _picture(path: Path) -> None:
    from converter.models.drawing import draw
    from converter.models.scenes import parity_scenes

    draw(parity_scenes()[0]).save(path)
