"""What is written beside a manifest, read back, continued by the next run and restated over a release."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import jsonschema
import pytest

from converter.build import Origin
from converter.errors import UsageError
from converter.files import hash_path
from converter.manifest import Waiver
from converter.publishing import provenance
from converter.publishing.checking import check_folder, check_provenance
from converter.publishing.manifest import read_manifest, write_manifest
from converter.publishing.provenance import continued, is_current, read_build, write_provenance
from converter.publishing.signing import Keys, make_keys, read_private_key, sign
from tests.publishing.folders import FIRST, PACKAGE, SECOND, make_build, make_folder

ONNX = "onnx/image_fp32.onnx"
THIRD = SECOND[:-1] + "3"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_folder(tmp_path / "model")
    return tmp_path / "model"


def test_a_build_comes_back_as_it_was_written(folder: Path) -> None:
    """All of it, with an origin for every file that it told of; writing it again gives the same bytes."""
    before = (folder / "provenance.json").read_bytes()
    build = read_build(folder)

    write_provenance(folder, read_manifest(folder), build)

    written = make_build(sbom_sha256=build.sbom_sha256)
    assert dataclasses.replace(build, origins={}) == dataclasses.replace(written, origins={})
    assert build.origins[f"{PACKAGE}/Data.txt"] == Origin(
        how="built", invocation=FIRST, sha256=hash_path(folder / PACKAGE / "Data.txt")[0]
    )
    assert (folder / "provenance.json").read_bytes() == before


def test_files_of_a_package_are_subjects_of_their_own(folder: Path) -> None:
    """And as a whole they are what the manifest says."""
    names = {one["name"] for one in json.loads((folder / "provenance.json").read_bytes())["subject"]}

    assert {name for name in names if name.startswith(PACKAGE)} == {
        f"{PACKAGE}/{name}" for name in ("Manifest.json", "Data/model.mlmodel", "Data/weights/weight.bin", "Data.txt")
    }
    assert {"manifest.json", "sbom.cdx.json", "tokenizer.json", ONNX} <= names
    assert not {"provenance.json", "SHA256SUMS", PACKAGE} & names


def test_a_statement_of_three_builds_has_the_published_shape(folder: Path) -> None:
    """With earlier builds in it as without."""
    schema = json.loads(Path(provenance.__file__).with_name("provenance.schema.json").read_bytes())
    validator = jsonschema.Draft202012Validator(schema)
    _next_run(folder, SECOND, ONNX)
    _next_run(folder, THIRD, "onnx/text_fp32.onnx")

    data = json.loads((folder / "provenance.json").read_bytes())

    earlier = [one["uri"] for one in data["predicate"]["runDetails"]["byproducts"] if one["name"] == "earlier build"]
    assert earlier == [FIRST, SECOND]
    assert list(validator.iter_errors(data)) == []
    del data["predicate"]["buildDefinition"]["buildType"]
    assert list(validator.iter_errors(data))


def test_the_next_run_claims_what_it_built_only(folder: Path) -> None:
    """Files of before keep their origin; a build none of whose files is left is no longer told of."""
    _next_run(folder, SECOND, ONNX)
    second = read_build(folder)
    _next_run(folder, THIRD, ONNX, PACKAGE)
    third = read_build(folder)

    assert (second.origins[ONNX].invocation, second.origins[f"{PACKAGE}/Data.txt"].invocation) == (SECOND, FIRST)
    assert second.origins["tokenizer.json"] == Origin(how="kept", sha256=hash_path(folder / "tokenizer.json")[0])
    assert [one.invocation for one in second.earlier] == [FIRST]
    assert (third.origins[ONNX].invocation, third.earlier) == (THIRD, ())
    assert check_folder(folder, Keys()) == []


def test_what_changed_meanwhile_is_not_credited_to_the_earlier_run(folder: Path) -> None:
    """Another file under the same name: nobody told of it."""
    (folder / ONNX).write_text("of unknown origin")
    sha256, size_bytes = hash_path(folder / ONNX)
    manifest = read_manifest(folder)
    (entry,) = [one for one in manifest.artifacts if one.path == ONNX]
    entry = dataclasses.replace(entry, sha256=sha256, size_bytes=size_bytes)
    manifest = dataclasses.replace(manifest, artifacts=(entry,))

    build = continued(make_build(SECOND, origins={}), folder, manifest)

    assert build.origins[ONNX] == Origin(how="kept")


def test_documents_are_current_until_something_changes(folder: Path) -> None:
    """Asked without reading an artifact: the manifest, or any document, being another is enough."""
    manifest = read_manifest(folder)
    whole = {name: (folder / name).read_bytes() for name in ("provenance.json", "sbom.cdx.json", "SHA256SUMS")}
    current = is_current(folder, manifest)

    changed = []
    for name, data in whole.items():
        for other in (data[:-1], b"{}", None):
            (folder / name).unlink() if other is None else (folder / name).write_bytes(other)
            changed.append(is_current(folder, manifest))
            (folder / name).write_bytes(data)
    fewer = dataclasses.replace(manifest, artifacts=manifest.artifacts[1:])

    assert current
    assert not any(changed)
    assert not is_current(folder, fewer)


def test_a_release_restates_the_same_build(folder: Path, tmp_path: Path) -> None:
    """A staged copy with fewer files, waivers and a card: who built is unchanged, the card is not the build's."""
    staged = tmp_path / "staged"
    shutil.copytree(folder, staged, ignore=shutil.ignore_patterns("text_fp32.onnx", "provenance.json", "SHA256SUMS"))
    manifest = read_manifest(folder)
    kept = tuple(one for one in manifest.artifacts if not one.path.endswith("text_fp32.onnx"))
    waived = dataclasses.replace(manifest, artifacts=kept, waivers=(Waiver(name="untrained", what="seeded weights"),))
    (staged / "README.md").write_text("# a model card")
    write_manifest(staged / "manifest.json", waived)

    write_provenance(staged, waived, read_build(folder))

    build = read_build(staged)
    assert check_provenance(staged, waived, Keys()) == []
    assert (build.invocation, build.started, build.materials) == (
        FIRST,
        read_build(folder).started,
        make_build().materials,
    )
    assert build.origins[ONNX] == read_build(folder).origins[ONNX]
    assert (build.origins["README.md"].how, build.origins["manifest.json"].how) == ("release", "release")
    assert "onnx/text_fp32.onnx" not in build.origins
    assert (staged / "sbom.cdx.json").read_bytes() == (folder / "sbom.cdx.json").read_bytes()


def test_a_signature_goes_with_its_statement(folder: Path) -> None:
    """It stays while the statement is the same, and is removed with it."""
    private, _ = make_keys(folder.parent / "key")
    envelope = sign(folder, read_private_key(private.read_bytes(), "key"))
    write_provenance(folder, read_manifest(folder), read_build(folder))
    stayed = envelope.exists()

    write_provenance(
        folder, read_manifest(folder), dataclasses.replace(read_build(folder), finished="2027-01-01T00:00:00Z")
    )

    assert stayed
    assert not envelope.exists()


@pytest.mark.parametrize(
    "content", [None, b"", b"{", b"{}", b"[]", b"\xff", b'{"_type": "https://in-toto.io/Statement/v1"}']
)
def test_no_statement_is_refused_by_name(tmp_path: Path, content: bytes | None) -> None:
    """Absent or foreign: one message with the path and what to do."""
    if content is not None:
        (tmp_path / "provenance.json").write_bytes(content)

    with pytest.raises(UsageError, match="provenance.json: .*export again"):
        read_build(tmp_path)


def _next_run(folder: Path, invocation: str, *built: str) -> None:
    """A later run that built some of the files anew, to the same bytes."""
    origins = {path: Origin(how="built", invocation=invocation) for path in built}
    sbom_sha256, minute = hash_path(folder / "sbom.cdx.json")[0], invocation[-1]
    build = make_build(invocation, origins=origins, sbom_sha256=sbom_sha256, started=f"2026-02-01T12:0{minute}:00Z")
    manifest = read_manifest(folder)
    write_provenance(folder, manifest, continued(build, folder, manifest))
