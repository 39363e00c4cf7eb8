"""Runs are kept, found again, and taken in from elsewhere only when they are what they say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from converter.bench.history import MOST_BYTES, previous_run, read_history, take_in, write_run
from converter.benchmarked import Ratio
from converter.errors import UsageError
from converter.manifest import Manifest, ManifestEntry
from converter.records import to_json
from tests.advice.made_up import ANDROID, around, benchmark, entry, measured, write_folder
from tests.inference.conftest import use


@pytest.fixture
def one(tmp_path: Path) -> ManifestEntry:
    """A file in a folder with a manifest."""
    made = entry(tmp_path, "image/tflite/fp32", "tflite")
    write_folder(tmp_path, [made])
    return made


def test_the_previous_run_is_the_newest_of_the_same_machine(one: ManifestEntry, tmp_path: Path) -> None:
    """A phone's, one with other threads, a later one and the run itself are passed over."""
    row = measured(one, around(10.0))
    runs = [
        benchmark([row], created="2026-01-01T00:00:00Z"),
        benchmark([row], created="2026-01-02T00:00:00Z"),
        benchmark([row], created="2026-01-03T00:00:00Z", system=ANDROID),
        benchmark([row], created="2026-01-04T00:00:00Z", threads=4),
        benchmark([row], created="2026-01-09T00:00:00Z"),
    ]
    for run in reversed(runs):
        write_run(tmp_path, run)
    kept, unread = read_history(tmp_path)

    found = previous_run(kept, benchmark([row], created="2026-01-05T00:00:00Z"))

    assert not unread
    assert [run.benchmark.created for run in kept] == sorted(run.created for run in runs)
    assert found is not None and found.benchmark.created == "2026-01-02T00:00:00Z"


def test_a_damaged_run_is_said_and_the_others_are_read(one: ManifestEntry, tmp_path: Path) -> None:
    """Half of a file is no run."""
    path = write_run(tmp_path, benchmark([measured(one, around(10.0))]))
    (path.parent / "half.json").write_bytes(path.read_bytes()[:500])

    kept, unread = read_history(tmp_path)

    assert len(kept) == 1
    assert "half.json: not a run of 'mcconvert bench'" in unread[0]


def test_a_run_from_a_phone_is_taken_in(one: ManifestEntry, tmp_path: Path) -> None:
    """Its file is the manifest's, byte for byte; the same run twice is one."""
    given = tmp_path / "phone.json"
    given.write_bytes(to_json(benchmark([measured(one, around(10.0))], system=ANDROID, name="a phone")))

    first, second = (use("bench", tmp_path, "--import", given) for _ in range(2))

    assert (first.code, second.code) == (0, 0)
    assert len(read_history(tmp_path)[0]) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sha256": "0" * 64}, "does not list"),
        ({"step_id": "image/tflite/int8"}, "whose sha256 is that of image/tflite/fp32"),
        ({"rounds_ms": ()}, "0 rounds"),
        ({"rounds_ms": (1.0, -1.0)}, "above zero"),
        ({"latency_ms": None}, "neither measured nor said why not"),
        ({"vs_pytorch": Ratio(value=3.0, interval=(1.0, 2.0))}, "does not hold its own figure"),
        ({"executed_by": "x" * 501}, "at most 500 printable characters"),
        ({"path": "a\x1b[31mb"}, "printable characters"),
        ({"load_ms": -1.0}, "negative"),
    ],
)
def test_a_run_that_cannot_be_is_refused(
    one: ManifestEntry, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    """A stranger's figures, other files' figures, and figures that no run can have; nothing is kept."""
    given = tmp_path / "phone.json"
    given.write_bytes(to_json(benchmark([replace(measured(one, around(10.0)), **change)])))

    used = use("bench", tmp_path, "--import", given)

    assert used.code == UsageError.exit_code
    assert words in used.err
    assert not (tmp_path / "benchmarks").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": "another"}, "measured another"),
        ({"schema_version": 99}, "this version reads 1"),
        ({"created": "yesterday"}, "a time in UTC"),
        ({"created": "2026-01-31T12:00:00Z/../../x"}, "a time in UTC"),
        ({"rows": []}, "0 rows"),
        ({"machine": None}, "Expected `object`"),
    ],
)
def test_a_document_that_is_none_is_refused(
    one: ManifestEntry, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    """Of another model, of another version, with a time that is a path, without rows, of another form."""
    given = tmp_path / "phone.json"
    document = json.loads(to_json(benchmark([measured(one, around(10.0))])))
    given.write_text(json.dumps(document | change))

    used = use("bench", tmp_path, "--import", given)

    assert used.code == UsageError.exit_code
    assert words in used.err


def test_a_row_that_is_there_twice_is_refused(one: ManifestEntry, tmp_path: Path) -> None:
    """Which of the two would count is not known."""
    given = tmp_path / "phone.json"
    given.write_bytes(to_json(benchmark([measured(one, around(10.0))] * 2)))

    assert "is there twice" in use("bench", tmp_path, "--import", given).err


def test_a_document_of_any_length_is_not_read(one: ManifestEntry, tmp_path: Path) -> None:
    """Its size is looked at before its bytes."""
    manifest: Manifest = write_folder(tmp_path, [one])
    given = tmp_path / "phone.json"
    with given.open("wb") as stream:
        stream.truncate(MOST_BYTES + 1)

    with pytest.raises(UsageError, match="has at most"):
        take_in(tmp_path, manifest, given)
