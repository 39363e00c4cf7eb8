"""What is broken in the cache and in the exported folders, said so that its reader knows what to do."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from converter.files import half_written
from converter.manifest import FileRef, Manifest
from converter.models.memory import HASHES_FILE, user_cache
from converter.pipeline.cache import Cache
from converter.pipeline.clean import BESIDE_MANIFEST, model_folders
from converter.pipeline.verify import changed
from converter.pipeline.workspace import holder
from converter.records import Finding

MADE_ANEW = "nothing: the next run makes it anew; 'mcconvert clean --no-models' empties the cache"
SWEPT = "nothing: the next run removes it"


def cache_findings(cache: Cache, *, deep: bool) -> Iterator[Finding]:
    """How many steps are kept, each one that is damaged, what dead runs left, and whether hashes are remembered."""
    keys = cache.all_keys()
    yield Finding(name="cache", seen=f"{len(keys)} finished steps in {cache.root}", advice=_unwritable(cache.root))
    for key in keys:
        found = cache.inspect(key, deep=deep)
        if isinstance(found, str):
            step = cache.step_of(key) or "a step of an earlier version"
            seen = f"{step}: {found} ({cache.folder(key)})"
            yield Finding(name="cache entry", seen=seen, advice=MADE_ANEW, damaged=True)
    if dead := cache.dead():
        yield Finding(name="cache leftovers", seen=f"{len(dead)} in {dead[0].parent}, of runs that died", advice=SWEPT)
    memory = user_cache() / HASHES_FILE
    if memory.exists() and not _is_json(memory):
        advice = "nothing: weights are hashed again and it is written anew, or remove it"
        yield Finding(name="memory of hashes", seen=f"{memory} cannot be read", advice=advice)


def folder_findings(
    out: Path, cache: Cache, manifests: Mapping[Path, Manifest | str], *, deep: bool
) -> Iterator[Finding]:
    """Each model's folder: its manifest, its files, what dead runs left, and who holds it."""
    for folder in sorted({*model_folders(out, cache.root), *manifests}):
        manifest = manifests.get(folder, "no run has ended there yet: it has no manifest")
        yield from _manifest(folder, manifest, deep=deep)
        if halves := half_written(folder):
            yield Finding(name=folder.name, seen=f"half written: {_names(folder, halves)}", advice=SWEPT)
        if pid := holder(folder):
            yield Finding(name=folder.name, seen=f"a run (process {pid}) is writing to it")
        elif advice := _unwritable(folder):
            yield Finding(name=folder.name, seen=str(folder), advice=advice)


def _manifest(folder: Path, manifest: Manifest | str, *, deep: bool) -> Iterator[Finding]:
    if isinstance(manifest, str):
        exists = (folder / "manifest.json").exists()
        advice = "run the export again: it writes a new one" if exists else ""
        yield Finding(name=folder.name, seen=manifest, advice=advice, damaged=exists)
        return
    refs = _refs(manifest)
    broken = [why for ref in refs if (why := changed(folder, ref) if deep else _changed_size(folder, ref))]
    for why in broken:
        yield Finding(name=folder.name, seen=why, advice="run the export again: it is placed anew", damaged=True)
    if unlisted := _unlisted(folder, {ref.path for ref in refs}):
        advice = "run their rows again, or remove them: nothing is promised of them"
        yield Finding(name=folder.name, seen=f"in no manifest: {_names(folder, unlisted)}", advice=advice)
    if not broken:
        how = "every byte as judged" if deep else "sizes as judged; --deep hashes them"
        yield Finding(name=folder.name, seen=f"{len(refs)} files, {how}")


def _refs(manifest: Manifest) -> list[FileRef]:
    parts = [*manifest.artifacts, *((manifest.model.tokenizer,) if manifest.model.tokenizer else ())]
    found = [FileRef(path=one.path, sha256=one.sha256, size_bytes=one.size_bytes) for one in parts]
    for one in manifest.references:
        module = FileRef(path=one.module.path, sha256=one.module.sha256, size_bytes=one.module.size_bytes)
        found += [one.samples, one.embeddings, module]
    return found


def _changed_size(folder: Path, ref: FileRef) -> str:
    path = folder / ref.path
    if path.is_file() and path.resolve().is_relative_to(folder.resolve()):
        size = path.stat().st_size
        return "" if size == ref.size_bytes else f"{ref.path} has {size:,} bytes, the manifest says {ref.size_bytes:,}"
    if path.is_dir() and (sum(one.stat().st_size for one in path.rglob("*") if one.is_file())) == ref.size_bytes:
        return ""
    return changed(folder, ref)


def _unlisted(folder: Path, listed: set[str]) -> list[Path]:
    """Files in the folders of artifacts that no entry names, as a run leaves them whose manifest was never written."""
    homes = {Path(name).parts[0] for name in listed if len(Path(name).parts) > 1} | {"reference"}
    inside = [path for home in sorted(homes) for path in sorted((folder / home).glob("*"))]
    hidden = {*BESIDE_MANIFEST}
    return [
        path for path in inside
        if path.relative_to(folder).as_posix() not in listed and path.name not in hidden and path.name[0] != "."
    ]  # fmt: skip


def _unwritable(folder: Path) -> str:
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return "" if os.access(place, os.W_OK) else f"{place} cannot be written: mend its rights, or write elsewhere"


def _names(folder: Path, paths: list[Path]) -> str:
    shown = ", ".join(path.relative_to(folder).as_posix() for path in paths[:5])
    return shown + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")


def _is_json(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_bytes()), dict)
    except (OSError, ValueError):
        return False
