"""The Hugging Face hub, as far as weights need it: one file of one repository, from the local cache or the network."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converter.errors import WeightsError

ANSWER_SECONDS = 3.0
"""How long the hub may take to say what it has. Offline must be noticed at once, not after a minute of retries."""
GIVE_UP_SECONDS = 6.0
"""Looking up a name has no timeout of its own and may block far longer; after this the hub counts as unreachable."""
SHA256_PATTERN = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class HubFile:
    """A file in the local hub cache, the commit that it belongs to, and the sha256 that the hub gives for it."""

    path: Path
    commit: str
    expected_sha256: str | None


def cached(repo: str, file_name: str, revision: str) -> HubFile | None:
    """The file if the hub's cache on this machine holds it.

    The cache's layout is read here, as documented (huggingface.co/docs/huggingface_hub/guides/manage-cache), because
    importing huggingface_hub takes longer than all else that a warm run does.
    """
    root = _cache_root() / f"models--{repo.replace('/', '--')}"
    reference = root / "refs" / revision
    commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else revision
    path = root / "snapshots" / commit / file_name
    return HubFile(path=path, commit=commit, expected_sha256=_sha256_of_blob(path)) if path.is_file() else None


def download(repo: str, file_name: str, revision: str) -> HubFile:
    """Fetch the file into the hub's own cache, with progress on stderr where a person watches.

    Raises:
        WeightsError: the hub cannot be reached, or does not give the file; the message is its reason alone.
    """
    try:
        # The hub's client raises the errors of requests or of httpx, by its version, besides its own: hence Exception.
        answer = _in_time(lambda: _ask(repo, file_name, revision))
        path = _fetch(repo, file_name, revision)
    except Exception as error:
        raise WeightsError(_reason(error)) from error
    commit = path.parent.name
    asked_of_it = _sha256_in(answer.etag) if answer.commit_hash == commit else None
    return HubFile(path=path, commit=commit, expected_sha256=_sha256_of_blob(path) or asked_of_it)


def _ask(repo: str, file_name: str, revision: str) -> Any:
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url

    if constants.HF_HUB_OFFLINE:
        message = "HF_HUB_OFFLINE is set"
        raise ConnectionError(message)
    return get_hf_file_metadata(hf_hub_url(repo, file_name, revision=revision), timeout=ANSWER_SECONDS)


def _fetch(repo: str, file_name: str, revision: str) -> Path:
    """Download to `snapshots/<commit>`; asked by branch name, the client also notes which commit that was."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    hide = not sys.stderr.isatty() and not are_progress_bars_disabled()
    if hide:
        disable_progress_bars()
    try:
        return Path(hf_hub_download(repo, file_name, revision=revision, etag_timeout=ANSWER_SECONDS))
    finally:
        if hide:
            enable_progress_bars()


def _in_time(ask: Callable[[], Any]) -> Any:
    """The result of `ask`, or TimeoutError after `GIVE_UP_SECONDS`; the thread is left behind to end by itself."""
    answers: list[Any] = []
    errors: list[Exception] = []

    def work() -> None:
        try:
            answers.append(ask())
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(GIVE_UP_SECONDS)
    if errors:
        raise errors[0]
    if not answers:
        message = f"no answer within {GIVE_UP_SECONDS:g} seconds"
        raise TimeoutError(message)
    return answers[0]


def _reason(error: Exception) -> str:
    first_line = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {first_line}" if first_line else type(error).__name__


def _cache_root() -> Path:
    """Where huggingface_hub keeps its cache, by the same environment variables in the same order."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(name):
            return Path(os.environ[name]).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or str(Path(cache) / "huggingface")
    return Path(os.path.expandvars(home)).expanduser() / "hub"


def _sha256_of_blob(path: Path) -> str | None:
    """A large file is a link to a blob named after its sha256; where links do not work, the name says nothing."""
    return _sha256_in(path.resolve().name)


def _sha256_in(text: str | None) -> str | None:
    return text if text and SHA256_PATTERN.fullmatch(text) else None
