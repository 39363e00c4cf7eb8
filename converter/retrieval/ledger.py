"""What is known of each photograph, and its vector: one SQLite file, whole after every commit, whatever kills us.

| table | a row |
|---|---|
| `photo` | a file below the folder: size, time, sha256 of its bytes, and its vector or why it has none |
| `vector` | distinct bytes: their vector, float32, and a check over both |
| `fact` | the generation (counts changes of vectors), and what the faiss file beside was made of |

Paths are bytes: a name need not be UTF-8. The faiss file is only ever derived from here.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from converter.files import remove

NAME = "ledger.sqlite"
SCHEMA = """
CREATE TABLE IF NOT EXISTS vector (id INTEGER PRIMARY KEY, sha256 TEXT UNIQUE NOT NULL, data BLOB NOT NULL,
                                   mark BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS photo (path BLOB PRIMARY KEY, size_bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
                                  sha256 TEXT NOT NULL, vector INTEGER, reason TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""

type Vector = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Photo:
    """A file as it was last looked at. `vector` is None where `reason` says why it could not be read."""

    path: Path
    size_bytes: int
    mtime_ns: int
    sha256: str = ""
    vector: int | None = None
    reason: str = ""


class Ledger:
    """An open ledger. Every method that writes is one transaction, unless called inside `together`."""

    def __init__(self, folder: Path) -> None:
        self._connection = sqlite3.connect(folder / NAME, isolation_level=None, check_same_thread=False)
        self._connection.executescript(SCHEMA)

    def close(self) -> None:
        """Give the file back."""
        self._connection.close()

    @contextmanager
    def together(self) -> Iterator[None]:
        """All that is written inside, or nothing of it."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def photos(self) -> dict[Path, Photo]:
        """All that is known, by path below the folder."""
        rows = self._connection.execute("SELECT path, size_bytes, mtime_ns, sha256, vector, reason FROM photo")
        photos = [
            Photo(
                path=Path(os.fsdecode(row[0])), size_bytes=row[1], mtime_ns=row[2], sha256=row[3], vector=row[4],
                reason=row[5],
            )
            for row in rows
        ]  # fmt: skip
        return {photo.path: photo for photo in photos}

    def note(self, photo: Photo) -> None:
        """Write a photograph's row anew."""
        self._connection.execute(
            "INSERT OR REPLACE INTO photo VALUES (?, ?, ?, ?, ?, ?)",
            (os.fsencode(photo.path), photo.size_bytes, photo.mtime_ns, photo.sha256, photo.vector, photo.reason),
        )

    def drop(self, paths: Iterable[Path]) -> None:
        """Forget files that are gone; their vectors stay until `sweep`, since a renamed file asks for them."""
        self._connection.executemany("DELETE FROM photo WHERE path = ?", [(os.fsencode(path),) for path in paths])

    def known(self) -> set[str]:
        """The sha256 of all bytes that have a vector."""
        return {row[0] for row in self._connection.execute("SELECT sha256 FROM vector")}

    def vector_of(self, sha256: str) -> int | None:
        """The vector of these bytes, if there is one."""
        row = self._connection.execute("SELECT id FROM vector WHERE sha256 = ?", (sha256,)).fetchone()
        return None if row is None else int(row[0])

    def add(self, sha256: str, vector: Vector) -> int:
        """Keep the vector of these bytes; returns its id."""
        data = np.ascontiguousarray(vector, np.float32).tobytes()
        cursor = self._connection.execute(
            "INSERT INTO vector (sha256, data, mark) VALUES (?, ?, ?)", (sha256, data, _mark(sha256, data))
        )
        self._changed()
        return int(cursor.lastrowid or 0)

    def sweep(self) -> int:
        """Remove vectors that no photograph has; returns how many."""
        gone = self._connection.execute(
            "DELETE FROM vector WHERE id NOT IN (SELECT vector FROM photo WHERE vector IS NOT NULL)"
        ).rowcount
        if gone:
            self._changed()
        return gone

    def drop_damaged(self, dimensions: int) -> int:
        """Forget vectors that are not what was written, with their photographs' rows; returns how many."""
        rows = self._connection.execute("SELECT id, sha256, data, mark FROM vector")
        wrong = [row[0] for row in rows if len(row[2]) != 4 * dimensions or _mark(row[1], row[2]) != row[3]]
        for one in wrong:
            self._connection.execute("DELETE FROM photo WHERE vector = ?", (one,))
            self._connection.execute("DELETE FROM vector WHERE id = ?", (one,))
        if wrong:
            self._changed()
        return len(wrong)

    def vectors(self, dimensions: int) -> tuple[npt.NDArray[np.int64], Vector]:
        """(ids (n,), vectors (n, dimensions)), by id."""
        (count,) = self._connection.execute("SELECT COUNT(*) FROM vector").fetchone()
        ids, rows = np.empty(count, np.int64), np.empty((count, dimensions), np.float32)
        for place, (one, data) in enumerate(self._connection.execute("SELECT id, data FROM vector ORDER BY id")):
            ids[place], rows[place] = one, np.frombuffer(data, np.float32)
        return ids, rows

    def fact(self, name: str) -> str:
        """A fact's value, empty where it was never set."""
        row = self._connection.execute("SELECT value FROM fact WHERE name = ?", (name,)).fetchone()
        return "" if row is None else str(row[0])

    def set_fact(self, name: str, value: str) -> None:
        """Write a fact anew."""
        self._connection.execute("INSERT OR REPLACE INTO fact VALUES (?, ?)", (name, value))

    def _changed(self) -> None:
        self.set_fact("generation", str(int(self.fact("generation") or 0) + 1))


def open_ledger(folder: Path, dimensions: int) -> tuple[Ledger, Sequence[str]]:
    """The ledger in a folder, and what had to be mended, a line each. One that cannot be read is begun anew."""
    try:
        ledger = Ledger(folder)
        damaged = ledger.drop_damaged(dimensions) if _is_whole(ledger) else None
    except (sqlite3.DatabaseError, TypeError, ValueError):  # TypeError: a column of another type
        damaged = None
    if damaged is None:
        for path in folder.glob(f"{NAME}*"):
            remove(path)
        return Ledger(folder), (f"{folder / NAME} is damaged: it is begun anew, and every photograph embedded again",)
    if damaged:
        return ledger, (f"{damaged} vectors in {folder / NAME} are not what was written: they are made again",)
    return ledger, ()


def _is_whole(ledger: Ledger) -> bool:
    (said,) = ledger._connection.execute("PRAGMA quick_check(1)").fetchone()
    return bool(said == "ok")


def _mark(sha256: str, data: bytes) -> bytes:
    return hashlib.blake2b(sha256.encode() + data, digest_size=8).digest()
