"""Folders and files that may not be written or read: a message that names the place, and nothing lost."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.command import any_command, use
from tests.faults.conftest import Export, Faults
from tests.faults.wholeness import check_all_as_ever, check_nothing_half

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(sys.platform != "linux", reason="root's power to ignore rights is given up as Linux has it"),
]
OVERRIDE, READ_SEARCH = 1, 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: <linux/capability.h>
DROP_FROM_BOUNDING_SET = 24  # PR_CAPBSET_DROP: <sys/prctl.h>
NEW_ROW = ("--set", "onnx.fp32_dynamic.options.opset=18")
"""Makes one row anew, so that there is something to write."""


def as_anybody() -> None:
    """Give up root's power to ignore rights, in the process to come."""
    for capability in (OVERRIDE, READ_SEARCH):
        ctypes.CDLL(None).prctl(DROP_FROM_BOUNDING_SET, capability, 0, 0, 0)


@pytest.fixture
def export(undisturbed: Export, tmp_path: Path) -> Iterator[Export]:
    """A copy whose rights are given back in the end."""
    yield undisturbed.copy(tmp_path)
    for path in tmp_path.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)


@pytest.mark.parametrize(
    ("place", "code"),
    [
        ("out/mobileclip_nano", 5),
        ("out/mobileclip_nano/onnx", 5),
        ("out/mobileclip_nano/logs", 5),
        ("out/mobileclip_nano/reference", 0),
        ("out/mobileclip_nano/.lock", 2),
        ("cache", 0),
        ("cache/steps", 5),
        ("cache/staging", 5),
        ("cache/last", 0),
        ("cache/last/mobileclip_nano", 5),
        ("cache/seen", 0),
    ],
)
def test_a_place_that_may_not_be_written(
    undisturbed: Export, export: Export, faults: Faults, tmp_path: Path, place: str, code: int
) -> None:
    """A new conversion meets it: the place is named, the way on is said, what was there stays; then all is as ever."""
    path = tmp_path / place
    (export.folder / "logs").mkdir(exist_ok=True)
    rights = path.stat().st_mode

    with faults.inject(f"no right to write {place}"):
        path.chmod(0o444 if path.is_file() else 0o555)
        ran = export.run(*NEW_ROW, before=as_anybody)
        assert ran.code == code, ran.text
        if code:
            words = " ".join(ran.text.split())
            assert str(path) in words
            assert "mend its rights" in words
            assert "Permission denied" in words
        path.chmod(rights)
        ran = export.run()
        assert ran.code == 0, ran.text
        check_all_as_ever(export.folder, export.cache, undisturbed.contents())


@pytest.mark.parametrize("place", ["entry", "entry.json", "artifact", "manifest", "placed"])
def test_a_file_that_may_not_be_read(undisturbed: Export, export: Export, faults: Faults, place: str) -> None:
    """An entry that cannot be read is made anew, a manifest is written anew: the run ends as ever."""
    (artifact,) = (export.cache / "steps").glob("*/image_fp32.tflite")
    path = {
        "entry": artifact.parent, "entry.json": artifact.parent / "entry.json", "artifact": artifact,
        "manifest": export.folder / "manifest.json", "placed": export.folder / "tflite" / "image_fp32.tflite",
    }[place]  # fmt: skip

    with faults.inject(f"no right to read the {place}"):
        path.chmod(0)
        ran = export.run(before=as_anybody)
        if ran.code:
            assert ran.code == 5, ran.text
            assert "Permission denied" in ran.text
            assert "mend its rights" in " ".join(ran.text.split())
        for one in (path, *path.parent.iterdir()):
            if (one.exists() and not os.access(one, os.R_OK)) or (one == path and one.exists()):
                one.chmod(0o755 if one.is_dir() else 0o644)
        check_nothing_half(export.folder, export.cache, undisturbed.contents())
        assert export.run().code == 0
        check_all_as_ever(export.folder, export.cache, undisturbed.contents())


def test_a_manifest_that_may_not_be_replaced(undisturbed: Export, export: Export, faults: Faults) -> None:
    """A folder of its name stands in the way: it is named, and exit code 5 says that all is not well."""
    with faults.inject("a folder where the manifest belongs"):
        (export.folder / "manifest.json").unlink()
        (export.folder / "manifest.json").mkdir()
        ran = export.run()
        assert ran.code == 5, ran.text
        assert str(export.folder / "manifest.json") in " ".join(ran.text.split())
        (export.folder / "manifest.json").rmdir()
        assert export.run().code == 0
        check_all_as_ever(export.folder, export.cache, undisturbed.contents())


def test_verify_says_what_it_may_not_read(export: Export, faults: Faults, tmp_path: Path) -> None:
    """No right to read a file is a failure by its name, not a traceback."""
    path = export.folder / "onnx" / "image_fp32.onnx"

    with faults.inject("no right to read a file to verify"):
        path.chmod(0)
        ran = any_command(use("verify", export.folder, "--hashes-only"), cache=tmp_path, before=as_anybody)
        assert ran.code in (5, 6), ran.text
        assert path.name in ran.text


def test_a_read_only_copy_can_be_verified(export: Export, faults: Faults, tmp_path: Path) -> None:
    """What may be read can be verified: nothing is written beside it."""
    with faults.inject("no right to write what is verified"):
        for path in (export.folder, *export.folder.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        ran = any_command(use("verify", export.folder), cache=tmp_path, before=as_anybody)
        assert ran.code == 0, ran.text


def test_rights_are_really_given_up(tmp_path: Path) -> None:
    """The twin of them all: without root's power a file of mode 0 cannot be read."""
    (tmp_path / "closed").touch(mode=0)
    read = [sys.executable, "-c", f"open({str(tmp_path / 'closed')!r})"]
    with pytest.raises(AssertionError, match="Permission denied"):
        any_command(read, cache=tmp_path, before=as_anybody)
