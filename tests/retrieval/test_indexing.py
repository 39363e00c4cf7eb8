"""The index: brought up to date by what changed only, whole whatever kills it, and never believed when damaged."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from converter.bench.retrieval import make_pictures
from tests.retrieval.conftest import COUNT, begin, search

MANY = 400


@pytest.fixture
def photos(scenes: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(scenes, tmp_path / "photos"))


def index(onnx_only: Path, photos: Path, *more: str) -> tuple[Any, dict[str, Any]]:
    """Bring the ONNX index up to date, ask it, and give (what was printed, what became of the index)."""
    cache = photos.parent / "indexes"
    done, found = search(
        "--index", photos, "--with", f"{onnx_only}:onnx/fp32", "--index-cache", cache, "--query", "a", *more
    )
    return done, found


def counts(found: dict[str, Any]) -> dict[str, int]:
    return {name: found["indexed"][0][name] for name in ("kept", "embedded", "reused", "removed")}


def hits(found: dict[str, Any]) -> list[tuple[str, float]]:
    return [(hit["name"], hit["score"]) for hit in found["searched"][0]["answers"][0]["hits"]]


def test_only_what_changed_is_embedded(onnx_only: Path, photos: Path) -> None:
    """New, changed, touched, renamed, copied and deleted files, each for itself; answers follow."""
    _, first = index(onnx_only, photos)
    _, again = index(onnx_only, photos)
    assert counts(first) == {"kept": 0, "embedded": COUNT, "reused": 0, "removed": 0}
    assert counts(again) == {"kept": COUNT, "embedded": 0, "reused": 0, "removed": 0}

    best = hits(first)[0][0]
    os.utime(photos / "05.png", (1, 1))
    (photos / "06.png").rename(photos / "renamed.png")
    shutil.copy(photos / "07.png", photos / "copied.png")
    (photos / "08.png").write_bytes((photos / "09.png").read_bytes()[:-1] + b"x")
    (photos / best).rename(photos / "best.png")
    (photos / ("10.png" if best != "10.png" else "11.png")).unlink()
    _, after = index(onnx_only, photos)

    assert counts(after)["embedded"] == 1 and counts(after)["removed"] == 3 and counts(after)["reused"] == 4
    assert hits(after)[0] == ("best.png", hits(first)[0][1])


def test_a_deleted_photograph_is_not_found(onnx_only: Path, photos: Path) -> None:
    """What was the best is gone from the next answer, and so is its vector."""
    _, first = index(onnx_only, photos)
    (photos / hits(first)[0][0]).unlink()

    _, after = index(onnx_only, photos)

    assert hits(after)[0] == hits(first)[1]
    (ledger,) = photos.parent.rglob("ledger.sqlite")
    with sqlite3.connect(ledger) as connection:
        assert connection.execute("SELECT COUNT(*) FROM vector").fetchone() == (COUNT - 1,)


def test_an_unreadable_photograph_is_said_and_left_out(onnx_only: Path, photos: Path) -> None:
    """Exit code 8, each time, without reading it again; mended, it is found."""
    whole = (photos / "04.png").read_bytes()
    (photos / "04.png").write_bytes(whole[:300])

    done, found = index(onnx_only, photos)
    again, kept = index(onnx_only, photos)
    (photos / "04.png").write_bytes(whole)
    mended, now = index(onnx_only, photos)

    assert done.code == again.code == 8 and "04.png" in done.err and "04.png" in again.err
    assert found["indexed"][0]["unread"][0]["name"] == "04.png"
    assert counts(kept)["kept"] == COUNT
    assert mended.code == 0 and counts(now)["embedded"] == 1


@pytest.mark.parametrize("damage", ["flipped", "cut", "missing"])
def test_a_damaged_faiss_file_is_noticed_and_made_again(onnx_only: Path, photos: Path, damage: str) -> None:
    """From the ledger's vectors, without embedding; one line says so, and answers are as before."""
    _, first = index(onnx_only, photos)
    (file,) = photos.parent.rglob("vectors.faiss")
    data = bytearray(file.read_bytes())
    data[-40] ^= 0x7F
    file.write_bytes(bytes(data) if damage == "flipped" else bytes(data[:100]))
    if damage == "missing":
        file.unlink()

    done, after = index(onnx_only, photos)
    whole, _ = index(onnx_only, photos)

    assert ("missing" if damage == "missing" else "damaged") in done.err and "built anew" in done.err
    assert counts(after)["embedded"] == 0 and hits(after) == hits(first)
    assert "built anew" not in whole.err


def test_a_damaged_vector_is_embedded_again(onnx_only: Path, photos: Path) -> None:
    """One number changed in the ledger: noticed by its check, and only that one made again."""
    _, first = index(onnx_only, photos)
    (ledger,) = photos.parent.rglob("ledger.sqlite")
    with sqlite3.connect(ledger) as connection:
        (data,) = connection.execute("SELECT data FROM vector WHERE id = 1").fetchone()
        connection.execute("UPDATE vector SET data = ? WHERE id = 1", (data[:-1] + b"\x01",))

    done, after = index(onnx_only, photos)

    assert "1 vectors" in done.err and counts(after)["embedded"] == 1 and hits(after) == hits(first)


def test_a_ledger_that_is_no_database_is_begun_anew(onnx_only: Path, photos: Path) -> None:
    """Said, and everything embedded again."""
    _, first = index(onnx_only, photos)
    (ledger,) = photos.parent.rglob("ledger.sqlite")
    ledger.write_bytes(b"no database" * 1000)

    done, after = index(onnx_only, photos)

    assert "begun anew" in done.err and counts(after)["embedded"] == COUNT and hits(after) == hits(first)


def test_a_killed_indexing_goes_on_where_it_was(onnx_only: Path, tmp_path: Path) -> None:
    """SIGKILL after the first commit: the next run embeds only what was not committed, and answers as a fresh one."""
    photos = tmp_path / "many"
    make_pictures(photos, MANY)
    command = ["search", "--index", str(photos), "--with", f"{onnx_only}:onnx/fp32", "--query", "a"]
    process = begin(*command, "--index-cache", str(tmp_path / "indexes"))
    while not committed(tmp_path):
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.002)
    process.kill()
    process.wait()
    done = committed(tmp_path)

    _, resumed = index(onnx_only, photos)
    shutil.move(tmp_path / "indexes", tmp_path / "first")
    _, fresh = index(onnx_only, photos)

    assert 0 < done < MANY
    assert counts(resumed) == {"kept": done, "embedded": MANY - done, "reused": 0, "removed": 0}
    assert counts(fresh)["embedded"] == MANY and hits(resumed) == hits(fresh)


def committed(place: Path) -> int:
    """Photographs in the ledger now."""
    for ledger in (place / "indexes").rglob("ledger.sqlite"):
        try:
            with sqlite3.connect(f"file:{ledger}?mode=ro", uri=True) as connection:
                return int(connection.execute("SELECT COUNT(*) FROM photo").fetchone()[0])
        except sqlite3.OperationalError:  # not made yet, or being committed
            return 0
    return 0


def test_two_at_once_embed_each_photograph_once(onnx_only: Path, tmp_path: Path) -> None:
    """One waits for the other and finds all done."""
    photos = tmp_path / "many"
    make_pictures(photos, 100)
    command = ["search", "--index", str(photos), "--with", f"{onnx_only}:onnx/fp32", "--query", "a", "--json"]

    both = [begin(*command, "--index-cache", str(tmp_path / "indexes")) for _ in range(2)]
    found = [json.loads(process.communicate(timeout=120)[0]) for process in both]

    assert [process.returncode for process in both] == [0, 0]
    assert sorted(counts(one)["embedded"] for one in found) == [0, 100]
    assert hits(found[0]) == hits(found[1])
