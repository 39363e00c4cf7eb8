"""The manifest: what is kept, what is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from converter.config import load_models
from converter.errors import UsageError
from converter.files import hash_path
from converter.manifest import FileRef, Manifest, ManifestEntry, ManifestModel, ManifestReference, TokenizerFile
from converter.publishing.manifest import listed_files, merge, model_part, read_manifest, read_manifests, write_manifest
from converter.records import Artifact, Weights

WEIGHTS = Weights(kind="seeded", sha256="0" * 64, trained=False)


def model(weights: Weights = WEIGHTS) -> ManifestModel:
    return model_part(load_models()["mobileclip_s1"], weights, 100.0)


def reference(embeddings: str = "e") -> ManifestReference:
    ref = FileRef(path="reference/x.npz", sha256=embeddings, size_bytes=1)
    module = Artifact(
        path="reference/image.pt", format="pytorch", target="pytorch", tower="image", precision="fp32", inputs=(),
        outputs=(),
    )  # fmt: skip
    return ManifestReference(tower="image", sample_set="photographs-64", samples=ref, embeddings=ref, module=module)


def entry(folder: Path, name: str) -> ManifestEntry:
    path = folder / "onnx" / f"{name}.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(name)
    sha256, size_bytes = hash_path(path)
    return ManifestEntry(
        step_id=f"image/onnx/{name}", target="onnx", tower="image", precision="fp32", format="onnx",
        path=f"onnx/{name}.onnx", sha256=sha256, size_bytes=size_bytes, inputs=(), outputs=(), recipe=None,
        parent_sha256="", status="PASSED", required=True, not_required_because="", failures=(), notes=(),
        tolerances=(), tie_margin=0.0, size_ratio=None, parity=None, parity_with_parent=None, tool_versions={},
    )  # fmt: skip


def written(folder: Path, *names: str) -> Manifest:
    manifest = merge(folder, model(), [reference()], [entry(folder, name) for name in names], {})
    write_manifest(folder / "manifest.json", manifest)
    return manifest


def test_a_manifest_comes_back_as_it_was_written(tmp_path: Path) -> None:
    """Write and read are inverse, by folder and by file."""
    manifest = written(tmp_path, "fp32")

    assert read_manifest(tmp_path) == read_manifest(tmp_path / "manifest.json") == manifest


def test_a_report_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    """Fields that came later are absent from it: no interval, no stress samples, no count of values."""
    output = {
        "name": "embedding", "shape": [64, 512], "max_abs": 1e-6, "cosine_min": 1.0, "centred_cosine_min": 1.0,
        "centred_cosine_mean": 1.0, "sqnr_db": 90.0, "spread": 0.3, "worst_index": 7, "nonfinite": 0, "passed": True,
    }  # fmt: skip
    ranking = {
        "queries": 64, "k": 5, "top1": 1.0, "top_k": 1.0, "top_k_strict": 1.0, "kendall_tau": 1.0,
        "score_diff_max": 1e-6, "tie_margin": 0.0, "passed": True,
    }  # fmt: skip
    report = {
        "reference": "r", "candidate": "c", "sample_set": "photographs-64", "executed_by": "e", "outputs": [output],
        "ranking": ranking, "structure": None, "passed": True,
    }  # fmt: skip
    written(tmp_path, "fp32")
    manifest = json.loads((tmp_path / "manifest.json").read_bytes())
    manifest["artifacts"][0]["parity"] = report
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))

    parity = read_manifest(tmp_path).artifacts[0].parity

    assert parity is not None
    assert parity.ranking is not None
    assert (parity.stress, parity.values_executed, parity.cautions) == (None, 0, ())
    assert (parity.ranking.groups, parity.ranking.top_k_interval) == (0, None)


def test_other_rows_are_kept_while_they_are_still_true(tmp_path: Path) -> None:
    """A run of one row keeps the others, sorted by step."""
    written(tmp_path, "fp32", "other")

    merged = merge(tmp_path, model(), [reference()], [entry(tmp_path, "fp16")], {})

    assert [one.step_id for one in merged.artifacts] == ["image/onnx/fp16", "image/onnx/fp32", "image/onnx/other"]


@pytest.mark.parametrize("what", ["weights", "reference", "changed", "removed"])
def test_what_is_no_longer_true_is_dropped(tmp_path: Path, what: str) -> None:
    """Other weights, another reference, changed bytes or a missing file: the old entry goes."""
    written(tmp_path, "fp32")
    weights, ref = WEIGHTS, reference()
    if what == "weights":
        weights = dataclasses.replace(WEIGHTS, sha256="1" * 64)
    elif what == "reference":
        ref = reference("f")
    elif what == "changed":
        (tmp_path / "onnx" / "fp32.onnx").write_text("fp3")
    else:
        (tmp_path / "onnx" / "fp32.onnx").unlink()

    merged = merge(tmp_path, model(weights), [ref], [entry(tmp_path, "fp16")], {})

    assert [one.step_id for one in merged.artifacts] == ["image/onnx/fp16"]


@pytest.mark.parametrize(("change", "kept"), [("", True), ("bytes", False), ("weights", False)])
def test_the_tokenizer_is_kept_while_it_is_still_true(tmp_path: Path, change: str, kept: bool) -> None:
    """A run of the image tower alone makes none, and leaves the one that is there."""
    file = tmp_path / "tokenizer.json"
    file.write_text("{}")
    tokenizer = TokenizerFile(
        path=file.name, sha256=hash_path(file)[0], size_bytes=2, context_length=77, start_token=49406, end_token=49407,
        pad_token=0, captions=435,
    )  # fmt: skip
    before = model_part(load_models()["mobileclip_s1"], WEIGHTS, 100.0, tokenizer)
    write_manifest(tmp_path / "manifest.json", merge(tmp_path, before, [reference()], [], {}))
    assert file in listed_files(tmp_path.parent)
    if change == "bytes":
        file.write_text("[]")
    weights = dataclasses.replace(WEIGHTS, sha256="1" * 64) if change == "weights" else WEIGHTS

    merged = merge(tmp_path, model(weights), [reference()], [entry(tmp_path, "fp16")], {})

    assert merged.model.tokenizer == (tokenizer if kept else None)


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"[]", b'{"schema_version": "one"}', b"\xff\xfe"])
def test_a_broken_manifest_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    """Truncated, foreign or mistyped: one message with the path."""
    (tmp_path / "manifest.json").write_bytes(content)

    with pytest.raises(UsageError, match="manifest.json: not a manifest"):
        read_manifest(tmp_path)


def test_the_weights_path_does_not_leave_the_machine(tmp_path: Path) -> None:
    """A manifest is published: it names the file of the weights, not where it lay."""
    found = model(dataclasses.replace(WEIGHTS, kind="file", path="/home/someone/secret/my.pt"))

    assert found.weights.path == "my.pt"


def test_listed_files_stay_inside_the_manifests_folder(tmp_path: Path) -> None:
    """A path that climbs out of the folder is not one that clean may remove."""
    manifest = written(tmp_path / "m", "fp32")
    climbing = dataclasses.replace(manifest.artifacts[0], path="../outside.txt")
    write_manifest(
        tmp_path / "m" / "manifest.json", dataclasses.replace(manifest, artifacts=(climbing,), references=())
    )
    (tmp_path / "outside.txt").write_text("not ours")

    assert listed_files(tmp_path) == {}


@pytest.mark.parametrize(
    "name", ["../outside.txt", "../../etc/passwd", "/etc/passwd", ".", "", "onnx/..", "./", "onnx/../../other"]
)
def test_no_path_of_a_manifest_leads_out_or_to_its_folder(tmp_path: Path, name: str) -> None:
    """An edited manifest cannot make `clean` remove what it did not write."""
    manifest = written(tmp_path / "m", "fp32")
    edited = dataclasses.replace(manifest.artifacts[0], path=name)
    write_manifest(tmp_path / "m" / "manifest.json", dataclasses.replace(manifest, artifacts=(edited,), references=()))
    (tmp_path / "outside.txt").write_text("not ours")

    assert listed_files(tmp_path) == {}
    assert isinstance(read_manifests(tmp_path)[tmp_path / "m"], Manifest)
