"""The file to ship follows from the figures: other figures, another file; no file that PASSED, exit code 6."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from converter.agreement import REFERENCE, Agreement, RankAgreement, Side, TowerMatrix, TowerPair
from converter.errors import ParityError
from converter.manifest import ManifestEntry
from converter.records import to_json
from tests.advice.made_up import ANDROID, around, benchmark, entry, keep, measured, proof, write_folder
from tests.inference.conftest import use


@pytest.fixture
def files(tmp_path: Path) -> list[ManifestEntry]:
    """TFLite and ONNX, float32 and int8; int8 is half as large and less exact."""
    made = [
        entry(tmp_path, "image/tflite/fp32", "tflite", 2000, 0.9999999),
        entry(tmp_path, "image/tflite/int8", "tflite", 1000, 0.98, precision="int8"),
        entry(tmp_path, "image/onnx/fp32", "onnx", 2200, 0.9999998),
        entry(tmp_path, "image/onnx/int8", "onnx", 1100, 0.99, precision="int8"),
    ]
    write_folder(tmp_path, made)
    return made


def test_speed_follows_the_measured_times(files: list[ManifestEntry], tmp_path: Path) -> None:
    """The fastest file wins; when a later run has another order, another file does."""
    tflite32, tflite8, onnx32, onnx8 = files
    keep(tmp_path, (tflite32, 30.0), (tflite8, 10.0), (onnx32, 25.0), (onnx8, 18.0))
    first = _advised(tmp_path, "android", "speed")
    keep(tmp_path, (tflite32, 30.0), (tflite8, 50.0), (onnx32, 25.0), (onnx8, 18.0), created="2026-02-01T12:00:00Z")
    second = _advised(tmp_path, "android", "speed")

    assert _names(first) == ("image/tflite/int8", "image/onnx/int8")
    assert _names(second) == ("image/onnx/int8", "image/onnx/fp32")
    assert "time a call 1 of 4" in second["towers"][0]["decided_by"]
    assert second["towers"][0]["basis"]["created"] == "2026-02-01T12:00:00Z"


def test_files_that_noise_cannot_tell_apart_are_told_apart_by_size(files: list[ManifestEntry], tmp_path: Path) -> None:
    """20.0 ms and 20.1 ms with 10 % of noise: the smaller one, although the other one's median is lower."""
    _, tflite8, onnx32, _ = files
    fast = measured(onnx32, around(20.0, seed=1, noise=0.1))
    small = measured(tflite8, around(20.1, seed=2, noise=0.1))
    assert fast.latency_ms and small.latency_ms
    _write(tmp_path, fast, small)

    assert _names(_advised(tmp_path, "android", "speed"))[0] == "image/tflite/int8"


def test_files_that_differ_beyond_noise_are_told_apart_by_time(files: list[ManifestEntry], tmp_path: Path) -> None:
    """The twin: the same medians without noise, and the faster one wins although it is larger."""
    _, tflite8, onnx32, _ = files
    _write(tmp_path, measured(onnx32, around(20.0, seed=1, noise=0.001)),
           measured(tflite8, around(20.4, seed=2, noise=0.001)))  # fmt: skip

    assert _names(_advised(tmp_path, "android", "speed"))[0] == "image/onnx/fp32"


@pytest.mark.parametrize(("preference", "winner"), [("size", "image/tflite/int8"), ("fidelity", "image/tflite/fp32")])
def test_size_and_fidelity_need_no_benchmark(
    files: list[ManifestEntry], tmp_path: Path, preference: str, winner: str
) -> None:
    """Fidelity: float32 files are alike to rounding, so the smaller of them; that no time is known is said."""
    found = _advised(tmp_path, "android", preference)

    assert _names(found)[0] == winner
    assert found["towers"][0]["basis"] is None
    assert "time a call, of any file, by a benchmark" in found["towers"][0]["not_measured"]
    assert found["measure"] == [f"mcconvert bench {tmp_path} --adb auto --benchmark-binary benchmark_model"]


def test_ease_counts_facts(files: list[ManifestEntry], tmp_path: Path) -> None:
    """A file that takes pixels wins over its equal; LiteRT comes with Android, so ONNX cannot win there."""
    takes_pixels = entry(tmp_path, "image/tflite/fp32_pixels", "tflite", 2000, 0.9999999, dtype="uint8")
    write_folder(tmp_path, [*files, takes_pixels])

    assert _names(_advised(tmp_path, "android", "ease")) == ("image/tflite/fp32_pixels", "image/tflite/fp32")
    assert _names(_advised(tmp_path, "web", "ease"))[0] == "image/tflite/fp32_pixels"


def test_a_file_that_core_ml_itself_never_ran_has_a_fact_less(tmp_path: Path) -> None:
    """Off a Mac our interpreter ran the package; advice for iOS says so."""
    package = entry(tmp_path, "image/coreml/fp16", "mlpackage", 1000, 0.999)
    ours = proof(0.999, package.sha256, "mcconvert reference interpreter, torch 2, CPU")
    write_folder(tmp_path, [replace(package, parity=ours)])

    (tower,) = _advised(tmp_path, "ios", "size")["towers"]

    facts = {fact["name"]: fact["holds"] for fact in tower["winner"]["ease"]}
    assert facts["the runtime itself, without extra ops, ran it in the proof"] is False
    assert facts["Core ML comes with the system"] is True
    assert any("not a Mac" in line for line in tower["not_measured"])


def test_a_run_of_the_platforms_own_kind_goes_before_a_newer_one_of_this_machine(
    files: list[ManifestEntry], tmp_path: Path
) -> None:
    """On the phone the order is another; for a server this machine's run counts, without a caveat."""
    _, tflite8, onnx32, _ = files
    keep(tmp_path, (tflite8, 10.0), (onnx32, 20.0), system=ANDROID, name="a phone over adb")
    keep(tmp_path, (tflite8, 30.0), (onnx32, 20.0), created="2026-03-01T12:00:00Z")

    phone, server, iphone = (_advised(tmp_path, platform, "speed") for platform in ("android", "server-cpu", "ios"))

    assert (_names(phone)[0], phone["towers"][0]["basis"]["kind"]) == ("image/tflite/int8", "own")
    assert (_names(server)[0], server["towers"][0]["basis"]["kind"]) == ("image/onnx/fp32", "own")
    assert not phone["caveats"] and not server["caveats"]
    assert iphone["towers"][0]["basis"]["kind"] == "other"
    assert "times are from another kind of machine" in iphone["caveats"][0]


def test_times_of_other_bytes_are_not_used(files: list[ManifestEntry], tmp_path: Path) -> None:
    """The file was exported anew since it was measured: its time is left out, and that is said."""
    _, tflite8, onnx32, _ = files
    keep(tmp_path, (replace(tflite8, sha256="0" * 64), 1.0), (onnx32, 20.0))

    found = _advised(tmp_path, "android", "speed")

    assert _names(found)[0] == "image/onnx/fp32"
    assert found["towers"][0]["basis"]["stale"] == ["image/tflite/int8"]
    assert any("today's bytes of image/tflite/int8" in line for line in found["towers"][0]["not_measured"])


def test_a_file_whose_bytes_changed_is_not_shipped(files: list[ManifestEntry], tmp_path: Path) -> None:
    """The smallest file was overwritten: the next one is named, and why."""
    (tmp_path / files[1].path).write_bytes(b"something else")

    found = _advised(tmp_path, "android", "size")

    assert _names(found)[0] == "image/onnx/int8"
    assert any("not the proven ones" in one["why"] for one in found["towers"][0]["left_out"])


def test_nothing_that_passed_fits(files: list[ManifestEntry], tmp_path: Path) -> None:
    """Exit code 6, and why each file was left out; on a platform whose format PASSED, exit code 0."""
    failed = [replace(one, status="FAILED", failures=("centred_cosine_min 0.2 is below 0.9",)) for one in files]
    script = entry(tmp_path, "image/torchscript/fp32", "pt")
    write_folder(tmp_path, [*failed, script])

    refused = use("advise", tmp_path, "--for", "android")
    taken = use("advise", tmp_path, "--for", "server-cpu")

    assert refused.code == ParityError.exit_code
    assert "left out: image/tflite/fp32, image/tflite/int8" in refused.out
    assert "FAILED: centred_cosine_min 0.2 is below 0.9" in refused.out
    assert "torchscript files do not run on Android phones" in refused.out
    assert "no file of the image tower that PASSED fits android" in refused.err
    assert taken.code == 0
    assert "ship torchscript/image_fp32.pt" in taken.out


def test_a_proof_of_other_bytes_is_none(files: list[ManifestEntry], tmp_path: Path) -> None:
    """PASSED, but the report is of another sha256."""
    write_folder(tmp_path, [replace(files[0], parity=proof(0.9999, "1" * 64))])

    refused = use("advise", tmp_path, "--for", "android")

    assert refused.code == ParityError.exit_code
    assert "its proof is of other bytes" in refused.out


def test_untrained_weights_are_said_loudly(files: list[ManifestEntry], tmp_path: Path) -> None:
    """In a frame, and among the caveats."""
    write_folder(tmp_path, files, trained=False)

    used = use("advise", tmp_path, "--for", "android", "--prefer", "size")

    assert "NOT TRAINED" in used.err
    assert "do not ship" in used.out


def test_two_runtimes_in_one_app_are_said(files: list[ManifestEntry], tmp_path: Path) -> None:
    """TFLite is fastest for images, ONNX for texts: what either alone would take is said; with one format, nothing."""
    _, image8, _, onnx8 = files
    texts = [entry(tmp_path, "text/tflite/fp32", "tflite", 1000), entry(tmp_path, "text/onnx/fp32", "onnx", 3000)]
    write_folder(tmp_path, [*files, *texts])
    keep(tmp_path, (image8, 10.0), (onnx8, 15.0), (texts[0], 30.0), (texts[1], 20.0), system=ANDROID)

    together = _advised(tmp_path, "android", "speed")["together"]
    size = _advised(tmp_path, "android", "size")["together"]

    assert together[0] == "an app needs LiteRT and ONNX Runtime Mobile for these two files"
    assert "with LiteRT alone: image/tflite/int8 (9.99 ms) and text/tflite/fp32 (29.9 ms)" in together[1]
    assert "with ONNX Runtime Mobile alone: image/onnx/int8 (15 ms)" in together[2]
    assert not any("alone" in line for line in size)


def test_both_towers_are_looked_at_together(files: list[ManifestEntry], tmp_path: Path) -> None:
    """int8 beside float32 is said; with a matrix, what an index of PyTorch's gives the file that searches it."""
    text = entry(tmp_path, "text/tflite/fp32", "tflite", 5000, 0.999999)
    write_folder(tmp_path, [*files, text])
    without = _advised(tmp_path, "android", "size")
    _write_matrix(tmp_path, "tflite/int8", found=0.875)
    with_matrix = _advised(tmp_path, "android", "size")

    assert any("differ in precision: int8 (image) with fp32 (text)" in line for line in without["together"])
    assert any("there is no matrix.json" in line for line in without["together"])
    assert any("gives 87.5% of the 5 best" in line for line in with_matrix["together"])


def _advised(folder: Path, platform: str, preference: str) -> dict[str, Any]:
    used = use("advise", folder, "--for", platform, "--prefer", preference, "--json")
    assert used.code == 0, used.err
    return dict(json.loads(used.out))


def _names(advice: dict[str, Any]) -> tuple[str, str | None]:
    tower = advice["towers"][0]
    return tower["winner"]["step_id"], tower["runner_up"]["step_id"] if tower["runner_up"] else None


def _write(folder: Path, *rows: Any) -> None:
    from converter.bench.history import write_run

    write_run(folder, benchmark(rows))


def _write_matrix(folder: Path, row: str, found: float) -> None:
    ranking = RankAgreement(
        queries=64, gallery=64, k=5, tie_margin=0.0, top1=1.0, top1_strict=1.0, top_k=1.0, top_k_strict=1.0, same=64,
        same_strict=64, kendall_tau=1.0, score_diff_max=0.0,
    )  # fmt: skip
    pair = TowerPair(
        one=REFERENCE, other=row, centred_cosine_min=1.0, centred_cosine_mean=1.0, worst_sample="", ranking=ranking,
        mixed_of_one=found, mixed_of_other=0.5,
    )  # fmt: skip
    sides = tuple(Side(name=name, target="", folder="", executed_by="") for name in (REFERENCE, row))
    matrix = TowerMatrix(tower="image", sample_set="64", sides=sides, pairs=(pair,))
    agreement = Agreement(model="toy", trained=True, k=5, towers=(matrix,), zero_shot=None, left_out=())
    (folder / "matrix.json").write_bytes(to_json(agreement))
    later = (folder / "manifest.json").stat().st_mtime + 5
    os.utime(folder / "matrix.json", (later, later))
