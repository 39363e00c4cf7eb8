"""Single bytes changed and files cut, in all that a run reads again: noticed, or of no effect; never a traceback.

Most are judged in this process, by what `load`, `verify --hashes-only` and a warm run do; some by a whole run, which
must end with the undisturbed run's bytes.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from converter.errors import McconvertError
from converter.manifest import Manifest
from converter.pipeline.cache import Cache, Entry
from converter.pipeline.verify import VerifySettings, verify
from converter.publishing.manifest import read_manifest
from tests.faults.command import any_command, use
from tests.faults.conftest import SEED, Export, Faults
from tests.faults.wholeness import check_all_as_ever, listed

BYTES = int(os.environ.get("FAULTS_BYTES") or 40)
"""How many bytes of each large file are flipped, spread over its whole length."""
ARTIFACTS = ("onnx/image_fp32.onnx", "onnx/image_fp32_dynamic.onnx", "tflite/image_fp32.tflite")


@pytest.fixture
def export(undisturbed: Export, tmp_path: Path) -> Export:
    return undisturbed.copy(tmp_path)


def changes(path: Path, count: int) -> Iterator[tuple[str, Callable[[], None]]]:
    """Flip a bit in each of `count` places spread over a file, then cut it at every sixteenth; each is undone after.

    Every second flip sets the modification time back.
    """
    whole, stat = path.read_bytes(), path.stat()
    drawn = random.Random(f"{SEED} {path.name}")
    for number in range(count):
        at = min(len(whole) - 1, int(len(whole) * (number + drawn.random()) / count))

        def flip(at: int = at, bit: int = 1 << drawn.randrange(8), back: bool = bool(number % 2)) -> None:
            with path.open("r+b") as stream:
                stream.seek(at)
                stream.write(bytes([whole[at] ^ bit]))
            if back:
                os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))

        yield f"{path.name}: byte {at} of {len(whole)}", flip
        path.write_bytes(whole)
    for part in range(16):
        yield f"{path.name}: cut to {part}/16", lambda part=part: os.truncate(path, len(whole) * part // 16)
        path.write_bytes(whole)


@pytest.mark.faults
def test_no_byte_of_an_entry_changes_unseen(export: Export, faults: Faults) -> None:
    """Every byte of every record, and bytes over the whole length of every file: the entry is not taken."""
    cache = Cache(export.cache)
    for key in cache.all_keys():
        for path in sorted(cache.folder(key).iterdir()):
            count = path.stat().st_size - 1 if path.name == "entry.json" else BYTES
            for what, strike in changes(path, count):
                with faults.inject(f"entry {key[:8]}, {what}"):
                    strike()
                    assert isinstance(cache.inspect(key), str)
        assert isinstance(cache.inspect(key), Entry)


def _check_verify_names(folder: Path, name: str, entries: set[str]) -> None:
    results = verify(folder, read_manifest(folder), VerifySettings(hashes_only=True))
    wrong = [one for one in results if one.exit_code]
    assert {one.step_id for one in wrong} >= entries
    assert all(name in " ".join(one.failures) for one in wrong)
    assert wrong


@pytest.mark.faults
def test_verify_names_every_changed_file(export: Export, faults: Faults) -> None:
    """Artifacts, samples, embeddings, the traced tower: any byte, any cut."""
    for name in listed(export.folder):
        for what, strike in changes(export.folder / name, BYTES):
            with faults.inject(f"placed {what}"):
                strike()
                _check_verify_names(export.folder, name, set())


@pytest.mark.faults
def test_no_change_of_a_manifest_ends_in_a_traceback(export: Export, faults: Faults) -> None:
    """Every reader takes it or refuses it in words, and says nothing of a file that it cannot name."""
    path = export.folder / "manifest.json"
    for what, strike in changes(path, 20 * BYTES):
        with faults.inject(f"manifest, {what}"):
            strike()
            try:
                manifest = read_manifest(path)
                assert isinstance(manifest, Manifest)
                verify(export.folder, manifest, VerifySettings(hashes_only=True))
            except McconvertError as error:
                assert str(error)


PLACES = (
    "cache:image_fp32.onnx", "cache:image_fp32.tflite", "cache:candidate.npz", "cache:samples.npz", "cache:entry.json",
    "cache:image.pt", "out:onnx/image_fp32.onnx", "out:reference/image_samples.npz", "out:manifest.json",
)  # fmt: skip


@pytest.mark.faults
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("how", ["flip", "cut"])
def test_a_run_mends_what_was_changed(
    undisturbed: Export, export: Export, faults: Faults, place: str, how: str
) -> None:
    """The doctor sees it, the run completes, and every file equals the undisturbed run's."""
    where, _, name = place.partition(":")
    root = export.folder if where == "out" else export.cache / "steps"
    path = sorted(root.glob(name if where == "out" else f"*/{name}"))[0]
    drawn = random.Random(f"{SEED} {place}")

    with faults.inject(f"{how} in {place}"):
        stat, data = path.stat(), bytearray(path.read_bytes())
        data[drawn.randrange(len(data))] ^= 1
        path.write_bytes(data if how == "flip" else data[: len(data) // 2])
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        doctor = any_command(use("doctor", "--out", export.out, "--deep", "--json"), cache=export.cache)
        damaged = [one["seen"] for one in json.loads(doctor.out) if one["damaged"]]
        if place != "out:manifest.json" or how == "cut":
            assert doctor.code == 5, doctor.text
            assert damaged
        ran = export.run()
        assert ran.code == 0, ran.text
        check_all_as_ever(export.folder, export.cache, undisturbed.contents())


@pytest.mark.faults
def test_no_byte_of_a_package_changes_unseen(export: Export, faults: Faults) -> None:
    """An .mlpackage is a folder: each of its members counts, and so do a member more and a member less."""
    ran = export.run("--target", "coreml")
    assert ran.code == 0, ran.text
    package = export.folder / "coreml" / "image_fp32.mlpackage"
    name = "coreml/image_fp32.mlpackage"
    for member in sorted(path for path in package.rglob("*") if path.is_file()):
        for what, strike in changes(member, BYTES):
            with faults.inject(f"package, {what}"):
                strike()
                _check_verify_names(export.folder, name, {"image/coreml/fp32"})
    with faults.inject("a member more"):
        (package / "more").touch()
        _check_verify_names(export.folder, name, {"image/coreml/fp32"})
        assert export.run("--target", "coreml").code == 0
        assert not (package / "more").exists()


def test_a_sample_of_changed_bytes_is_noticed_and_mended(undisturbed: Export, export: Export, faults: Faults) -> None:
    """What `make faults` does at length: records, entries, placed files, and a run that mends a flipped byte."""
    cache = Cache(export.cache)
    for key in cache.all_keys():
        for path in sorted(cache.folder(key).iterdir()):
            for what, strike in changes(path, 3):
                with faults.inject(what):
                    strike()
                    assert isinstance(cache.inspect(key), str)
    for name in ARTIFACTS:
        for what, strike in changes(export.folder / name, 3):
            with faults.inject(what):
                strike()
                _check_verify_names(export.folder, name, set())
    with faults.inject("a byte of an artifact, its time set back"):
        _, strike = next(changes(export.folder / ARTIFACTS[2], 2))
        strike()
        ran = export.run()
        assert ran.code == 0, ran.text
        check_all_as_ever(export.folder, export.cache, undisturbed.contents())
