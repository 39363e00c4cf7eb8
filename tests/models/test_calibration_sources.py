"""Pictures to calibrate on: the same from a folder, an archive, arrays and parquet; refused where they are none."""

from __future__ import annotations

import copy
import gzip
import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from converter.errors import MissingDependencyError, UsageError
from converter.models import archives
from converter.models.calibration_sources import calibration_images, chosen

COUNT = 5
KINDS = ("folder", "a.zip", "a.tar", "a.tar.gz", "a.npy", "a.npz", "a.parquet", "shards")


def shades() -> list[np.ndarray[Any, Any]]:
    """Pictures that are told apart by any pixel."""
    return [np.full((8, 6, 3), 40 * index, np.uint8) for index in range(COUNT)]


def encoded(picture: np.ndarray[Any, Any]) -> bytes:
    """As PNG."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG")
    return stream.getvalue()


def members() -> dict[str, bytes]:
    """Names in an archive, some of which point out of it, and what is no picture."""
    names = ("a/0.png", "../1.png", "/etc/2.PNG", "b/c/3.png", "4.png")
    pictures = {name: encoded(picture) for name, picture in zip(names, shades(), strict=True)}
    return {**pictures, "0.txt": b"a caption", "__MACOSX/._4.png": b"left by macOS", ".hidden.png": b""}


def write_tar(path: Path, files: dict[str, bytes]) -> None:
    """With a link that leads elsewhere."""
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)


def write(folder: Path, kind: str) -> Path:
    """The pictures as that kind of source."""
    path = folder / kind
    if kind in ("folder", "shards"):
        path.mkdir()
    if kind == "folder":
        for index, picture in enumerate(shades()):
            place = path / f"class{index % 2}" / f"{index}.png"
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(encoded(picture))
        (path / "notes.txt").write_text("no picture")
    elif kind == "a.zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in members().items():
                archive.writestr(name, data)
    elif ".tar" in kind:
        write_tar(path, members())
    elif kind == "a.npy":
        np.save(path, np.stack(shades()))
    elif kind == "a.npz":
        np.savez(path, labels=np.arange(COUNT), pixels=np.stack(shades()))
    else:
        write_parquet(path / "0.parquet" if kind == "shards" else path, structs=kind == "shards")
    return path


def write_parquet(path: Path, *, structs: bool) -> None:
    """Row groups of two; pictures as bytes, or as Hugging Face's datasets store them."""
    pyarrow = pytest.importorskip("pyarrow", reason="needs the extra mcconvert[parquet]")
    parquet = pytest.importorskip("pyarrow.parquet")
    data: list[Any] = [encoded(picture) for picture in shades()]
    cells = [{"bytes": one, "path": "x.png"} for one in data] if structs else data
    parquet.write_table(pyarrow.table({"label": list(range(COUNT)), "image": cells}), path, row_group_size=2)


@pytest.mark.parametrize("kind", KINDS)
def test_every_source_gives_all_its_pictures(tmp_path: Path, kind: str) -> None:
    """Each once, RGB; hidden files, links and texts are left out, and nothing is written anywhere."""
    source = write(tmp_path, kind)
    before = sorted(tmp_path.rglob("*"))
    found = list(calibration_images(source))

    assert sorted(np.asarray(image)[0, 0, 0] for _, _, image in found) == [0, 40, 80, 120, 160]
    assert sorted(rank for rank, _, _ in found) == list(range(COUNT))
    assert all((image.mode, image.size) == ("RGB", (6, 8)) for _, _, image in found)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_limit_takes_a_random_part(tmp_path: Path, kind: str) -> None:
    """The same part every time, and the same pictures keep their ranks."""
    source = write(tmp_path, kind)
    once, again = ([(rank, name) for rank, name, _ in calibration_images(source, limit=3)] for _ in range(2))

    assert once == again
    assert sorted(rank for rank, _ in once) == [0, 1, 2]


def test_the_order_is_random_and_repeatable() -> None:
    """By the count alone."""
    assert chosen(100, 10) == chosen(100, 20)[:10]
    assert chosen(100, 100) != sorted(chosen(100, 100))
    assert sorted(chosen(100, 200)) == list(range(100))


@pytest.mark.parametrize("kind", ["a.zip", "a.tar", "a.tar.gz", "a.npz", "a.npy", "a.parquet"])
@pytest.mark.parametrize("keep", [0.0, 0.3, 0.7])
def test_a_cut_off_file_is_refused(tmp_path: Path, kind: str, keep: float) -> None:
    """By name, as a mistake of use, wherever it breaks."""
    source = write(tmp_path, kind)
    whole = source.read_bytes()
    source.write_bytes(whole[: int(len(whole) * keep)])

    with pytest.raises(UsageError, match=kind):
        list(calibration_images(source))


@pytest.mark.parametrize("kind", ["folder", "a.zip", "a.tar"])
def test_a_source_without_pictures_is_refused(tmp_path: Path, kind: str) -> None:
    """With what was expected."""
    path = tmp_path / kind
    if kind == "folder":
        path.mkdir()
    elif kind == "a.zip":
        zipfile.ZipFile(path, "w").close()
    else:
        write_tar(path, {"a.txt": b"text"})

    with pytest.raises(UsageError, match=r"no image in .*; expected a folder of photographs.*\.jpg"):
        calibration_images(path)


def test_what_is_no_set_of_pictures_is_refused(tmp_path: Path) -> None:
    """Nothing there, or a file of another kind."""
    (tmp_path / "a.txt").write_text("text")

    with pytest.raises(UsageError, match="nothing at"):
        calibration_images(tmp_path / "absent")
    with pytest.raises(UsageError, match="a.txt is no set of pictures"):
        calibration_images(tmp_path / "a.txt")


def test_a_picture_that_is_none_is_named(tmp_path: Path) -> None:
    """In an archive with its place there."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("b/broken.jpg", b"no picture")

    with pytest.raises(UsageError, match=r"a\.zip/b/broken\.jpg cannot be read as an image"):
        list(calibration_images(tmp_path / "a.zip"))


def test_a_member_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the archive says of its size; what stays below is read."""
    source = write(tmp_path, "a.zip")
    monkeypatch.setattr(archives, "MEMBER_BYTES", 2**20)
    assert len(list(calibration_images(source))) == COUNT

    with zipfile.ZipFile(source, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.png", bytes(2**21))
    with pytest.raises(UsageError, match=r"'bomb\.png' unpacks to more than 1 MiB"):
        list(calibration_images(source))


@pytest.mark.parametrize("claimed", [2**21, 2**40])
def test_a_tar_that_unpacks_without_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, claimed: int
) -> None:
    """By what its members say of their size, before they are unpacked; photographs stay below any such ratio."""
    monkeypatch.setattr(archives, "TAR_BYTES", 2**20)
    entry = tarfile.TarInfo("bomb.png")
    entry.size = claimed
    with gzip.open(tmp_path / "a.tar.gz", "wb") as stream:
        stream.write(entry.tobuf() + bytes(2**21))

    with pytest.raises(UsageError, match=rf"'bomb\.png' is {claimed} bytes, and the archive of \d+ unpacks to more"):
        list(calibration_images(tmp_path / "a.tar.gz"))
    monkeypatch.setattr(archives, "TAR_BYTES", 0)
    assert len(list(calibration_images(write(tmp_path, "a.tar")))) == COUNT


def test_members_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    """A few kilobytes that every entry of a .zip points to would be unpacked over and over."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0.png", encoded(shades()[0]))
        first = archive.infolist()[0]
        for index in range(1, 4):
            twin = copy.copy(first)
            twin.filename = f"{index}.png"
            archive.filelist.append(twin)
            archive.NameToInfo[twin.filename] = twin
        archive._didModify = True  # type: ignore[attr-defined]

    with pytest.raises(UsageError, match="cannot be read as an archive"):
        list(calibration_images(tmp_path / "a.zip"))


def test_a_picture_of_too_many_pixels_is_refused(tmp_path: Path) -> None:
    """A PNG that claims a billion pixels in a few bytes is never decoded."""
    import struct
    import zlib

    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(header)) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("bomb.png", b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT")

    with pytest.raises(UsageError, match="40000 x 40000 pixels"):
        list(calibration_images(tmp_path / "a.zip"))


@pytest.mark.parametrize(
    ("array", "why"),
    [
        (np.linspace(-1.8, 2.6, 192).reshape(1, 8, 8, 3), "from -1.8 to 2.6, as if normalised already"),
        (np.linspace(0, 1, 192).reshape(1, 8, 8, 3), r"as if scaled to \[0, 1\]: multiply by 255"),
        (np.zeros((2, 3, 8, 8), np.uint8), r"channels first; .*transpose\(0, 2, 3, 1\)"),
        (np.zeros((0, 8, 8, 3), np.uint8), "expected uint8 pixels"),
        (np.zeros((8, 8, 3), np.uint8), "expected uint8 pixels"),
        (np.array([{}], dtype=object), "cannot be read as arrays"),
    ],
)
def test_arrays_that_are_no_pixels_are_refused(tmp_path: Path, array: np.ndarray[Any, Any], why: str) -> None:
    """Above all those that somebody normalised: nobody can say how. No pickle is loaded."""
    np.save(tmp_path / "a.npy", array, allow_pickle=True)

    with pytest.raises(UsageError, match=why):
        calibration_images(tmp_path / "a.npy")


def test_parquet_without_pictures_or_without_pyarrow_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No such column; paths instead of pictures; the extra missing."""
    import sys

    pyarrow = pytest.importorskip("pyarrow", reason="needs the extra mcconvert[parquet]")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"label": [1]}), tmp_path / "bare.parquet")
    parquet.write_table(pyarrow.table({"image": ["a.png"]}), tmp_path / "paths.parquet")

    with pytest.raises(UsageError, match="no column of pictures among label"):
        list(calibration_images(tmp_path / "bare.parquet"))
    with pytest.raises(UsageError, match="names pictures instead of holding them"):
        list(calibration_images(tmp_path / "paths.parquet"))
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'mcconvert\[parquet\]'"):
        calibration_images(tmp_path / "bare.parquet")
