"""Captions to calibrate on: the same texts from every kind of file; refused where there are none."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest

from converter.errors import UsageError
from converter.models.calibration_texts import read_captions

TEXTS = ("a red bicycle", 'a "blue" boat, at sea', "ein Haus über dem Fluß")
KINDS = {
    "a.txt": "\n\n".join([*TEXTS, TEXTS[0]]) + "\n \n",
    "list.json": json.dumps(TEXTS),
    "objects.json": json.dumps([{"id": 1, "caption": text} for text in TEXTS]),
    "nested.json": json.dumps([{"image": "a.jpg", "captions": list(TEXTS)}]),
    "coco.json": json.dumps({"images": [{"id": 1}], "annotations": [{"image_id": 1, "caption": t} for t in TEXTS]}),
    "a.jsonl": "\n".join(json.dumps({"text": text}) for text in TEXTS),
    "a.csv": "id,Caption\n" + "\n".join(f'{i},"{text.replace(chr(34), chr(34) * 2)}"' for i, text in enumerate(TEXTS)),
    "a.tsv": "title\turl\n" + "\n".join('"{}"\tx'.format(text.replace('"', '""')) for text in TEXTS),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_gives_its_captions(tmp_path: Path, kind: str) -> None:
    """Each once, blank ones left out."""
    (tmp_path / kind).write_text(KINDS[kind], encoding="utf-8-sig")

    assert sorted(read_captions(tmp_path / kind)) == sorted(TEXTS)


@pytest.mark.parametrize("kind", ["a.zip", "a.tar"])
def test_an_archive_gives_the_texts_in_it(tmp_path: Path, kind: str) -> None:
    """As a webdataset's shard has them, beside the pictures."""
    files = {f"{index}.txt": text.encode() for index, text in enumerate(TEXTS)} | {"0.jpg": b"\xff"}
    if kind == "a.zip":
        with zipfile.ZipFile(tmp_path / kind, "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
    else:
        with tarfile.open(tmp_path / kind, "w") as tar:
            for name, data in files.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))

    assert sorted(read_captions(tmp_path / kind)) == sorted(TEXTS)


def test_many_captions_give_a_random_part(tmp_path: Path) -> None:
    """The same every time, not the first ones."""
    (tmp_path / "a.txt").write_text("\n".join(f"caption {index}" for index in range(1000)))
    found = read_captions(tmp_path / "a.txt", limit=10)

    assert len(set(found)) == 10
    assert found == read_captions(tmp_path / "a.txt", limit=10)
    assert found != tuple(f"caption {index}" for index in range(10))


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.txt", b" \n\n", "has no caption"),
        ("a.txt", b"\xff\xfe\x00", "cannot be read as captions"),
        ("a.json", b'{"annotations": [', "cannot be read as captions"),
        ("a.json", b"[" * 100_000, "cannot be read as captions"),
        ("a.json", b'{"images": [1, 2]}', "has no caption"),
        ("a.jsonl", b'{"caption": "a"}\n{"caption', "cannot be read as captions"),
        ("a.csv", b"url,id\nx,1\n", "no column of captions among url, id"),
        ("a.csv", b"", "no column of captions among none"),
        ("a.zip", b"PK", "cannot be read as an archive"),
        ("a.docx", b"PK", "is no file of captions"),
    ],
)
def test_files_without_captions_are_refused(tmp_path: Path, name: str, content: bytes, why: str) -> None:
    """With what was expected."""
    (tmp_path / name).write_bytes(content)

    with pytest.raises(UsageError, match=why):
        read_captions(tmp_path / name)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """A folder is none either."""
    for path in (tmp_path, tmp_path / "absent.txt"):
        with pytest.raises(UsageError, match="no file of captions at"):
            read_captions(path)
