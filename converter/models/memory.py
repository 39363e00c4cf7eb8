"""What is remembered from run to run about weights: hashes of files that have not changed, and failed downloads.

Two small JSON files. Losing or breaking them costs time, never correctness, so nothing here fails because of them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from converter.errors import WeightsError

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
        stat = path.stat()
        identity = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
        key = str(path.resolve())
        known = _read(memory / HASHES_FILE).get(key)
        if isinstance(known, list) and known[:-1] == identity and isinstance(known[-1], str):
            return known[-1]
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        message = f"{path} cannot be read ({error.strerror or error}); check that it exists and that you may read it"
        raise WeightsError(message) from error
    _update(memory / HASHES_FILE, key, [*identity, digest])
    return digest


def recent_failure(memory: Path, repo: str, now: float) -> str | None:
    """Why the last download from `repo` failed, if that was within `RETRY_AFTER_SECONDS`."""
    entry = _read(memory / FAILURES_FILE).get(repo)
    if not isinstance(entry, dict) or not isinstance(entry.get("at"), int | float):
        return None
    return str(entry.get("reason")) if 0 <= now - entry["at"] < RETRY_AFTER_SECONDS else None


def remember_failure(memory: Path, repo: str, reason: str, now: float) -> None:
    """Note that downloading from `repo` failed at `now`."""
    _update(memory / FAILURES_FILE, repo, {"at": now, "reason": reason})


def forget_failure(memory: Path, repo: str) -> None:
    """Note that `repo` answers again."""
    if repo in _read(memory / FAILURES_FILE):
        _update(memory / FAILURES_FILE, repo, None)


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _update(path: Path, key: str, value: Any) -> None:
    entries = _read(path) | {key: value}
    text = json.dumps({name: entry for name, entry in entries.items() if entry is not None}, indent=2)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, sibling = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(sibling).replace(path)
