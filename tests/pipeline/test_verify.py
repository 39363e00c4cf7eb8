"""Files on disk are judged again; the tokenizer is one of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from converter.config import load_models
from converter.files import hash_path
from converter.manifest import FileRef, Manifest, ManifestEntry, ManifestReference, TokenizerFile
from converter.pipeline.verify import VerifySettings, verify
from converter.publishing.manifest import merge, model_part
from converter.records import TOWERS, Artifact, ModelSpec, Tower, Weights

HASHES = VerifySettings(hashes_only=True)


@pytest.fixture
def spec() -> ModelSpec:
    """The default model."""
    return load_models()["mobileclip_s1"]


def test_a_changed_tokenizer_fails_the_text_tower_by_name(spec: ModelSpec, tmp_path: Path) -> None:
    """One byte is enough; the image tower does not need it."""
    manifest = _written(tmp_path, spec)
    assert [result.status for result in verify(tmp_path, manifest, HASHES)] == ["PASSED", "PASSED"]
    data = bytearray((tmp_path / "tokenizer.json").read_bytes())
    data[1] ^= 1
    (tmp_path / "tokenizer.json").write_bytes(data)

    image, text = verify(tmp_path, manifest, HASHES)

    assert image.status == "PASSED"
    assert (text.status, text.required, text.exit_code) == ("FAILED", True, 6)
    assert text.failures[0].startswith("tokenizer.json was changed: sha256")


def test_a_missing_tokenizer_shows_where_no_text_file_is_left(spec: ModelSpec, tmp_path: Path) -> None:
    """What the manifest names must be there."""
    manifest = _written(tmp_path, spec)
    (tmp_path / "tokenizer.json").unlink()
    image_only = replace(manifest, artifacts=manifest.artifacts[:1])

    (image,) = verify(tmp_path, image_only, HASHES)

    assert image.status == "FAILED"
    assert image.failures[0].startswith("tokenizer.json is missing")


def _written(folder: Path, spec: ModelSpec) -> Manifest:
    (folder / "tokenizer.json").write_text('{"version": "1.0"}')
    sha256, size_bytes = hash_path(folder / "tokenizer.json")
    tokenizer = TokenizerFile(
        path="tokenizer.json", sha256=sha256, size_bytes=size_bytes, context_length=77, start_token=49406,
        end_token=49407, pad_token=0, captions=435,
    )  # fmt: skip
    model = model_part(spec, Weights(kind="seeded", sha256="0" * 64, trained=False), 100.0, tokenizer)
    references = [_reference(folder, tower) for tower in TOWERS]
    return merge(folder, model, references, [_entry(folder, tower) for tower in TOWERS], {})


def _file(folder: Path, name: str) -> FileRef:
    (folder / name).write_text(name)
    sha256, size_bytes = hash_path(folder / name)
    return FileRef(path=name, sha256=sha256, size_bytes=size_bytes)


def _reference(folder: Path, tower: Tower) -> ManifestReference:
    samples, embeddings, module = (_file(folder, f"{tower}_{name}") for name in ("samples", "embeddings", "tower.pt"))
    artifact = Artifact(
        path=module.path, format="pytorch", target="pytorch", tower=tower, precision="fp32", inputs=(), outputs=(),
        sha256=module.sha256, size_bytes=module.size_bytes,
    )  # fmt: skip
    return ManifestReference(tower=tower, sample_set="", samples=samples, embeddings=embeddings, module=artifact)


def _entry(folder: Path, tower: Tower) -> ManifestEntry:
    file = _file(folder, f"{tower}.onnx")
    return ManifestEntry(
        step_id=f"{tower}/onnx/fp32", target="onnx", tower=tower, precision="fp32", format="onnx", path=file.path,
        sha256=file.sha256, size_bytes=file.size_bytes, inputs=(), outputs=(), recipe=None, parent_sha256="",
        status="PASSED", required=True, not_required_because="", failures=(), notes=(), tolerances=(), tie_margin=0.0,
        size_ratio=None, parity=None, parity_with_parent=None, tool_versions={},
    )  # fmt: skip
