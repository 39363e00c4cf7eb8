"""The store of finished steps: whole or not there."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from converter.files import TAG, half_written, hash_path, place, stamps, write_atomically
from converter.pipeline.cache import ENTRY, Cache, Entry, Proof, difference, key_of
from converter.records import Artifact

KEY = key_of({"a": "1"})


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def staging(cache: Cache) -> Iterator[Path]:
    with cache.staging() as folder:
        yield folder


def _entry(cache: Cache, staging: Path, content: bytes = b"x" * 1000, key: str = KEY) -> Entry:
    folder = staging / os.urandom(4).hex()
    folder.mkdir()
    (folder / "a.bin").write_bytes(content)
    sha256, size_bytes = hash_path(folder / "a.bin")
    artifact = Artifact(
        path="a.bin", format="onnx", target="onnx", tower="image", precision="fp32", inputs=(), outputs=(),
        sha256=sha256, size_bytes=size_bytes,
    )  # fmt: skip
    entry = Entry(
        key=key, ingredients={"a": "1"}, artifact=artifact, stamps=stamps(folder / "a.bin"),
        proof=Proof(key="p", vs_reference=None, vs_parent=None),
    )  # fmt: skip
    return cache.commit(folder, entry)


def test_what_was_committed_is_loaded(cache: Cache, staging: Path) -> None:
    """A committed entry comes back equal."""
    entry = _entry(cache, staging)

    assert cache.load(KEY) == entry
    assert cache.path(entry).read_bytes() == b"x" * 1000


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "entry", "entry_half"])
def test_a_damaged_entry_is_not_loaded(cache: Cache, staging: Path, damage: str) -> None:
    """One byte, a cut, a missing file, a foreign or cut record: none is ever taken for a result."""
    entry = _entry(cache, staging)
    path = cache.path(entry)
    record = cache.folder(KEY) / ENTRY

    if damage == "flip":
        path.write_bytes(b"x" * 500 + b"y" + b"x" * 499)
    elif damage == "truncate":
        path.write_bytes(b"x" * 10)
    elif damage == "remove":
        path.unlink()
    elif damage == "entry":
        record.write_bytes(b"{}")
    else:
        record.write_bytes(record.read_bytes()[:100])

    assert cache.load(KEY) is None
    assert cache.damaged(KEY)


def test_a_touched_file_with_the_same_bytes_is_still_good(cache: Cache, staging: Path) -> None:
    """A changed time alone costs a hash, not a conversion."""
    entry = _entry(cache, staging)

    os.utime(cache.path(entry), (1, 1))

    assert cache.load(KEY) == entry


def test_the_first_of_two_to_commit_wins(cache: Cache, staging: Path) -> None:
    """A second run's copy is dropped, the first one's stays as it was."""
    first = _entry(cache, staging, b"first")

    second = _entry(cache, staging, b"second")

    assert second == first
    assert cache.path(first).read_bytes() == b"first"


def test_a_damaged_entry_is_replaced(cache: Cache, staging: Path) -> None:
    """What cannot be loaded does not stand in the way."""
    cache.path(_entry(cache, staging)).write_bytes(b"")

    fresh = _entry(cache, staging, b"fresh")

    assert cache.load(KEY) == fresh
    assert cache.path(fresh).read_bytes() == b"fresh"


def test_folders_of_dead_runs_are_swept_and_living_ones_are_not(cache: Cache) -> None:
    """A killed run leaves nothing for ever; a running one loses nothing."""
    with cache.staging() as living:
        (living / "work").write_text("precious")
        dead = living.parent / "dead"
        dead.mkdir()
        (dead / "half").write_text("half")

        with cache.staging() as other:
            assert living.exists()
            assert (living / "work").read_text() == "precious"
            assert not dead.exists()
            assert other != living


def test_difference_is_said_in_words() -> None:
    """The reason for a rerun names what changed, from what to what where that is short."""
    assert difference(None, {"a": "1"}) == "first time"
    assert difference({"opset": "17"}, {"opset": "20"}) == "opset: 17 -> 20"
    assert difference({"source": "a" * 64}, {"source": "b" * 64}) == "source changed"
    assert difference({"a": "1"}, {"a": "1"}) == "not in the cache any more"


def test_write_atomically_keeps_the_old_bytes_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk in the middle of writing leaves the old file and no litter."""
    path = tmp_path / "m.json"
    path.write_bytes(b"old")

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")

    assert path.read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["m.json"]


def test_place_replaces_files_and_folders_whole(tmp_path: Path) -> None:
    """A folder takes the place of another with nothing of the old one left."""
    for name, inner in (("one", "a"), ("two", "b")):
        (tmp_path / name).mkdir()
        (tmp_path / name / inner).write_text(inner)
    target = tmp_path / "out" / "p.mlpackage"

    place(tmp_path / "one", target)
    place(tmp_path / "two", target)

    assert [one.name for one in target.iterdir()] == ["b"]
    assert [one.name for one in target.parent.iterdir()] == ["p.mlpackage"]


def test_hash_of_a_folder_sees_names_and_contents(tmp_path: Path) -> None:
    """A renamed file inside a folder changes its hash, as a changed byte does."""
    folder = tmp_path / "p"
    folder.mkdir()
    (folder / "a").write_text("1")
    before = hash_path(folder)[0]

    (folder / "a").rename(folder / "b")
    renamed = hash_path(folder)[0]
    (folder / "b").write_text("2")

    assert len({before, renamed, hash_path(folder)[0]}) == 3


def test_a_byte_changed_behind_an_unchanged_time_is_noticed(cache: Cache, staging: Path) -> None:
    """Size and modification time set back to what they were hide nothing."""
    entry = _entry(cache, staging)
    cache.trust(entry)
    path, then = cache.path(entry), cache.path(entry).stat()

    path.write_bytes(b"x" * 500 + b"y" + b"x" * 499)
    os.utime(path, ns=(then.st_atime_ns, then.st_mtime_ns))

    assert cache.inspect(KEY) == "a.bin was changed since it was made"


def test_what_nothing_touched_is_not_hashed_again(cache: Cache, staging: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A warm run reads no gigabytes; `deep` does."""
    entry = _entry(cache, staging)
    cache.load(KEY)
    hashed = []
    monkeypatch.setattr("converter.pipeline.cache.hash_path", lambda path: hashed.append(path) or hash_path(path))

    shallow = cache.load(KEY)
    assert (shallow, hashed) == (entry, [])
    deep = cache.inspect(KEY, deep=True)

    assert (deep, hashed) == (entry, [cache.path(entry)])


def test_no_byte_of_a_record_can_change_unseen(cache: Cache, staging: Path) -> None:
    """A digit of a measured figure is as much a part of the proof as the file: any flipped bit refuses the entry."""
    _entry(cache, staging)
    record = cache.folder(KEY) / ENTRY
    whole = record.read_bytes()

    for at in range(len(whole) - 1):
        record.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert isinstance(cache.inspect(KEY), str), at
    record.write_bytes(whole)

    assert cache.load(KEY) is not None


def test_a_whole_entry_is_never_moved_away_by_another_run(
    cache: Cache, staging: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run may be reading it: who comes second takes what is there."""
    _entry(cache, staging, b"first")
    monkeypatch.setattr(Cache, "drop", lambda *_: pytest.fail("a whole entry was dropped"))

    assert _entry(cache, staging, b"second").artifact.size_bytes == 5


def test_locks_and_half_written_records_of_dead_runs_are_swept(cache: Cache) -> None:
    """Neither a lock without its folder nor a record that was half written long ago stays for ever."""
    (cache.root / "staging").mkdir(parents=True)
    lock = cache.root / "staging" / "dead.lock"
    lock.touch()
    old, young = cache.root / f".old.json.1{TAG}", cache.root / f".young.json.2{TAG}"
    for path in (old, young):
        path.touch()
    os.utime(old, (1, 1))

    with cache.staging():
        assert not lock.exists()
        assert not old.exists()
        assert young.exists()


def test_place_heeds_bytes_not_times(tmp_path: Path) -> None:
    """A copy that was changed and set back in time is replaced; one that is equal is left alone."""
    source, copy = tmp_path / "a", tmp_path / "b"
    source.write_bytes(b"good")
    copy.write_bytes(b"evil")
    os.utime(copy, ns=(source.stat().st_atime_ns, source.stat().st_mtime_ns))

    place(source, copy)

    assert copy.read_bytes() == b"good"


@pytest.mark.skipif(sys.platform != "linux", reason="exchanging two paths in one step is Linux's")
def test_a_folder_is_there_at_every_moment_of_its_replacement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old or new, never neither: what reads or dies in the middle finds a whole folder."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "inner").write_text(name)
    target = tmp_path / "out" / "p.mlpackage"
    place(tmp_path / "one", target)
    monkeypatch.setattr(Path, "rename", lambda *_: pytest.fail("the folder was moved away"))

    place(tmp_path / "two", target)

    assert (target / "inner").read_text() == "two"
    assert half_written(tmp_path) == []
