"""What belongs to a model, and the sums over it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter.files import hash_path
from converter.publishing.checksums import artifact_hashes, below, files_of, folder_sha256, inside, linked, sums
from tests.publishing.folders import PACKAGE, make_manifest


def test_a_folders_hash_follows_from_its_files(tmp_path: Path) -> None:
    """Nothing needs to be read twice: the package's hash is that of its files' hashes, in the order of `hash_path`."""
    make_manifest(tmp_path)

    inner = {path: hash_path(tmp_path / path)[0] for path in files_of(tmp_path, PACKAGE)}

    assert len(inner) == 4
    assert folder_sha256(below(inner, PACKAGE)) == hash_path(tmp_path / PACKAGE)[0]
    assert folder_sha256(below(inner, PACKAGE) | {"Data.txt": "0" * 64}) != hash_path(tmp_path / PACKAGE)[0]


def test_known_hashes_are_taken_only_where_they_fit(tmp_path: Path) -> None:
    """Files of a package are read again unless what is known of them gives the package's own hash."""
    manifest = make_manifest(tmp_path)
    whole = artifact_hashes(tmp_path, manifest, {})
    spoiled = {path: "0" * 64 if path.endswith("weight.bin") else value for path, value in whole.items()}
    (tmp_path / PACKAGE / "Data.txt").write_text("changed behind our back")

    assert artifact_hashes(tmp_path, manifest, whole) == whole
    assert artifact_hashes(tmp_path, manifest, spoiled)[f"{PACKAGE}/Data.txt"] != whole[f"{PACKAGE}/Data.txt"]


def test_sums_are_what_sha256sum_writes(tmp_path: Path) -> None:
    """The same lines in the same form, sorted."""
    for name in ("b", "a b", "A"):
        (tmp_path / name).write_text(name)
    done = subprocess.run(["sha256sum", "--", "A", "a b", "b"], cwd=tmp_path, capture_output=True, check=True)

    assert sums({name: hash_path(tmp_path / name)[0] for name in ("b", "a b", "A")}) == done.stdout


@pytest.mark.parametrize(
    "path", ["", "/a", "../a", "a/../../b", "a//b", "a/", "./a", "a\\b", "a\nb", "a\x00b", "a\x7f"]
)
def test_paths_that_could_lead_elsewhere_are_none(path: str) -> None:
    """Nor those that no line of `SHA256SUMS` could hold."""
    assert not inside(path)
    assert inside("onnx/image fp32.onnx")


@given(st.text(max_size=20))
def test_a_path_inside_stays_inside(path: str) -> None:
    """Whatever the text, joined to a folder it is below that folder."""
    assert not inside(path) or Path("/folder", path).resolve().is_relative_to("/folder")


def test_links_are_seen_on_the_way(tmp_path: Path) -> None:
    """The file itself, or any folder above it; the model's own folder may be reached by a link."""
    (tmp_path / "real" / "onnx").mkdir(parents=True)
    (tmp_path / "real" / "onnx" / "a").write_text("a")
    (tmp_path / "folder").symlink_to("real")
    (tmp_path / "real" / "other").symlink_to("onnx")

    assert not linked(tmp_path / "folder", "onnx/a")
    assert linked(tmp_path / "folder", "other/a")
