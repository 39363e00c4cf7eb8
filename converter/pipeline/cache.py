"""The content-addressed store of finished steps.

`<root>/steps/<key>/` holds a step's files and `entry.json`, which is written last, before the folder is renamed into
place: an entry is whole or it is not there. `<root>/last/` remembers the ingredients of each step's last run, only to
say in words why it runs again. Two runs may share a store: the first to finish a key wins, the other's copy is
dropped.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from converter.files import Stamp, hash_path, inside, make_tagged, stamps, write_atomically
from converter.records import Artifact, ParityReport, from_json, to_json

ENTRY = "entry.json"
RANGES, SEARCH = "ranges", "search"
"""Below the root: ranges of activations, by the content that they were measured from."""
Ingredients = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Proof:
    """Parity as measured, not judged: tolerances may change without anything running again."""

    key: str
    vs_reference: ParityReport | None
    vs_parent: ParityReport | None


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A finished step. `artifact.path` is relative to the entry's folder, so are `files` and `stamps`."""

    key: str
    ingredients: Ingredients
    artifact: Artifact
    proof: Proof
    stamps: tuple[Stamp, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    file_hashes: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    peak_rss_bytes: int = 0
    tool_versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Last:
    """What a step's last result was made of."""

    ingredients: Ingredients
    proof_ingredients: Ingredients
    tolerances: str


def key_of(ingredients: Ingredients) -> str:
    """The address of what is made from these ingredients."""
    return hashlib.sha256(json.dumps(dict(ingredients), sort_keys=True).encode()).hexdigest()


def difference(old: Ingredients | None, new: Ingredients) -> str:
    """What changed between two lists of ingredients, in words."""
    if old is None:
        return "first time"
    parts = []
    for name in sorted({*old, *new}):
        before, after = old.get(name, "absent"), new.get(name, "absent")
        if before != after:
            parts.append(f"{name} changed" if len(before) + len(after) > 60 else f"{name}: {before} -> {after}")
    return ", ".join(parts) if parts else "not in the cache any more"


class Cache:
    """The store under `root`. Raises OSError where the folder cannot be written."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, key: str) -> Path:
        """Where the entry of that key is, or would be."""
        return self.root / "steps" / key

    def load(self, key: str) -> Entry | None:
        """The entry, if it is whole and its files are the ones that were hashed."""
        try:
            entry = from_json((self.folder(key) / ENTRY).read_bytes(), Entry)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None
        return entry if entry.key == key and self._intact(entry) else None

    def damaged(self, key: str) -> bool:
        """Whether something lies at that key that `load` would not take."""
        return self.folder(key).exists() and self.load(key) is None

    def path(self, entry: Entry, name: str | None = None) -> Path:
        """Absolute path of the entry's artifact, or of one of its other files."""
        return self.folder(entry.key) / (entry.files[name] if name else entry.artifact.path)

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """A folder for one run's unfinished work. Folders that dead runs left behind are removed."""
        base = self.root / "staging"
        make_tagged(self.root)
        base.mkdir(parents=True, exist_ok=True)
        self._sweep(base)
        folder = base / uuid.uuid4().hex
        with folder.with_suffix(".lock").open("w") as lock:  # locked before the folder is there: never swept alive
            fcntl.flock(lock, fcntl.LOCK_EX)
            folder.mkdir()
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
                folder.with_suffix(".lock").unlink(missing_ok=True)

    def commit(self, staged: Path, entry: Entry) -> Entry:
        """Give a finished step's folder its place. Returns the entry that is there afterwards."""
        write_atomically(staged / ENTRY, to_json(entry))
        place = self.folder(entry.key)
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.exists() and (found := self.load(entry.key)) is not None:
            return found
        self.drop(entry.key)
        try:
            staged.rename(place)
        except OSError:
            if (found := self.load(entry.key)) is None:  # not another run that was faster
                raise
            return found
        return entry

    def update(self, entry: Entry) -> None:
        """Replace an entry's record, its files being the same."""
        write_atomically(self.folder(entry.key) / ENTRY, to_json(entry))

    def drop(self, key: str) -> None:
        """Remove an entry; it is moved away first, so that no half of it can be read."""
        folder = self.folder(key)
        if folder.exists():
            doomed = self.root / "staging" / f"dropped-{uuid.uuid4().hex}"
            doomed.parent.mkdir(parents=True, exist_ok=True)
            folder.rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)

    def last(self, model: str, step_id: str) -> Last | None:
        """What the step's last result was made of."""
        try:
            return from_json(self._last_path(model, step_id).read_bytes(), Last)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None

    def remember(self, model: str, step_id: str, last: Last) -> None:
        """Keep what a step's result was made of."""
        if self.last(model, step_id) != last:
            write_atomically(self._last_path(model, step_id), to_json(last))

    def _last_path(self, model: str, step_id: str) -> Path:
        return self.root / "last" / model / f"{step_id.replace('/', '.')}.json"

    def _intact(self, entry: Entry) -> bool:
        folder = self.folder(entry.key)
        names = [entry.artifact.path, *entry.files.values()]
        if any(inside(folder, name) is None for name in names):
            return False
        now = tuple(stamp for name in names for stamp in stamps(folder / name))
        if now == entry.stamps:
            return True
        if {one.path for one in now} != {one.path for one in entry.stamps}:
            return False
        return hash_path(folder / entry.artifact.path)[0] == entry.artifact.sha256 and all(
            hash_path(folder / name)[0] == entry.file_hashes.get(label) for label, name in entry.files.items()
        )

    def _sweep(self, base: Path) -> None:
        for folder in [one for one in base.iterdir() if one.is_dir()]:
            lock = folder.with_suffix(".lock")
            with contextlib.suppress(OSError), lock.open("a") as handle:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
                lock.unlink(missing_ok=True)
