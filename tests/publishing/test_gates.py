"""What must hold before anything leaves: each gate refuses by name, and only what has a name can be waived."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from converter.files import hash_path
from converter.manifest import Manifest, MissingFile
from converter.publishing.gates import WAIVERS, Examined, examine
from converter.publishing.manifest import read_manifest, write_manifest
from tests.publishing.provable import TOLERANCES, make_provable, measured, proven, rewrite, with_entry

ONNX = "onnx/image_fp32.onnx"


def looked(folder: Path, *allowed: str) -> Examined:
    return examine(folder, read_manifest(folder), allowed)


def seen(found: Examined) -> str:
    return "\n".join(f"{one.subject}: {one.seen}" for one in found.refusals)


def test_a_proven_folder_passes(tmp_path: Path) -> None:
    """The twin of everything below: nothing is refused, waived or left out."""
    make_provable(tmp_path)

    assert looked(tmp_path) == Examined(refusals=(), waived=(), left_out=())


@pytest.mark.parametrize("path", [ONNX, "reference/image_embeddings.npz", "reference/image.pt", "tokenizer.json",
                                  "coreml/image_fp32.mlpackage/Data/weights/weight.bin"])  # fmt: skip
@pytest.mark.parametrize("how", ["changed", "removed"])
def test_changed_bytes_are_refused_whatever_is_allowed(tmp_path: Path, path: str, how: str) -> None:
    """A file, a reference, the tokenizer, a file in a package: named, and not to be waived."""
    make_provable(tmp_path)
    data = (tmp_path / path).read_bytes()
    (tmp_path / path).unlink()
    if how == "changed":
        (tmp_path / path).write_bytes(data[:-1] + b"X")

    found = looked(tmp_path, *WAIVERS)

    assert path.partition(".mlpackage")[0] in seen(found)
    assert not any(one.waiver for one in found.refusals)


def test_a_manifest_that_was_made_to_fit_a_changed_file_is_refused(tmp_path: Path) -> None:
    """Its hash in the manifest too: parity was measured on other bytes, and the documents say otherwise."""
    manifest = make_provable(tmp_path)
    (tmp_path / ONNX).write_bytes(b"another network")
    sha256, size_bytes = hash_path(tmp_path / ONNX)
    fitted = with_entry(manifest, ONNX, sha256=sha256, size_bytes=size_bytes)
    write_manifest(tmp_path / "manifest.json", dataclasses.replace(manifest, artifacts=fitted))

    found = seen(looked(tmp_path, *WAIVERS))

    assert f"{ONNX}: parity was measured on other bytes" in found
    assert "manifest.json" in found


def cases(manifest: Manifest) -> dict[str, tuple[dict[str, Any], str]]:
    """Changes of one entry, and what is said of each."""
    entry = next(one for one in manifest.artifacts if one.path == ONNX)
    report = dataclasses.replace(entry.parity or measured(), passed=True)
    empty = dataclasses.replace(report.outputs[0], shape=(0, 16))
    worse = proven(entry, 0.3).parity
    return {
        "no report": ({"parity": None}, "nothing was compared"),
        "no outputs": ({"parity": dataclasses.replace(report, outputs=())}, "nothing was compared"),
        "no samples": ({"parity": dataclasses.replace(report, outputs=(empty,))}, "nothing was compared"),
        "not bound": ({"parity": dataclasses.replace(report, candidate_sha256="")}, "measured on other bytes"),
        "lying status": ({"parity": worse}, "the manifest says PASSED, its figures do not: embedding: centred"),
        "no bounds": ({"tolerances": ()}, "no tolerance is set"),
        "lying failure": ({"status": "FAILED"}, "the manifest says FAILED, its figures pass"),
    }


@pytest.mark.parametrize("case", ["no report", "no outputs", "no samples", "not bound", "lying status", "no bounds",
                                  "lying failure"])  # fmt: skip
def test_a_verdict_is_made_anew_from_its_figures(tmp_path: Path, case: str) -> None:
    """The word PASSED is worth nothing by itself, and none of this can be waived."""
    manifest = make_provable(tmp_path)
    changes, words = cases(manifest)[case]
    rewrite(tmp_path, manifest, artifacts=with_entry(manifest, ONNX, **changes))

    found = looked(tmp_path, *WAIVERS)

    assert words in seen(found)
    assert {one.subject for one in found.refusals} == {ONNX}


def test_a_failed_file_is_left_out_and_a_required_one_refused(tmp_path: Path) -> None:
    """Not required: left out and said. Required: refused, or left out when that is allowed."""
    manifest = make_provable(tmp_path)
    entries = [proven(entry, 0.3) if entry.path == ONNX else entry for entry in manifest.artifacts]
    rewrite(tmp_path, manifest, artifacts=tuple(entries))
    refused, allowed = looked(tmp_path), looked(tmp_path, "failed-required")
    optional = [dataclasses.replace(entry, required=entry.path != ONNX) for entry in entries]
    rewrite(tmp_path, manifest, artifacts=tuple(optional))
    unneeded = looked(tmp_path, "failed-required")

    assert [one.waiver for one in refused.refusals] == ["failed-required"]
    assert "required, and FAILED: embedding: centred_cosine_mean" in seen(refused)
    assert not allowed.refusals
    assert [one.name for one in allowed.waived] == ["failed-required"]
    assert ONNX in allowed.waived[0].what
    assert allowed.left_out == unneeded.left_out == (ONNX,)
    assert unneeded.waived == ()


@pytest.mark.parametrize(
    ("waiver", "changes"),
    [
        ("untrained-weights", {"trained": False}),
        ("missing-required", {"missing": (MissingFile(step_id="image/tflite/int8", status="ERROR", required=True),)}),
    ],
)
def test_what_can_be_waived_is_refused_by_its_name(tmp_path: Path, waiver: str, changes: dict[str, Any]) -> None:
    """The refusal names the waiver; with it, the folder passes and the waiver says what it let through."""
    make_provable(tmp_path, **changes)
    others = [name for name in WAIVERS if name != waiver]

    assert [one.waiver for one in looked(tmp_path, *others).refusals] == [waiver]
    assert not looked(tmp_path, waiver).refusals
    assert [one.name for one in looked(tmp_path, waiver).waived] == [waiver]


def test_a_licence_must_be_named(tmp_path: Path) -> None:
    """An empty one is refused, and can be waived."""
    manifest = make_provable(tmp_path)
    rewrite(tmp_path, manifest, model=dataclasses.replace(manifest.model, license=" "))

    assert [one.waiver for one in looked(tmp_path).refusals] == ["unknown-licence"]
    assert not looked(tmp_path, "unknown-licence").refusals


def test_no_document_can_be_waived_but_a_wrong_one_cannot(tmp_path: Path) -> None:
    """Without a statement, by name; with one that contradicts the files, never."""
    make_provable(tmp_path)
    statement = (tmp_path / "provenance.json").read_bytes()
    (tmp_path / "provenance.json").write_bytes(statement.replace(b"1" * 8, b"2" * 8, 1) + b" ")
    wrong = looked(tmp_path, *WAIVERS)
    (tmp_path / "provenance.json").unlink()
    absent = looked(tmp_path)

    assert wrong.refusals
    assert [one.waiver for one in absent.refusals] == ["missing-provenance"]
    assert not looked(tmp_path, "missing-provenance").refusals


@pytest.mark.parametrize("path", ["../outside.onnx", "/etc/passwd", "onnx/../../x"])
def test_a_path_that_leads_outside_is_refused_before_it_is_read(tmp_path: Path, path: str) -> None:
    """Of a manifest that came from elsewhere."""
    manifest = make_provable(tmp_path)
    write_manifest(
        tmp_path / "manifest.json", dataclasses.replace(manifest, artifacts=with_entry(manifest, ONNX, path=path))
    )

    assert f"{path}: lies outside of the folder" in seen(looked(tmp_path, *WAIVERS))


def test_a_link_is_not_published(tmp_path: Path) -> None:
    """What it leads to is somewhere else tomorrow."""
    make_provable(tmp_path / "m")
    (tmp_path / "m" / ONNX).rename(tmp_path / "elsewhere.onnx")
    (tmp_path / "m" / ONNX).symlink_to(tmp_path / "elsewhere.onnx")

    assert f"{ONNX}: is a symbolic link" in seen(looked(tmp_path / "m", *WAIVERS))


def test_a_model_with_the_name_of_another_place_is_refused(tmp_path: Path) -> None:
    """Its name becomes a folder at the destination."""
    manifest = make_provable(tmp_path)
    rewrite(tmp_path, manifest, model=dataclasses.replace(manifest.model, id="../../etc"))

    assert "its model is called '../../etc'" in seen(looked(tmp_path, *WAIVERS))


def test_the_schema_is_held(tmp_path: Path) -> None:
    """A manifest may be read by others: a field of the wrong form is named by its path."""
    manifest = make_provable(tmp_path)
    raw = json.loads((tmp_path / "manifest.json").read_bytes())
    raw["artifacts"][0]["precision"] = "fp99"
    (tmp_path / "manifest.json").write_text(json.dumps(raw))

    found = examine(tmp_path, manifest, tuple(WAIVERS))

    assert "manifest.json: artifacts.0.precision" in seen(found)


def test_all_refusals_come_at_once(tmp_path: Path) -> None:
    """Mended one by one they would cost a run each."""
    manifest = make_provable(tmp_path, trained=False)
    assert TOLERANCES
    rewrite(tmp_path, manifest, artifacts=with_entry(manifest, ONNX, parity=None))
    (tmp_path / "tokenizer.json").write_text("[]")

    found = looked(tmp_path)

    assert {ONNX, "tokenizer.json", "mobileclip_s1"} <= {one.subject for one in found.refusals}
