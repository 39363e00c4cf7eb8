"""Captions to calibrate on, from the files that captions come in.

Rules:

1. .txt: one a line. .csv and .tsv: a column named `caption`, `text` or `title`.
2. .json and .jsonl: texts, or objects with one of these names; COCO's captions lie in its list `annotations`. A value
   that is a list of texts gives them all.
3. An archive (.zip, .tar and so on): the .txt and .json files in it, as a webdataset's shards have them. It is read in
   place.
4. Blank captions are left out, of equal ones all but the first. Of many, `LIMIT` are taken, in a seeded random order.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from converter.errors import UsageError
from converter.models.archives import is_archive, open_archive
from converter.models.calibration_sources import LIMIT, chosen

NAMES = ("caption", "captions", "text", "title")
SUFFIXES = (".txt", ".json", ".jsonl", ".csv", ".tsv")
FILE_BYTES = 2**30


def read_captions(path: Path, limit: int = LIMIT) -> tuple[str, ...]:
    """Captions by the rules above.

    Raises:
        UsageError: nothing is at `path`, it is of another kind or not UTF-8, or has no caption.
    """
    if not path.is_file():
        message = f"no file of captions at {path}; expected {', '.join(SUFFIXES)}, or an archive of .txt files"
        raise UsageError(message)
    found = tuple(dict.fromkeys(text.strip() for text in _captions(path) if text.strip()))
    if not found:
        message = f"{path} has no caption; expected a text a line, or objects or a column with {', '.join(NAMES)}"
        raise UsageError(message)
    return tuple(found[place] for place in chosen(len(found), limit))


def _captions(path: Path) -> Iterator[str]:
    if is_archive(path):
        archive = open_archive(path)
        wanted = {name for name in archive.names if name.lower().endswith((".txt", ".json"))}
        for name, data in archive.read(wanted):
            yield from _of_kind(path / name, data.getvalue())
        return
    if path.stat().st_size > FILE_BYTES:
        message = f"{path} has {path.stat().st_size / 2**30:.1f} GiB; captions of some thousand lines are enough"
        raise UsageError(message)
    yield from _of_kind(path, path.read_bytes())


def _of_kind(path: Path, data: bytes) -> Iterator[str]:
    kind = path.suffix.lower()
    try:
        text = data.decode("utf-8-sig")
        if kind == ".txt":
            yield from text.splitlines()
        elif kind in (".csv", ".tsv"):
            yield from _column(path, csv.DictReader(io.StringIO(text), delimiter="\t" if kind == ".tsv" else ","))
        elif kind == ".jsonl":
            yield from _found(json.loads(line) for line in text.splitlines() if line.strip())
        elif kind == ".json":
            yield from _found([json.loads(text)])
        else:
            message = f"{path} is no file of captions; expected {', '.join(SUFFIXES)}, or an archive of .txt files"
            raise UsageError(message)
    except (UnicodeDecodeError, csv.Error, json.JSONDecodeError, RecursionError) as error:
        message = f"{path} cannot be read as captions ({error}); expected UTF-8 text of the kind that {kind} says"
        raise UsageError(message) from error


def _column(path: Path, rows: csv.DictReader[str]) -> Iterator[str]:
    names = {str(name).strip().lower(): name for name in rows.fieldnames or ()}
    column = next((names[name] for name in NAMES if name in names), None)
    if column is None:
        message = f"{path}: no column of captions among {', '.join(names) or 'none'}; expected {', '.join(NAMES)}"
        raise UsageError(message)
    yield from (row[column] or "" for row in rows)


def _found(values: Iterable[Any]) -> Iterator[str]:
    """Rule 2."""
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            yield from _found(value)
        elif isinstance(value, dict):
            named = [value[name] for name in (*NAMES, "annotations") if name in value]
            yield from _found(named)
