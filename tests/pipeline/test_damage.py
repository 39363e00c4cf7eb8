"""The doctor on what earlier runs wrote: each damage is found, named, and told what to do about."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from converter.files import TAG, hash_path, make_tagged, stamps, write_atomically
from converter.pipeline.cache import Cache, Entry, Last, Proof, key_of
from converter.pipeline.damage import cache_findings, folder_findings
from converter.records import Artifact, Finding, to_json

INGREDIENTS = {"opset": "17"}
KEY = key_of(INGREDIENTS)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    """One whole entry, of a step that is known."""
    cache = Cache(tmp_path / "cache")
    with cache.staging() as staging:
        folder = staging / "made"
        folder.mkdir()
        (folder / "a.onnx").write_bytes(b"x" * 100)
        artifact = Artifact(
            path="a.onnx", format="onnx", target="onnx", tower="image", precision="fp32", inputs=(), outputs=(),
            sha256=hash_path(folder / "a.onnx")[0], size_bytes=100,
        )  # fmt: skip
        cache.commit(
            folder,
            Entry(key=KEY, ingredients=INGREDIENTS, artifact=artifact, stamps=stamps(folder / "a.onnx"),
                  proof=Proof(key="p", vs_reference=None, vs_parent=None)),
        )  # fmt: skip
    cache.remember("nano", "image/onnx/fp32", Last(ingredients=INGREDIENTS, proof_ingredients={}, tolerances=""))
    yield cache


def _damage(cache: Cache, *, deep: bool = False) -> list[Finding]:
    return [one for one in cache_findings(cache, deep=deep) if one.damaged]


def test_a_whole_cache_is_well(cache: Cache) -> None:
    """Nothing is found where nothing is wrong, however deep one looks."""
    assert _damage(cache) == _damage(cache, deep=True) == []


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("cut", "a.onnx has 10 bytes, and had 100"),
        ("lost", "a.onnx has no bytes, and had 100"),
        ("changed", "a.onnx was changed since it was made"),
        ("record", "entry.json was changed or cut off"),
        ("no record", "it has no entry.json"),
    ],
)
def test_a_damaged_entry_is_named_with_its_step(cache: Cache, how: str, words: str) -> None:
    """Which step, what is wrong, and that a run mends it."""
    file, record = cache.folder(KEY) / "a.onnx", cache.folder(KEY) / "entry.json"
    if how == "lost":
        file.unlink()
    elif how == "no record":
        record.unlink()
    else:
        {"cut": file, "changed": file, "record": record}[how].write_bytes(b"y" * (100 if how == "changed" else 10))

    (found,) = _damage(cache)

    assert found.seen.startswith("nano image/onnx/fp32: ")
    assert words in found.seen
    assert "the next run makes it anew" in found.advice


def test_leftovers_of_dead_runs_are_named(cache: Cache) -> None:
    """They cost disk, and the next run takes them away."""
    (cache.root / "staging" / "dead").mkdir()

    found = {one.name: one for one in cache_findings(cache, deep=False)}

    assert "1 in" in found["cache leftovers"].seen
    assert not found["cache leftovers"].damaged


def test_a_folder_is_judged_by_what_lies_in_it(cache: Cache, tmp_path: Path) -> None:
    """A manifest that cannot be read is damage with a way on; half-written files are named."""
    folder = tmp_path / "out" / "nano"
    make_tagged(folder)
    (folder / "manifest.json").write_text("{")
    (folder / f".manifest.json.1{TAG}").touch()

    found = list(folder_findings(tmp_path / "out", cache, {folder: "manifest.json: not a manifest"}, deep=False))

    assert [one.damaged for one in found] == [True, False]
    assert found[0].advice == "run the export again: it writes a new one"
    assert "half written: .manifest.json.1" in found[1].seen


def test_a_record_of_another_time_is_no_damage(cache: Cache) -> None:
    """Touched, not changed: hashed once, and well."""
    os.utime(cache.folder(KEY) / "a.onnx", (1, 1))
    write_atomically(cache.root / "seen" / "x.json", to_json(()))

    assert _damage(cache) == []
