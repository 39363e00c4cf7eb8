"""A folder against its own documents: whatever is changed, added, removed or moved is found and named."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from converter.errors import UsageError
from converter.files import hash_path
from converter.manifest import Manifest
from converter.publishing.checking import check_folder, check_provenance
from converter.publishing.manifest import read_manifest, write_manifest
from converter.publishing.provenance import read_build, write_provenance
from converter.publishing.signing import Keys, make_keys, read_private_key, sign
from converter.records import Finding
from tests.publishing.folders import PACKAGE, make_folder

ONNX = "onnx/image_fp32.onnx"
DOCUMENTS = ("manifest.json", "sbom.cdx.json", "provenance.json", "SHA256SUMS")
Change = Callable[[Path], object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole folder in a place of its own."""
    make_folder(tmp_path / "model")
    return tmp_path / "model"


def found(folder: Path, keys: Keys | None = None) -> list[Finding]:
    return check_folder(folder, keys or Keys())


def swap(folder: Path, one: str, other: str) -> None:
    (folder / one).rename(folder / "x")
    (folder / other).rename(folder / one)
    (folder / "x").rename(folder / other)


def link_out(folder: Path, name: str) -> None:
    """The same bytes, but outside of the folder."""
    outside = folder.parent / "outside"
    (folder / name).rename(outside)
    (folder / name).symlink_to(outside)


def test_a_whole_folder_has_no_findings(folder: Path) -> None:
    """Also with what other commands put beside a manifest, and with hidden files."""
    for name in ("logs/a.log", "recipes/image_mixed.yaml", "matrix.svg", ".lock", "onnx/.leftover/new"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("not part of a release")

    assert found(folder) == []
    assert check_provenance(folder, read_manifest(folder), Keys()) == []


@pytest.mark.parametrize(
    ("change", "name", "words"),
    [
        (lambda f: (f / ONNX).write_bytes(b""), ONNX, "it was changed: sha256"),
        (lambda f: (f / ONNX).unlink(), ONNX, "it is missing"),
        (lambda f: (f / ONNX).rename(f / "onnx/renamed.onnx"), "onnx/renamed.onnx", "no document names it"),
        (lambda f: swap(f, ONNX, "onnx/text_fp32.onnx"), ONNX, "it was changed"),
        (lambda f: swap(f, ONNX, "onnx/text_fp32.onnx"), "onnx/text_fp32.onnx", "it was changed"),
        (lambda f: link_out(f, ONNX), ONNX, "a symbolic link leads to it"),
        (lambda f: link_out(f, "onnx"), ONNX, "a symbolic link leads to it"),
        (lambda f: link_out(f, f"{PACKAGE}/Data"), f"{PACKAGE}/Data/model.mlmodel", "a symbolic link leads to it"),
        (lambda f: shutil.rmtree(f / "onnx"), ONNX, "it is missing"),
        (lambda f: ((f / ONNX).unlink(), os.mkfifo(f / ONNX)), ONNX, "it is not a plain file"),
        (lambda f: ((f / ONNX).unlink(), (f / ONNX).mkdir()), ONNX, "it is not a plain file"),
        (lambda f: (f / f"{PACKAGE}/Data.txt").unlink(), f"{PACKAGE}/Data.txt", "it is missing"),
        (lambda f: (f / f"{PACKAGE}/more").write_text("x"), f"{PACKAGE}/more", "does not tell of it"),
        (lambda f: (f / f"{PACKAGE}/.more").write_text("x"), f"{PACKAGE}/.more", "does not tell of it"),
        (lambda f: (f / "onnx/more.onnx").write_text("x"), "onnx/more.onnx", "no document names it"),
        (lambda f: (f / "more.onnx").write_text("x"), "more.onnx", "no document names it"),
        (lambda f: (f / "more").symlink_to("/etc"), "more", "no document names it"),
        (lambda f: (f / "README.md").write_text("x"), "README.md", "does not tell of it"),
        (lambda f: (f / "reference/image.pt").write_text("x"), "reference/image.pt", "it was changed"),
        (lambda f: (f / "tokenizer.json").unlink(), "tokenizer.json", "it is missing"),
    ],
)  # fmt: skip
def test_what_happened_to_a_file_is_found(folder: Path, change: Change, name: str, words: str) -> None:
    """The finding names the file, what was seen, and what to do."""
    change(folder)

    named = {one.name: one for one in found(folder)}
    assert name in named
    assert words in named[name].seen
    assert named[name].advice


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize("how", ["removed", "emptied", "cut", "longer", "linked", "folder", "a list", "deep", "of old"])
def test_what_happened_to_a_document_is_found(folder: Path, tmp_path: Path, name: str, how: str) -> None:
    """Missing, garbage, a link to the very same bytes, or a well-formed one of another folder."""
    file, whole = folder / name, (folder / name).read_bytes()
    make_folder(tmp_path / "other")
    changes: dict[str, Callable[[], object]] = {
        "removed": file.unlink, "emptied": lambda: file.write_bytes(b""),
        "cut": lambda: file.write_bytes(whole[: len(whole) // 2]), "longer": lambda: file.write_bytes(whole + b"\n"),
        "linked": lambda: link_out(folder, name), "folder": lambda: (file.unlink(), file.mkdir()),
        "a list": lambda: file.write_bytes(b"[]"), "deep": lambda: file.write_bytes(b"[" * 200_000),
        "of old": lambda: file.write_bytes(_of_another(tmp_path / "other", name)),
    }  # fmt: skip

    changes[how]()

    assert {one.name for one in found(folder)} & {name, "SHA256SUMS"}


def test_a_folder_without_documents_is_no_folder_of_ours(tmp_path: Path) -> None:
    """Neither manifest nor statement: a mistake of the caller; a manifest alone is an export without provenance."""
    with pytest.raises(UsageError, match="neither manifest.json nor provenance.json is there"):
        found(tmp_path)

    make_folder(tmp_path)
    for name in DOCUMENTS[1:]:
        (tmp_path / name).unlink()

    (finding,) = found(tmp_path)
    assert (finding.name, finding.seen) == ("provenance.json", "cannot be read: it is missing")
    assert "run the same export again" in finding.advice


@pytest.mark.parametrize(
    "path", ["../outside.txt", "/etc/hostname", "onnx/../../outside.txt", "a\\b", "a\nb", "", "./x"]
)
def test_paths_of_documents_stay_inside(folder: Path, path: str) -> None:
    """Neither the manifest nor the statement makes us read elsewhere."""
    (folder.parent / "outside.txt").write_text("not ours")
    manifest = read_manifest(folder)
    astray = dataclasses.replace(manifest.artifacts[0], path=path)

    by_manifest = check_provenance(folder, dataclasses.replace(manifest, artifacts=(astray,)), Keys())
    _restate(folder, lambda data: data["subject"].append({"name": path, "digest": {"sha256": "0" * 64}}))
    by_statement = found(folder)

    assert [one.name for one in by_manifest] == ["manifest.json"]
    assert [one.name for one in by_statement] == ["provenance.json"]
    assert all("is no path inside the folder" in one.seen for one in (*by_manifest, *by_statement))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["subject"].append(d["subject"][0]), "states 'coreml/image_fp32.mlpackage/Data.txt' 2 times"),
        (lambda d: d["subject"][0].update(digest={"sha256": "abc"}), "gives no sha256 of"),
        (lambda d: d["subject"][0].update(digest={"md5": "0" * 32}), "gives no sha256 of"),
        (lambda d: d["subject"].pop(), "does not tell of it"),
        (lambda d: d["subject"].append({"name": "onnx/x", "digest": {"sha256": "0" * 64}}), "does not name"),
        (lambda d: _material(d, "weights").update(digest={"sha256": "1" * 64}), "its weights are not those of"),
        (lambda d: _material(d, "weights").update(name="other"), "its weights are not those of"),
        (lambda d: _definition(d)["externalParameters"].update(model="nano"), "another model than manifest.json"),
        (lambda d: d["predicate"]["runDetails"]["byproducts"].clear(), "gives two hashes of it"),
        (lambda d: d["subject"][0]["annotations"].update(invocationId="urn:x"), "tells nothing of urn:x"),
        (lambda d: d["subject"][0]["annotations"].update(origin="stolen"), "cannot be read: Invalid enum value"),
        (lambda d: d.update(predicateType="https://slsa.dev/provenance/v0.2"), "cannot be read: Invalid enum value"),
        (lambda d: d["predicate"].pop("runDetails"), "missing required field `runDetails`"),
    ],
)  # fmt: skip
def test_a_statement_that_contradicts_is_found(folder: Path, change: Callable[[Any], object], words: str) -> None:
    """Even where SHA256SUMS was written anew over it."""
    _restate(folder, change)

    assert any(words in one.seen for one in found(folder)), found(folder)


def test_a_rewrite_of_everything_is_found_by_the_signature_only(folder: Path, tmp_path: Path) -> None:
    """Whoever rewrites all documents consistently is not seen in an unsigned folder; with the key he is."""
    private, public = make_keys(tmp_path / "key")
    sign(folder, read_private_key(private.read_bytes(), "key"))
    envelope = (folder / "provenance.dsse.json").read_bytes()
    assert found(folder, Keys(key=public)) == []

    (folder / ONNX).write_text("another model")
    manifest = _rewritten(folder)
    write_provenance(folder, manifest, read_build(folder))
    unsigned, asked = found(folder), found(folder, Keys(key=public))
    (folder / "provenance.dsse.json").write_bytes(envelope)
    old = found(folder)

    assert unsigned == []
    assert [(one.name, one.seen) for one in asked] == [
        ("provenance.dsse.json", "it is missing: nobody signed with a key")
    ]
    assert [(one.name, one.seen) for one in old] == [
        ("provenance.dsse.json", "it signs another statement than provenance.json")
    ]


def test_a_manifest_that_went_on_without_its_statement_is_stale(folder: Path) -> None:
    """A run that was killed between the two is seen, and the advice mends it."""
    (folder / ONNX).write_text("made anew")
    manifest = _rewritten(folder)

    findings = found(folder)
    write_provenance(folder, manifest, read_build(folder))

    assert {one.name for one in findings} == {"manifest.json", ONNX}
    assert all("run the same export again" in one.advice for one in findings)
    assert found(folder) == []


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(name=st.sampled_from((*DOCUMENTS, "provenance.dsse.json", "provenance.sigstore.json")), data=st.data())
def test_garbage_ends_in_findings(folder: Path, name: str, data: st.DataObject) -> None:
    """Random bytes, random JSON, and documents with a piece cut out or doubled: never an exception."""
    make_folder(folder)
    whole = (folder / name).read_bytes() if (folder / name).exists() else (folder / "provenance.json").read_bytes()
    json_values = st.recursive(
        st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12,
    )  # fmt: skip
    start, length = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(1, 200))
    garbage = data.draw(
        st.binary(max_size=300)
        | json_values.map(lambda value: json.dumps(value).encode())
        | st.just(whole[:start] + whole[start + length :])
        | st.just(whole[:start] + whole[start : start + length] * 2 + whole[start + length :])
    )
    (folder / name).write_bytes(garbage)

    findings = found(folder)
    (folder / name).unlink()

    assert findings or garbage == whole
    assert all(one.name and one.seen and one.advice for one in findings)


def _of_another(other: Path, name: str) -> bytes:
    """A document that is whole in itself, of a folder whose ONNX file is another."""
    (other / ONNX).write_text("another model")
    (other / "sbom.cdx.json").write_text('{"bomFormat": "CycloneDX"}')
    build = dataclasses.replace(read_build(other), sbom_sha256=hash_path(other / "sbom.cdx.json")[0])
    write_provenance(other, _rewritten(other), build)
    return (other / name).read_bytes()


def _rewritten(folder: Path) -> Manifest:
    """The manifest with the ONNX file's hash of now."""
    manifest = read_manifest(folder)
    sha256, size_bytes = hash_path(folder / ONNX)
    artifacts = tuple(
        dataclasses.replace(one, sha256=sha256, size_bytes=size_bytes) if one.path == ONNX else one
        for one in manifest.artifacts
    )
    write_manifest(folder / "manifest.json", dataclasses.replace(manifest, artifacts=artifacts))
    return read_manifest(folder)


def _restate(folder: Path, change: Callable[[Any], object]) -> None:
    """Change the statement, and write SHA256SUMS as if it had been so."""
    from converter.publishing.checksums import sums

    data = json.loads((folder / "provenance.json").read_bytes())
    change(data)
    (folder / "provenance.json").write_text(json.dumps(data))
    hashes = {one["name"]: one["digest"].get("sha256", "") for one in data["subject"]}
    (folder / "SHA256SUMS").write_bytes(sums(hashes | {"provenance.json": hash_path(folder / "provenance.json")[0]}))


def _definition(data: Any) -> Any:
    return data["predicate"]["buildDefinition"]


def _material(data: Any, name: str) -> Any:
    return next(one for one in _definition(data)["resolvedDependencies"] if one["name"] == name)
