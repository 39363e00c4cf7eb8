"""Where indexes lie: one a folder of photographs and way of embedding, in the user's cache, each marked as ours."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec

from converter.errors import UsageError
from converter.files import TAG, make_tagged, remove
from converter.inference import Say, Space

FORMAT = 1
"""Of the ledger. Another number, another index."""
INDEXES = "indexes"
FOLDER_DIGITS, KEY_DIGITS = 16, 32
DECIDING = ("models/images.py", "models/preprocessing.py", "inference/files.py", "inference/pytorch.py",
            "retrieval/reading.py")  # fmt: skip
"""The sources that make a file's bytes a vector; a change in one of them begins new indexes."""


def default_root() -> Path:
    """Below MCCONVERT_CACHE, or below the user's cache folder."""
    import platformdirs

    elsewhere = os.environ.get("MCCONVERT_CACHE")
    return (Path(elsewhere) if elsewhere else platformdirs.user_cache_path("mcconvert")) / INDEXES


def home_of(root: Path, photographs: Path) -> Path:
    """The folder that holds all indexes of one folder of photographs."""
    digest = hashlib.sha256(os.fsencode(photographs.resolve())).hexdigest()
    return root / digest[:FOLDER_DIGITS]


def index_folder(root: Path, photographs: Path, space: Space) -> Path:
    """The folder of one index, made and tagged.

    Raises:
        UsageError: it cannot be written.
    """
    home = home_of(root, photographs)
    folder = home / key_of(space)
    try:
        make_tagged(home)
        make_tagged(folder)
    except OSError as error:
        message = (
            f"the index cannot be written ({error.strerror or error}: {error.filename or folder}): give --index-cache "
            "another folder, or set MCCONVERT_CACHE"
        )
        raise UsageError(message) from error
    return folder


def key_of(space: Space) -> str:
    """All that decides a vector: the file, its preprocessing, what executes it, and our own sources."""
    if not space.image_sha256:
        message = f"{space.name} was opened without its image tower"
        raise ValueError(message)
    facts = {
        "format": FORMAT, "image": space.image_sha256, "executed_by": space.executed_by["image"],
        "preprocessing": replace(space.model.preprocessing), "sources": _sources(),
    }  # fmt: skip
    return hashlib.sha256(msgspec.json.encode(facts, order="sorted")).hexdigest()[:KEY_DIGITS]


def forget(root: Path, photographs: Path) -> int:
    """Remove every index of a folder of photographs; returns how many. What does not carry our tag stays.

    Raises:
        UsageError: an indexing is at work there.
    """
    home = home_of(root, photographs)
    if home.is_symlink() or not (home / TAG).is_file():
        return 0
    ours = [path for path in sorted(home.iterdir()) if (path / TAG).is_file() and not path.is_symlink()]
    with ExitStack() as stack:
        for folder in ours:
            stack.enter_context(_held(folder, None))
        for folder in ours:
            remove(folder)
    if not [path for path in home.iterdir() if path.name != TAG]:
        remove(home)
    return len(ours)


@contextmanager
def held(folders: Sequence[Path], say: Say) -> Iterator[None]:
    """Hold indexes against every other process; one that is busy is waited for, and `say` is told.

    They are taken in one order, so that two processes never wait for each other. A lock goes with its process.
    """
    with ExitStack() as stack:
        for folder in sorted(set(folders)):
            stack.enter_context(_held(folder, say))
        yield


@contextmanager
def _held(folder: Path, say: Say | None) -> Iterator[None]:
    with (folder / "lock").open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            owner = lock.read().strip() or "unknown"
            if say is None:
                message = f"process {owner} is indexing into {folder}: wait for it to end, then run again"
                raise UsageError(message) from error
            say(f"process {owner} is indexing the same photographs: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _sources() -> str:
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for name in DECIDING:
        digest.update((package / name).read_bytes())
    return digest.hexdigest()
