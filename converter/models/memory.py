"""What is remembered from run to run about weights: hashes of files that have not changed, and failed downloads.

Two small JSON files. Losing or breaking them costs time, never correctness, so nothing here fails because of them.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from converter.errors import WeightsError
from converter.files import hash_path

HASHES_FILE = "file-hashes.json"
FAILURES_FILE = "hub-failures.json"
RETRY_AFTER_SECONDS = 15 * 60


def user_cache() -> Path:
    """The user's cache folder for mcconvert."""
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("mcconvert"))


def file_sha256(path: Path, memory: Path) -> str:
    """The file's sha256, computed again only if its path, size, modification time or inode changed.

    Raises:
        WeightsError: the file cannot be read.
    """
    try:
        return files_sha256([path], memory)[0]
    except OSError as error:
        message = f"{path} cannot be read ({error.strerror or error}); check that it exists and that you may read it"
        raise WeightsError(message) from error


def files_sha256(paths: Sequence[Path], memory: Path) -> list[str]:
    """Each file's sha256, as `file_sha256` remembers it; the memory is read and written once for all of them.

    Raises:
        OSError: a file cannot be read.
    """
    known = _read(memory / HASHES_FILE)
    fresh: dict[str, Any] = {}
    found: list[str] = []
    for path in paths:
        key, stat = str(path.resolve()), path.stat()
        identity, entry = [stat.st_size, stat.st_mtime_ns, stat.st_ino], known.get(str(path.resolve()))
        if not (isinstance(entry, list) and entry[:-1] == identity and isinstance(entry[-1], str)):
            entry = fresh[key] = [*identity, hash_path(path)[0]]
        found.append(entry[-1])
    if fresh:
        _update(memory / HASHES_FILE, fresh)
    return found


def recent_failure(memory: Path, repo: str, now: float) -> str | None:
    """Why the last download from `repo` failed, if that was within `RETRY_AFTER_SECONDS`."""
    entry = _read(memory / FAILURES_FILE).get(repo)
    if not isinstance(entry, dict) or not isinstance(entry.get("at"), int | float):
        return None
    return str(entry.get("reason")) if 0 <= now - entry["at"] < RETRY_AFTER_SECONDS else None


def remember_failure(memory: Path, repo: str, reason: str, now: float) -> None:
    """Note that downloading from `repo` failed at `now`."""
    _update(memory / FAILURES_FILE, {repo: {"at": now, "reason": reason}})


def forget_failure(memory: Path, repo: str) -> None:
    """Note that `repo` answers again."""
    if repo in _read(memory / FAILURES_FILE):
        _update(memory / FAILURES_FILE, {repo: None})


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _update(path: Path, changes: Mapping[str, Any]) -> None:
    entries = {**_read(path), **changes}
    text = json.dumps({name: entry for name, entry in entries.items() if entry is not None}, indent=2)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, sibling = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(sibling).replace(path)
