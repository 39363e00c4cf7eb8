"""Which code this is: the commit of the checkout that the package lies in, else what its installer noted, and in any
case a hash of its own source files.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from converter import __version__
from converter.build import Material

PACKAGE = Path(__file__).parents[1]
GIT_SECONDS = 20.0
_SOURCE = (".py", ".yaml", ".json")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def source_materials(package: Path = PACKAGE) -> tuple[Material, ...]:
    """The package's own files, and the commit where one is known."""
    own = Material(
        name="package", uri=f"pkg:pypi/mcconvert@{__version__}", digest={"sha256": source_sha256(package)},
        facts={"of": "sorted paths and sha256 of the package's source and configuration files"},
    )  # fmt: skip
    commit = _checkout(package) or _installed_from()
    return (commit, own) if commit else (own,)


def source_sha256(package: Path) -> str:
    """A hash of the package's source files, of their paths in it and their bytes."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*")):
        if path.suffix in _SOURCE and path.is_file():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{path.relative_to(package).as_posix()}\0{content}\0".encode())
    return digest.hexdigest()


def _checkout(package: Path) -> Material | None:
    """The commit of the checkout whose own package this is: not of a repository that an environment lies in."""
    root = package.parent
    if not (root / ".git").exists() or _git(root, "ls-files", "--error-unmatch", f"{package.name}/__init__.py") is None:
        return None
    commit, changes = _git(root, "rev-parse", "HEAD"), _git(root, "status", "--porcelain")
    if commit is None or changes is None or not _COMMIT.fullmatch(commit.strip()):
        return None
    return Material(name="source", digest={"gitCommit": commit.strip()}, facts={"dirty": bool(changes.strip())})


def _git(root: Path, *arguments: str) -> str | None:
    """What git says, or None where it is not there or refuses. It takes no lock and asks nothing."""
    command = ["git", "-c", "core.fsmonitor=false", "-C", str(root), *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=GIT_SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout if done.returncode == 0 else None


def _installed_from() -> Material | None:
    """What PEP 610's direct_url.json names, unless that is a folder of this machine."""
    try:
        noted = json.loads(importlib.metadata.distribution("mcconvert").read_text("direct_url.json") or "null")
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return None
    return installed_from(noted)


def installed_from(noted: object) -> Material | None:
    """The material that a direct_url.json stands for; None for a local folder and for what is malformed."""
    if not isinstance(noted, dict) or not isinstance(noted.get("url"), str):
        return None
    uri = _without_secrets(noted["url"])
    digests = dict(_digests(noted))
    return Material(name="source", uri=uri, digest=digests) if digests else None


def _digests(noted: dict[str, object]) -> Iterator[tuple[str, str]]:
    vcs, archive = noted.get("vcs_info"), noted.get("archive_info")
    if isinstance(vcs, dict) and vcs.get("vcs") == "git" and _COMMIT.fullmatch(str(vcs.get("commit_id"))):
        yield "gitCommit", str(vcs["commit_id"])
    hashes = archive.get("hashes") if isinstance(archive, dict) else None
    if isinstance(hashes, dict) and isinstance(hashes.get("sha256"), str):
        yield "sha256", hashes["sha256"]


def _without_secrets(url: str) -> str:
    """The address without user, password, query and fragment; empty for a path of this machine."""
    parts = urlsplit(url)
    if parts.scheme == "file" or not parts.hostname:
        return ""
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
