"""What must hold of folders at any moment, whatever struck: nothing half looks whole, and in the end all is as ever."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from converter.files import hash_path
from converter.pipeline.cache import Cache, Entry
from converter.publishing.checking import check_provenance
from converter.publishing.manifest import read_manifest
from converter.publishing.signing import Keys

UNSTEADY = ("latency_ms", "missing")
"""Fields of a manifest that are measured anew whenever a file runs, or are looked at by themselves."""
APART = ("logs", ".lock", ".mcconvert", "report.html")
OF_ITS_RUN = ("provenance.json", "SHA256SUMS")
"""Documents that tell which run made the files, and when: held against the files instead of another run's."""


def contents(folder: Path) -> dict[str, str]:
    """Hash of each file that a run leaves for its user, `manifest.json` without what no two runs have in common."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    names = {path.relative_to(folder).as_posix(): path for path in files}
    apart = (*APART, *OF_ITS_RUN)
    found = {name: hash_path(path)[0] for name, path in names.items() if name.partition("/")[0] not in apart}
    if "manifest.json" in found:
        found["manifest.json"] = json.dumps(_steady(json.loads((folder / "manifest.json").read_bytes())))
    return found


def check_nothing_half(folder: Path, cache: Path, whole: dict[str, str]) -> None:
    """What the manifest lists is there byte by byte, what has a file's name is that file, every entry is whole."""
    for name, sha256 in contents(folder).items():
        if name != "manifest.json" and not any(part.startswith(".") for part in Path(name).parts):
            assert sha256 == whole[name], f"{name} is not what it is called"
    if (folder / "manifest.json").exists():
        for path, sha256 in listed(folder).items():
            assert hash_path(folder / path)[0] == sha256, path
    store = Cache(cache)
    for key in store.all_keys():
        assert isinstance(found := store.inspect(key, deep=True), Entry), found


def check_all_as_ever(folder: Path, cache: Path, whole: dict[str, str], lost: tuple[str, ...] = ()) -> None:
    """Each file equals the undisturbed run's, the documents are true of them, and no litter is left.

    `lost` are the rows of a converter that only this run had: the manifest must say that they are missing, and the
    list of what is installed may name its package too.
    """
    found, aside = contents(folder), {"sbom.cdx.json"} if lost else set()
    assert {name: one for name, one in found.items() if name not in aside} == {
        name: one for name, one in whole.items() if name not in aside
    }
    assert tuple(one.step_id for one in read_manifest(folder).missing) == lost
    assert check_provenance(folder, read_manifest(folder), Keys()) == []
    assert not list((cache / "staging").iterdir())


def listed(folder: Path) -> dict[str, str]:
    """Path and sha256 of everything that a manifest names."""
    manifest = read_manifest(folder)
    found = {entry.path: entry.sha256 for entry in manifest.artifacts}
    for one in manifest.references:
        for ref in (one.samples, one.embeddings, one.module):
            found[ref.path] = ref.sha256
    return found


def _steady(part: Any) -> Any:
    if isinstance(part, dict):
        return {name: _steady(value) for name, value in part.items() if name not in UNSTEADY}
    return [_steady(one) for one in part] if isinstance(part, list) else part
