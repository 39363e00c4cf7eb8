"""A model's folder with everything in it that a release has, tiny: plain files, a package of files, both towers."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

from converter.build import Build, Material, Origin
from converter.config import load_models
from converter.files import hash_path
from converter.manifest import FileRef, Manifest, ManifestEntry, ManifestReference, TokenizerFile
from converter.publishing.manifest import merge, model_part, write_manifest
from converter.publishing.provenance import write_provenance
from converter.records import TOWERS, Artifact, ModelSpec, Tower, Weights

WEIGHTS = Weights(kind="seeded", sha256="0" * 64, trained=False, seed=0)
FIRST, SECOND = "urn:uuid:00000000-0000-4000-8000-000000000001", "urn:uuid:00000000-0000-4000-8000-000000000002"
PACKAGE = "coreml/image_fp32.mlpackage"
SMALL_SBOM = b'{"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1}\n'


def make_build(invocation: str = FIRST, **changes: object) -> Build:
    """What an export of the folder below would tell of itself."""
    build = Build(
        parameters={"model": "mobileclip_s1", "weights": "seeded", "targets": ["onnx"]}, settings={"jobs": 1},
        materials=(
            Material(name="source", digest={"gitCommit": "a" * 40}, facts={"dirty": False}),
            Material(name="weights", digest={"sha256": WEIGHTS.sha256}, facts={"kind": "seeded"}),
        ),
        tools={"mcconvert": "0.1.0"}, invocation=invocation, started="2026-01-31T12:00:00Z",
        finished="2026-01-31T12:01:00Z",
        origins={path: Origin(how="built", invocation=invocation) for path in ("onnx/image_fp32.onnx", PACKAGE)},
    )  # fmt: skip
    return dataclasses.replace(build, **changes)  # type: ignore[arg-type]


def make_manifest(folder: Path, *names: str) -> Manifest:
    """Write files and a manifest that names them; without `names` two ONNX files and a Core ML package."""
    paths = names or ("onnx/image_fp32.onnx", "onnx/text_fp32.onnx", PACKAGE)
    tokenizer = _file(folder, "tokenizer.json")
    model = model_part(
        _spec(), WEIGHTS, 100.0,
        TokenizerFile(
            path=tokenizer.path, sha256=tokenizer.sha256, size_bytes=tokenizer.size_bytes, context_length=77,
            start_token=49406, end_token=49407, pad_token=0, captions=435,
        ),
    )  # fmt: skip
    manifest = merge(
        folder, model, [_reference(folder, tower) for tower in TOWERS], [_entry(folder, path) for path in paths], {}
    )
    write_manifest(folder / "manifest.json", manifest)
    return manifest


def make_folder(folder: Path) -> Manifest:
    """A whole folder, documents and all, with a small SBOM in place of this environment's."""
    manifest = make_manifest(folder)
    (folder / "sbom.cdx.json").write_bytes(SMALL_SBOM)
    sha256 = hash_path(folder / "sbom.cdx.json")[0]
    write_provenance(folder, manifest, make_build(sbom_sha256=sha256))
    return manifest


@functools.cache
def _spec() -> ModelSpec:
    return load_models()["mobileclip_s1"]


def _file(folder: Path, name: str) -> FileRef:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    if name.endswith(".mlpackage"):
        for inner in ("Manifest.json", "Data/model.mlmodel", "Data/weights/weight.bin", "Data.txt"):
            _file(folder, f"{name}/{inner}")
    else:
        (folder / name).write_text(f"the bytes of {name}")
    sha256, size_bytes = hash_path(folder / name)
    return FileRef(path=name, sha256=sha256, size_bytes=size_bytes)


def _reference(folder: Path, tower: Tower) -> ManifestReference:
    names = (f"reference/{tower}_samples.npz", f"reference/{tower}_embeddings.npz", f"reference/{tower}.pt")
    samples, embeddings, module = (_file(folder, name) for name in names)
    artifact = Artifact(
        path=module.path, format="pytorch", target="pytorch", tower=tower, precision="fp32", inputs=(), outputs=(),
        sha256=module.sha256, size_bytes=module.size_bytes,
    )  # fmt: skip
    return ManifestReference(tower=tower, sample_set="", samples=samples, embeddings=embeddings, module=artifact)


def _entry(folder: Path, path: str) -> ManifestEntry:
    file, target, name = _file(folder, path), *path.split("/")
    tower: Tower = "text" if name.startswith("text") else "image"
    return ManifestEntry(
        step_id=f"{tower}/{target}/{name.partition('_')[2].partition('.')[0]}", target=target, tower=tower,
        precision="fp32", format=target, path=path, sha256=file.sha256, size_bytes=file.size_bytes, inputs=(),
        outputs=(), recipe=None, parent_sha256="", status="PASSED", required=True, not_required_because="",
        failures=(), notes=(), tolerances=(), tie_margin=0.0, size_ratio=None, parity=None, parity_with_parent=None,
        tool_versions={},
    )  # fmt: skip
