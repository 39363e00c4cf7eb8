"""A git repository elsewhere, worked on through a bare copy here that has neither history nor a work tree.

The user's own configuration stays in force, for credential helpers, ssh, proxies and names; hooks, signing and line
endings are set aside, because what is published must be the bytes that were judged and nothing else may run. The copy
lives as long as the run: it costs a few listings to fetch, and one that outlived a killed run would keep its locks and
half-written refs. Every command is a list of arguments.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from converter.errors import MissingDependencyError, PublishError
from converter.publishing.addresses import version_number, without_secrets

_OURS = ("core.hooksPath=/dev/null", "core.autocrlf=false", "commit.gpgSign=false", "tag.gpgSign=false", "gc.auto=0",
         "push.followTags=false", "push.gpgSign=false", "http.lowSpeedLimit=1", "http.lowSpeedTime=120")  # fmt: skip
_FROM_OUTSIDE = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR",
                 "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_NAMESPACE", "GIT_PREFIX")  # fmt: skip
_SSH = "ssh -oBatchMode=yes -oConnectTimeout=20 -oServerAliveInterval=30"


@dataclass(frozen=True, kw_only=True)
class Refs:
    """What the remote has now: its main branch, where that points ("" while it is empty), and its tags."""

    branch: str
    head: str
    tags: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One file of a tree."""

    mode: str
    oid: str
    path: str


class Rejected(Exception):
    """The remote took nothing, because its branch or tag had moved."""


@dataclass(frozen=True, kw_only=True)
class Repository:
    """The remote `url`, and its bare copy in `folder`."""

    url: str
    folder: Path

    def refs(self) -> Refs:
        """Ask the remote, without fetching."""
        lines = self.git("ls-remote", "--symref", self.url).decode().splitlines()
        branch = next((line.split()[1] for line in lines if line.startswith("ref: ")), "refs/heads/main")
        pairs = [line.partition("\t") for line in lines if not line.startswith("ref: ")]
        found = {name: oid for oid, _, name in pairs}
        tags = {name.removeprefix("refs/tags/"): oid for name, oid in found.items() if name.startswith("refs/tags/")}
        return Refs(branch=branch, head=found.get(branch, ""), tags=tags)

    def fetch(self, refs: Refs) -> None:
        """Bring the branch and the tags of versions here without history; of files, only what is read later."""
        wanted = [f"+{refs.branch}:{refs.branch}"] if refs.head else []
        wanted += [f"+refs/tags/{tag}:refs/tags/{tag}" for tag in refs.tags if version_number(tag)]
        if wanted:
            self.git("fetch", "--quiet", "--no-tags", "--depth=1", "--filter=blob:none", "origin", *wanted)

    def files(self, commit: str) -> list[Entry]:
        """All files of a commit or tag; none when there is no commit."""
        lines = self.git("ls-tree", "-r", "-z", commit).decode().split("\0") if commit else []
        split = [line.partition("\t") for line in lines if line]
        return [Entry(mode=head.split()[0], oid=head.split()[2], path=path) for head, _, path in split]

    def read(self, oid: str) -> bytes:
        """The bytes of a file."""
        return self.git("cat-file", "blob", oid)

    def keep(self, data: bytes) -> str:
        """Store bytes here, as they are; their name in git."""
        return self.git("hash-object", "-w", "--no-filters", "--stdin", data=data).decode().strip()

    def commit(self, entries: list[Entry], parent: str, message: str, date: str) -> str:
        """Make a commit of exactly these files."""
        listing = "".join(f"{one.mode} {one.oid}\t{one.path}\0" for one in entries).encode()
        with tempfile.TemporaryDirectory(prefix="index.", dir=self.folder) as folder:
            index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
            self.git("update-index", "-z", "--index-info", data=listing, extra=index)
            tree = self.git("write-tree", "--missing-ok", extra=index).decode().strip()
        parents = ["-p", parent] if parent else []
        made = self.git("commit-tree", *parents, "-F", "-", tree, data=message.encode(), extra=self._dated(date))
        return made.decode().strip()

    def tag(self, name: str, commit: str, message: str, date: str) -> str:
        """Make an annotated tag, without giving it a name here."""
        who = self.git("var", "GIT_COMMITTER_IDENT", extra=self._dated(date)).decode().strip()
        text = f"object {commit}\ntype commit\ntag {name}\ntagger {who}\n\n{message}\n"
        return self.git("hash-object", "-t", "tag", "-w", "--stdin", data=text.encode()).decode().strip()

    def push(self, *updates: tuple[str, str]) -> None:
        """Send objects and move the remote's refs, all of them or none, forwards only.

        Raises:
            Rejected: the remote had moved.
        """
        done = self._run("push", "--porcelain", "--atomic", "origin", *(f"{oid}:{ref}" for oid, ref in updates))
        said = done.stdout.decode(errors="replace") + done.stderr.decode(errors="replace")
        if done.returncode and any(word in said for word in ("(fetch first)", "(non-fast-forward)", "already exists",
                                                             "cannot lock ref", "stale info")):  # fmt: skip
            raise Rejected(_last_words(done))
        self._require(done, "push")

    def git(self, *arguments: str, data: bytes | None = None, extra: Mapping[str, str] | None = None) -> bytes:
        """What `git` prints.

        Raises:
            PublishError: it ended with an error, which is quoted.
        """
        done = self._run(*arguments, data=data, extra=extra)
        self._require(done, arguments[0])
        return done.stdout

    def knows(self, *arguments: str) -> bool:
        """Whether `git` has that command."""
        return self._run(*arguments).returncode == 0

    def _run(
        self, *arguments: str, data: bytes | None = None, extra: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        settings = [part for one in _OURS for part in ("-c", one)]
        command = [_program(), "--git-dir", str(self.folder), *settings, *arguments]
        return subprocess.run(command, input=data or b"", capture_output=True, env=_environment(extra), check=False)

    def _require(self, done: subprocess.CompletedProcess[bytes], what: str) -> None:
        if done.returncode == 0:
            return
        message = (
            f"{without_secrets(self.url)}: git {what} ended with {done.returncode}: {_last_words(done)}; nothing was "
            f"published; when 'git ls-remote {without_secrets(self.url)}' works and you may push there, run again"
        )
        raise PublishError(message)

    def _dated(self, date: str) -> dict[str, str]:
        """The time of publishing, and a name where the user has none."""
        known = self._run("config", "user.email").stdout.strip()
        who = {} if known else {"NAME": "mcconvert", "EMAIL": "mcconvert@localhost"}
        both = {"DATE": date, **who}
        return {f"GIT_{role}_{part}": text for role in ("AUTHOR", "COMMITTER") for part, text in both.items()}


@contextmanager
def open_repository(url: str) -> Iterator[Repository]:
    """The repository at `url`, with an empty copy that is gone afterwards.

    Nothing is asked of the remote yet.

    Raises:
        MissingDependencyError: there is no git.
    """
    _program()
    with tempfile.TemporaryDirectory(prefix="mcconvert-git.", ignore_cleanup_errors=True) as folder:
        repository = Repository(url=url, folder=Path(folder))
        repository.git("init", "--quiet", "--bare", "--template=", folder)
        for name, value in (("url", url), ("promisor", "true"), ("partialclonefilter", "blob:none")):
            repository.git("config", f"remote.origin.{name}", value)
        yield repository


def _program() -> str:
    program = shutil.which("git")
    if program is None:
        message = "publishing to a git repository needs the command 'git', and there is none in PATH: install git"
        raise MissingDependencyError(message)
    return program


def _environment(extra: Mapping[str, str] | None) -> dict[str, str]:
    """No questions at the terminal, messages in English, and nothing of a repository that we were started from."""
    inherited = {name: value for name, value in os.environ.items() if name not in _FROM_OUTSIDE}
    ours = {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C", "GIT_LFS_SKIP_SMUDGE": "1"}
    return {"GIT_SSH_COMMAND": _SSH} | inherited | ours | dict(extra or {})


def _last_words(done: subprocess.CompletedProcess[bytes]) -> str:
    """The lines that say why, as one."""
    said = done.stderr.decode(errors="replace").splitlines()
    marked = [line for line in said if line.startswith(("fatal:", "error:", "remote:", " !"))]
    return without_secrets("; ".join(line.strip() for line in (marked or said[-3:])) or "it said nothing")
