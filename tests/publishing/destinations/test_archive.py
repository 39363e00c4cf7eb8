"""An archive as destination: one version, the same bytes for the same files, never replaced."""

from __future__ import annotations

import signal
import tarfile
import zipfile
from pathlib import Path

import pytest

from converter.errors import PublishError
from converter.publishing.opening import open_address
from tests.publishing.destinations.killing import run_child
from tests.publishing.destinations.releases import ONNX, contents, make_release, publish

MODEL = "mobileclip_nano"
NAMES = ["m.zip", "m.tar", "m.tar.gz", "m.tgz"]


def unpacked(path: Path) -> dict[str, bytes]:
    """All files of an archive, by their path below the model's folder."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            found = {name: archive.read(name) for name in archive.namelist()}
    else:
        with tarfile.open(path) as tar:
            found = {one.name: tar.extractfile(one).read() for one in tar}  # type: ignore[union-attr]
    return {name.removeprefix(f"{MODEL}/"): data for name, data in found.items()}


@pytest.mark.parametrize("name", NAMES)
def test_the_same_files_give_the_same_bytes(tmp_path: Path, name: str) -> None:
    """Everything is in it, and it does not tell when or where it was made."""
    archives = [tmp_path / "one" / name, tmp_path / "two" / name]
    for number, path in enumerate(archives):
        with open_address(str(path), MODEL) as archive:
            publish(archive, "v1", make_release(tmp_path / f"files{number}"))
            (found,) = archive.published()
            onnx = archive.read("v1", ONNX)

    assert unpacked(archives[0]) == contents()
    assert archives[0].read_bytes() == archives[1].read_bytes()
    assert (found.version, found.files, onnx) == ("v1", len(contents()), contents()[ONNX])
    assert [one.name for one in (tmp_path / "one").iterdir()] == [name]


@pytest.mark.parametrize("name", NAMES)
def test_an_archive_that_is_there_is_never_replaced(tmp_path: Path, name: str) -> None:
    """Other content needs another name; the bytes stay."""
    with open_address(str(tmp_path / name), MODEL) as archive:
        publish(archive, "v1", make_release(tmp_path / "files"))
        before = (tmp_path / name).read_bytes()
        with pytest.raises(PublishError, match="what is published never changes: give another name"):
            archive.transfers("v2", make_release(tmp_path / "two", contents(2)))

    assert (tmp_path / name).read_bytes() == before


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_archive_of_ours_is_refused(tmp_path: Path, name: str) -> None:
    """Someone's file of that name is neither read as a version nor touched."""
    (tmp_path / name).write_bytes(b"holiday pictures")

    with open_address(str(tmp_path / name), MODEL) as archive, pytest.raises(PublishError, match="not an archive of"):
        archive.published()

    assert (tmp_path / name).read_bytes() == b"holiday pictures"


@pytest.mark.parametrize("event", [1, 2, 4])
def test_a_kill_leaves_no_archive_or_a_whole_one(tmp_path: Path, event: int) -> None:
    """What was half written has no name that anyone takes for an archive; run again, it is there."""
    make_release(tmp_path / "files")
    path = tmp_path / "m.zip"

    code, _, err = run_child(str(path), tmp_path / "files", event=event)

    whole = not path.exists() or unpacked(path) == contents()
    with open_address(str(path), MODEL) as archive:
        if not archive.published():
            publish(archive, "v1", make_release(tmp_path / "files"))
    assert code in (0, -signal.SIGKILL), err
    assert whole
    assert unpacked(path) == contents()
