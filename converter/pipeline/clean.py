"""Remove what runs made, and nothing else: only in folders that carry our tag, only by the names that we give.

1. A folder without our tag, or one that is a link, is not looked into.
2. A file that a manifest names goes when its bytes are the ones that were written; a changed one is somebody's work.
3. Other files go by name: the manifest, logs and reference files of a tower, what stands beside a manifest.
4. Everything else stays, in whatever folder, and with it the folder.
5. Nothing goes while a run holds the folder or the cache.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from converter.benchmarked import BENCHMARKS
from converter.errors import UsageError
from converter.files import TAG, half_written, hash_path
from converter.files import remove as remove_path
from converter.pipeline.cache import ENTRY, RANGES, REPORT, SEARCH, SEEN, Cache, Entry
from converter.pipeline.workspace import holder
from converter.records import TOWERS
from converter.release import BESIDE, CARD, DOCUMENTS

LAST, STAGING, STEPS = "last", "staging", "steps"
BESIDE_MANIFEST = (*(name for name in DOCUMENTS if name != CARD), *BESIDE, ".lock", TAG)
REFERENCE = tuple(f"{tower}{end}" for tower in TOWERS for end in ("_samples.npz", "_embeddings.npz", ".pt"))
LOG = re.compile(rf"({'|'.join(TOWERS)})\.[\w-]+\.[\w-]+\.log")
BENCHMARK = re.compile(r"[\w-]+\.json")
KEY, STAGED = re.compile(r"[0-9a-f]{64}"), re.compile(r"(dropped-)?[0-9a-f]{32}(\.lock)?")


@dataclass(kw_only=True)
class Sorted:
    """What may go, and what stays although it looks like ours, with the reason."""

    ours: list[Path] = field(default_factory=list)
    kept: dict[Path, str] = field(default_factory=dict)


def cleanable(
    out: Path, cache_root: Path, listed: Mapping[Path, str], unread: Iterable[Path] = (), *, models: bool, cache: bool
) -> Sorted:
    """Files and folders below the output folder that are ours.

    `listed` are the files that manifests name, with their sha256; `unread` the manifests that could not be read.

    Raises:
        UsageError: a run is at work there.
    """
    found = Sorted()
    if models and out.is_dir():
        for folder in model_folders(out, cache_root):
            _refuse_held(folder)
            _model(folder, listed, set(unread), found)
    if cache and is_tagged(cache_root):
        store = Cache(cache_root)
        if held := store.living():
            message = f"a run is using the cache {cache_root} ({held[0].name}): wait for it to end, then clean"
            raise UsageError(message)
        found.ours += _cache(store)
    return found


def model_folders(out: Path, cache_root: Path) -> list[Path]:
    """The models' folders below the output folder: those that carry our tag."""
    folders = sorted(out.iterdir()) if out.is_dir() else []
    return [folder for folder in folders if is_tagged(folder) and folder.resolve() != cache_root.resolve()]


def is_tagged(folder: Path) -> bool:
    """Whether a folder is ours. A link to one may lead anywhere, and is not."""
    return folder.is_dir() and not folder.is_symlink() and (folder / TAG).is_file()


def remove(paths: Iterable[Path], out: Path) -> None:
    """Remove them, then the folders of ours that are left empty, the output folder included."""
    doomed = list(paths)
    parents = {folder for path in doomed for folder in _up_to_tag(path)} | ({out} if doomed else set())
    for path in doomed:
        remove_path(path)
    for parent in sorted(parents, key=lambda one: len(one.parts), reverse=True):
        with contextlib.suppress(OSError):  # it holds something that is not ours
            parent.rmdir()


def _up_to_tag(path: Path) -> list[Path]:
    """The folders around a path, up to the one that carries our tag; none where none does."""
    folders = list(path.parents)
    tagged = [index for index, folder in enumerate(folders) if (folder / TAG).is_file()]
    return folders[: tagged[0] + 1] if tagged else []


def _refuse_held(folder: Path) -> None:
    pid = holder(folder)
    if pid is not None:
        message = f"a run (process {pid}) is writing to {folder}: wait for it to end, then clean"
        raise UsageError(message)


def _model(folder: Path, listed: Mapping[Path, str], unread: set[Path], found: Sorted) -> None:
    for path, sha256 in listed.items():
        if path.is_relative_to(folder) and path.exists():
            if path.resolve() != folder.resolve() / path.relative_to(folder):
                found.kept[path] = "a link leads to it"
            elif hash_path(path)[0] == sha256:
                found.ours.append(path)
            else:
                found.kept[path] = "it was changed since it was written"
    found.ours += half_written(folder)
    ours: dict[str, Callable[[str], object]] = {
        "logs": LOG.fullmatch,
        "reference": REFERENCE.__contains__,
        BENCHMARKS: BENCHMARK.fullmatch,
    }
    for inside, named in ours.items():
        found.ours += [path for path in _plain(folder / inside) if named(path.name) and path not in listed]
    homes = [folder / name for name in ours]
    found.ours += [one for one in homes if one.is_dir() and not one.is_symlink() and not any(one.iterdir())]
    manifest = folder / "manifest.json"
    if manifest in unread:
        found.kept[manifest] = "it cannot be read, so what it names stays too: remove it by hand"
    names = [folder / name for name in BESIDE_MANIFEST]
    found.ours += [path for path in names if path.is_file() and path not in found.kept]


def _plain(folder: Path) -> list[Path]:
    if not folder.is_dir() or folder.is_symlink():
        return []
    return [path for path in sorted(folder.iterdir()) if path.is_file() and not path.is_symlink()]


def _cache(store: Cache) -> Iterator[Path]:
    root = store.root
    for key in store.all_keys():
        if KEY.fullmatch(key) and not store.folder(key).is_symlink():
            yield from _entry(store, key)
    for path in sorted((root / STAGING).glob("*")) if not (root / STAGING).is_symlink() else []:
        if STAGED.fullmatch(path.name):
            yield path
    models = [path for path in (root / LAST).glob("*") if path.is_dir() and not path.is_symlink()]
    for folder in (*models, root / RANGES, root / REPORT, root / SEARCH, root / SEEN):
        yield from [path for path in _plain(folder) if path.suffix == ".json"]
    yield from [path for path in _plain(root / REPORT) if path.suffix == ".npz"]
    yield from [path for path in half_written(root) if STEPS not in path.relative_to(root).parts]
    for folder in (*models, *(root / name for name in (STEPS, STAGING, LAST, RANGES, REPORT, SEARCH, SEEN))):
        if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
            yield folder
    yield root / TAG


def _entry(store: Cache, key: str) -> list[Path]:
    """The whole folder, or what its record names where something else is in it too."""
    folder, entry = store.folder(key), store.inspect(key)
    if not isinstance(entry, Entry):
        return [folder]
    names = {ENTRY, entry.artifact.path, *entry.files.values()}
    inside = {path.name for path in folder.iterdir()}
    return [folder] if inside <= names else [folder / name for name in sorted(names & inside)]
