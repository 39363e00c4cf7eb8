"""The content-addressed store of finished steps.

`<root>/steps/<key>/` holds a step's files and `entry.json`, which is written last, before the folder is renamed into
place: an entry is whole or it is not there. Its record carries its own sha256, and every file is hashed on use, unless
`<root>/seen/<key>.json` says that nothing touched it since it was. `<root>/last/` remembers the ingredients of each
step's last run, only to say in words why it runs again. Two runs may share a store: the first to finish a key wins, the
other's copy is dropped.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from converter.errors import McconvertError
from converter.files import (
    Identity,
    Stamp,
    half_written,
    hash_path,
    identities,
    inside,
    make_tagged,
    stamps,
    write_atomically,
)
from converter.pipeline.leftovers import end_leftovers
from converter.records import Artifact, ParityReport, from_json, to_json

ENTRY = "entry.json"
RANGES, SEARCH = "ranges", "search"
"""Below the root: ranges of activations, by the content that they were measured from."""
REPORT = "report"
"""Below the root: embeddings (.npz) and SQNR along the depth (.json) of files, by content (`pipeline.reporting`)."""
SEEN = "seen"
"""Below the root: which files were there when an entry's bytes were last known to be its own."""
COMMIT_ATTEMPTS = 5
HALF_WRITTEN_SECONDS = 3600.0
"""A record that has been half written for so long is nobody's any more."""
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
class Sealed:
    """`entry.json`: the record as it was written, and the hash of those bytes."""

    sha256: str
    entry: msgspec.Raw


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
        found = self.inspect(key)
        return found if isinstance(found, Entry) else None

    def inspect(self, key: str, *, deep: bool = False) -> Entry | str:
        """The entry, or why it is not taken, in words. `deep` hashes every byte, whatever was seen before."""
        record = self.folder(key) / ENTRY
        try:
            entry = _unseal(record.read_bytes())
        except FileNotFoundError:
            return f"it has no {ENTRY}"
        except OSError as error:
            return f"{record} cannot be read: {error.strerror or error}"
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
            return f"{ENTRY} was changed or cut off: {error}"
        if entry.key != key:
            return f"{ENTRY} belongs to another entry"
        try:
            return self._wrong(entry, deep=deep) or entry
        except OSError as error:
            return f"{error.filename} cannot be read: {error.strerror or error}"

    def damaged(self, key: str) -> bool:
        """Whether something lies at that key that `load` would not take."""
        return self.folder(key).exists() and self.load(key) is None

    def all_keys(self) -> list[str]:
        """The key of everything that lies where entries do."""
        return sorted(path.name for path in (self.root / "steps").glob("*") if path.is_dir())

    def living(self) -> list[Path]:
        """The locks of runs that are at work."""
        return [lock for lock in sorted((self.root / "staging").glob("*.lock")) if _held(lock)]

    def dead(self) -> list[Path]:
        """What runs that died left in staging; the next run removes it."""
        living = {lock.stem for lock in self.living()}
        return sorted(path for path in (self.root / "staging").glob("*") if path.stem not in living)

    def step_of(self, key: str) -> str:
        """The step whose last result lies at that key, as `model image/onnx/fp32`; empty when none is known."""
        for path in sorted((self.root / "last").glob("*/*.json")):
            last = self.last(path.parent.name, path.stem)
            if last is not None and key_of(last.ingredients) == key:
                return f"{path.parent.name} {path.stem.replace('.', '/')}"
        return ""

    def trust(self, entry: Entry) -> None:
        """Note the files as they are now: their bytes were just seen to be the entry's. A store that cannot be written
        costs hashing them again.
        """
        with contextlib.suppress(OSError):
            write_atomically(self._seen_path(entry.key), to_json(self._identities(entry)))

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
        with _own_lock(folder.with_suffix(".lock")):  # locked before the folder is there: never swept alive
            folder.mkdir()
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
                folder.with_suffix(".lock").unlink(missing_ok=True)

    def commit(self, staged: Path, entry: Entry) -> Entry:
        """Give a finished step's folder its place. Returns the entry that is there afterwards.

        A whole entry that another run put there first stays: its files may be in use.
        """
        write_atomically(staged / ENTRY, _seal(entry))
        place = self.folder(entry.key)
        place.parent.mkdir(parents=True, exist_ok=True)
        for _attempt in range(COMMIT_ATTEMPTS):
            try:
                staged.rename(place)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                    raise
            else:
                return entry
            if (found := self.load(entry.key)) is not None:
                return found
            self.drop(entry.key)
        message = f"{place} stands in the way and comes back when it is moved away: remove it, then run again"
        raise McconvertError(message)

    def update(self, entry: Entry) -> None:
        """Replace an entry's record, its files being the same."""
        write_atomically(self.folder(entry.key) / ENTRY, _seal(entry))

    def drop(self, key: str) -> None:
        """Remove an entry; it is moved away first, so that no half of it can be read."""
        folder = self.folder(key)
        if os.path.lexists(folder):
            doomed = self.root / "staging" / f"dropped-{uuid.uuid4().hex}"
            doomed.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # another run was faster
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

    def _seen_path(self, key: str) -> Path:
        return self.root / SEEN / f"{key}.json"

    def _identities(self, entry: Entry) -> tuple[Identity, ...]:
        folder = self.folder(entry.key)
        return tuple(one for name in _names(entry) for one in identities(folder / name))

    def _seen(self, key: str) -> tuple[Identity, ...]:
        try:
            return from_json(self._seen_path(key).read_bytes(), tuple[Identity, ...])
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return ()

    def _wrong(self, entry: Entry, *, deep: bool) -> str:
        """What of an entry's files is not as it was made; empty when all is."""
        folder = self.folder(entry.key)
        outside = [name for name in _names(entry) if inside(folder, name) is None]
        if outside:
            return f"it names {outside[0]!r}, which lies outside of it"
        now = {one.path: one.size_bytes for name in _names(entry) for one in stamps(folder / name)}
        then = {one.path: one.size_bytes for one in entry.stamps}
        for path in sorted({*now, *then}):
            if now.get(path) != then.get(path):
                return f"{path} has {now.get(path, 'no')} bytes, and had {then.get(path, 'none')}"
        identity = self._identities(entry)
        if not deep and identity == self._seen(entry.key):
            return ""
        hashes = {entry.artifact.path: entry.artifact.sha256}
        hashes |= {name: entry.file_hashes.get(label, "") for label, name in entry.files.items()}
        for name, sha256 in hashes.items():
            if hash_path(folder / name)[0] != sha256:
                return f"{name} was changed since it was made"
        if identity == self._identities(entry):
            self.trust(entry)
        return ""

    def _sweep(self, base: Path) -> None:
        for name in sorted({one.stem for one in base.iterdir() if one.is_dir() or one.suffix == ".lock"}):
            folder = base / name
            with contextlib.suppress(OSError), _own_lock(folder.with_suffix(".lock"), wait=False):
                end_leftovers(folder)
                shutil.rmtree(folder, ignore_errors=True)
                folder.with_suffix(".lock").unlink(missing_ok=True)
        for path in half_written(self.root):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > HALF_WRITTEN_SECONDS:
                    path.unlink()


def _names(entry: Entry) -> tuple[str, ...]:
    return (entry.artifact.path, *entry.files.values())


def _seal(entry: Entry) -> bytes:
    raw = msgspec.json.encode(entry)
    return msgspec.json.encode(Sealed(sha256=hashlib.sha256(raw).hexdigest(), entry=msgspec.Raw(raw))) + b"\n"


def _unseal(data: bytes) -> Entry:
    """Raises ValueError where the record is not the one that was written, msgspec.DecodeError where it is none."""
    sealed = from_json(data, Sealed)
    if hashlib.sha256(sealed.entry).hexdigest() != sealed.sha256:
        message = "its own sha256 does not hold"
        raise ValueError(message)
    return from_json(bytes(sealed.entry), Entry)


def _held(lock: Path) -> bool:
    try:
        with lock.open() as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


@contextlib.contextmanager
def _own_lock(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock file at `path`, made where it is not there.

    A sweeper may unlink the file between opening and locking it: then it is another file that is locked, so again.

    Raises:
        OSError: another run holds it, and `wait` is not set.
    """
    while True:
        with path.open("a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if path.exists() and os.path.samestat(path.stat(), os.fstat(handle.fileno())):
                yield
                return
