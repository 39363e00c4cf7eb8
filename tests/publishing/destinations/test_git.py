"""Publishing to a git repository: a real bare remote, pushed to by git and read back by an independent clone."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from converter.errors import MissingDependencyError, PublishError
from converter.publishing.destinations import git
from converter.publishing.large_files import LARGEST_BYTES
from tests.publishing.destinations.releases import (
    ONNX,
    SECRET,
    WEIGHT,
    contents,
    described,
    kill_after,
    make_release,
    publish,
    publishing,
)

MODEL = "mobileclip_nano"
OURS = {".gitattributes", "release.json"}


@pytest.fixture(autouse=True)
def own_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None of the user's git configuration plays a part."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    """An empty bare repository."""
    _git("init", "--quiet", "--bare", "--initial-branch=main", str(tmp_path / "remote.git"))
    return tmp_path / "remote.git"


def _git(*arguments: str, folder: Path | None = None) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout


def _address(remote: Path) -> str:
    return f"git+file://{remote}"


def _clone(remote: Path, folder: Path, tag: str = "main") -> dict[str, bytes]:
    """All files of a branch or tag, as an independent clone has them."""
    _git("clone", "--quiet", "--branch", tag, f"file://{remote}", str(folder))
    files = (file for file in folder.rglob("*") if file.is_file())
    return {
        path: file.read_bytes()
        for file in files
        if not (path := file.relative_to(folder).as_posix()).startswith(".git/")
    }


def _without_ours(files: dict[str, bytes]) -> dict[str, bytes]:
    return {path: data for path, data in files.items() if path not in OURS}


def _commit(remote: Path, folder: Path, files: dict[str, str], *tags: str) -> None:
    """Someone else's commit."""
    _git("clone", "--quiet", f"file://{remote}", str(folder))
    for path, text in files.items():
        (folder / path).write_text(text, encoding="utf-8")
    _git("add", "--all", folder=folder)
    who = ("-c", "user.name=Someone", "-c", "user.email=someone@example.org")
    _git(*who, "commit", "--quiet", "-m", "Other work", folder=folder)
    for tag in tags:
        _git("tag", tag, folder=folder)
    _git("push", "--quiet", "origin", "HEAD:main", *tags, folder=folder)


def test_a_release_is_a_commit_that_a_clone_brings_back(remote: Path, tmp_path: Path) -> None:
    """Byte for byte, at the root, under an annotated tag; the main branch is the latest."""
    release = make_release(tmp_path / "files")

    with git.open_destination(_address(remote), MODEL) as destination:
        assert destination.published() == []
        publish(destination, "v1", release)
        assert destination.published() == [described("v1", release)]
        assert destination.read("v1", "manifest.json") == contents()["manifest.json"]

    cloned = _clone(remote, tmp_path / "clone", "v1")
    assert _without_ours(cloned) == contents()
    assert set(cloned) - set(contents()) == OURS
    assert _git("cat-file", "-t", "v1", folder=remote).strip() == "tag"
    assert _git("rev-parse", "v1^{commit}", folder=remote) == _git("rev-parse", "main", folder=remote)


def test_a_second_version_replaces_what_the_first_listed(remote: Path, tmp_path: Path) -> None:
    """Files that are gone go, files of others stay, equal ones are kept, and the first version stays as it was."""
    second = contents(2) | {WEIGHT: contents()[WEIGHT]}
    del second["tokenizer.json"]

    with git.open_destination(_address(remote), MODEL) as destination:
        publish(destination, "v1", make_release(tmp_path / "one"))
        _commit(remote, tmp_path / "other", {"LICENSE": "theirs\n"})
        carried = publish(destination, "v2", make_release(tmp_path / "two", second))
        assert [one.version for one in destination.published()] == ["v1", "v2"]

    assert carried == ["README.md", "SHA256SUMS", "manifest.json", ONNX]
    assert _without_ours(_clone(remote, tmp_path / "v1", "v1")) == contents()
    assert _without_ours(_clone(remote, tmp_path / "main")) == second | {"LICENSE": b"theirs\n"}
    assert len(_git("log", "--format=%s", "main", folder=remote).splitlines()) == 3


def test_a_version_never_changes(remote: Path, tmp_path: Path) -> None:
    """Other files under a tag that is there are refused, and the branch stays where it is."""
    with git.open_destination(_address(remote), MODEL) as destination:
        publish(destination, "v1", make_release(tmp_path / "one"))
        before = _git("show-ref", folder=remote)
        with pytest.raises(PublishError, match="v1 was published meanwhile by someone else and never changes"):
            publish(destination, "v1", make_release(tmp_path / "two", contents(2)))

    assert _git("show-ref", folder=remote) == before


def test_finishing_twice_changes_nothing(remote: Path, tmp_path: Path) -> None:
    """When the answer to a push was lost, the next run finds the version whole."""
    release = make_release(tmp_path / "one")
    with git.open_destination(_address(remote), MODEL) as destination:
        publish(destination, "v1", release)
        before = _git("show-ref", folder=remote)
        destination.finish("v1", release, described("v1", release))

    assert _git("show-ref", folder=remote) == before


def test_line_endings_survive_a_clone_that_converts_them(remote: Path, tmp_path: Path) -> None:
    """`core.autocrlf` of whoever clones touches no byte."""
    files = contents() | {"README.md": b"one\r\ntwo\nthree\r\n"}
    with git.open_destination(_address(remote), MODEL) as destination:
        publish(destination, "v1", make_release(tmp_path / "one", files))
    (tmp_path / "gitconfig").write_text("[core]\n\tautocrlf = true\n", encoding="utf-8")

    assert _without_ours(_clone(remote, tmp_path / "clone")) == files


def test_a_push_in_between_is_built_upon(remote: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Someone moves the branch between our look and our push: nothing of theirs is lost."""
    moved = []
    push = git.Repository.push

    def push_after_another(self: git.Repository, *updates: tuple[str, str]) -> None:
        if not moved:
            moved.append(_commit(remote, tmp_path / "other", {"LICENSE": "theirs\n"}))
        push(self, *updates)

    monkeypatch.setattr(git.Repository, "push", push_after_another)
    with git.open_destination(_address(remote), MODEL) as destination:
        publish(destination, "v1", make_release(tmp_path / "one"))

    assert _without_ours(_clone(remote, tmp_path / "clone")) == contents() | {"LICENSE": b"theirs\n"}


def test_of_two_who_publish_the_same_version_one_is_told(remote: Path, tmp_path: Path) -> None:
    """The other's version stays whole, and ours leaves no trace."""
    with git.open_destination(_address(remote), MODEL) as ours:
        release = make_release(tmp_path / "ours", contents(2))
        for file in release.files:
            ours.upload("v1", file)
        with git.open_destination(_address(remote), MODEL) as theirs:
            publish(theirs, "v1", make_release(tmp_path / "theirs"))
        with pytest.raises(PublishError, match="v1 was published meanwhile"):
            ours.finish("v1", release, described("v1", release))

    assert _without_ours(_clone(remote, tmp_path / "clone", "v1")) == contents()


def test_a_run_killed_at_any_moment_leaves_a_version_whole_or_none(remote: Path, tmp_path: Path) -> None:
    """SIGKILL at four moments: what a clone sees is all of v1 or nothing, and the next run completes it."""
    started = time.monotonic()
    publishing("git", _address(remote), tmp_path / "files").join()
    usual, absent = time.monotonic() - started, 0
    for part in (0.2, 0.5, 0.75, 0.9):
        target = tmp_path / f"{part}.git"
        _git("init", "--quiet", "--bare", "--initial-branch=main", str(target))
        kill_after(usual * part, publishing("git", _address(target), tmp_path / "files"))
        refs = _git("for-each-ref", "--format=%(refname)", folder=target).split()
        assert refs in ([], ["refs/heads/main", "refs/tags/v1"])
        absent += not refs
        last = publishing("git", _address(target), tmp_path / "files")
        last.join()

        assert last.exitcode == 0
        assert _without_ours(_clone(target, tmp_path / f"clone {part}", "v1")) == contents()
    assert absent


def test_large_files_go_through_git_lfs(remote: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sent one by one before the push, pointers in the tree, whole again in a clone with git-lfs."""
    if shutil.which("git-lfs") is None:
        pytest.skip("no git-lfs here; 'apt-get install -y git-lfs' or 'make test-servers' brings it in")
    files = contents() | {WEIGHT: random.Random(3).randbytes(LARGEST_BYTES + 1)}
    release = make_release(tmp_path / "files", files)

    with git.open_destination(_address(remote), MODEL) as destination:
        destination.upload("v1", next(file for file in release.files if file.path == WEIGHT))
        sent = [file for file in (remote / "lfs" / "objects").rglob("*") if file.is_file()]
        assert destination.published() == []
        publish(destination, "v1", release)
        with pytest.raises(PublishError, match="kept by git-lfs"):
            destination.read("v1", WEIGHT)

    pointer = _git("cat-file", "blob", f"main:{WEIGHT}", folder=remote)
    _clone(remote, tmp_path / "clone")
    _git("lfs", "install", "--local", folder=tmp_path / "clone")
    _git("lfs", "pull", folder=tmp_path / "clone")
    assert [file.read_bytes() for file in sent] == [files[WEIGHT]]
    assert pointer.startswith("version https://git-lfs.github.com/spec/v1\noid sha256:")
    assert (tmp_path / "clone" / WEIGHT).read_bytes() == files[WEIGHT]
    assert _git("status", "--porcelain", folder=tmp_path / "clone") == ""


def test_a_large_file_without_git_lfs_is_refused(remote: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 3, the file's name, and how to get it."""
    _only_git_in_path(tmp_path, monkeypatch)
    monkeypatch.setenv("GIT_EXEC_PATH", str(tmp_path / "core"))
    release = make_release(tmp_path / "files", contents() | {ONNX: bytes(LARGEST_BYTES + 1)})

    with (
        git.open_destination(_address(remote), MODEL) as destination,
        pytest.raises(MissingDependencyError, match="onnx/image.onnx has 10 MB.*apt-get install git-lfs"),
    ):
        destination.upload("v1", next(file for file in release.files if file.path == ONNX))


def test_without_git_nothing_begins(remote: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing dependency, exit code 3."""
    monkeypatch.setenv("PATH", "")

    with pytest.raises(MissingDependencyError, match="install git"), git.open_destination(_address(remote), MODEL):
        pass


def test_ssh_is_called_as_the_user_says(remote: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's name and host reach ssh, here one that runs git's other half on this machine."""
    ssh = tmp_path / "ssh"
    ssh.write_text(f'#!/bin/sh\necho "$@" >> \'{tmp_path}/called\'\nfor last; do :; done\neval "$last"\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(ssh))

    with git.open_destination(f"git+ssh://git@example.org{remote}", MODEL) as destination:
        publish(destination, "v1", make_release(tmp_path / "files"))
        assert destination.published() == [described("v1", make_release(tmp_path / "files"))]

    assert _without_ours(_clone(remote, tmp_path / "clone", "v1")) == contents()
    assert f"git@example.org git-receive-pack '{remote}'" in (tmp_path / "called").read_text(encoding="utf-8")


def test_hooks_of_the_user_do_not_run(remote: Path, tmp_path: Path) -> None:
    """A hook that is configured for all repositories of the user plays no part."""
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("pre-push", "reference-transaction"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch '{tmp_path}/ran'\nexit 1\n", encoding="utf-8")
        (hooks / name).chmod(0o755)
    (tmp_path / "gitconfig").write_text(f"[core]\n\thooksPath = {hooks}\n", encoding="utf-8")
    _git("config", "core.hooksPath", str(remote / "hooks"), folder=remote)  # the remote is none of the user's

    with git.open_destination(_address(remote), MODEL) as destination:
        publish(destination, "v1", make_release(tmp_path / "files"))

    assert not (tmp_path / "ran").exists()


def test_a_remote_that_refuses_is_quoted(remote: Path, tmp_path: Path) -> None:
    """A hook of the server says no: its words are in the message, and nothing is there."""
    hook = remote / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho 'the quota is used up' >&2\nexit 1\n", encoding="utf-8")
    hook.chmod(0o755)

    with (
        git.open_destination(_address(remote), MODEL) as destination,
        pytest.raises(PublishError, match="remote: the quota is used up.*nothing was published"),
    ):
        publish(destination, "v1", make_release(tmp_path / "files"))

    assert _git("for-each-ref", folder=remote) == ""


@pytest.mark.parametrize(
    ("files", "tags", "seen"),
    [
        ({"main.py": "print()\n"}, (), "holds main.py and no release.json"),
        ({"README.md": "a model\n"}, ("v1",), "tag v1 is no release of mcconvert"),
        ({"release.json": "{}\n"}, (), "release.json is not one that mcconvert wrote"),
    ],
)
def test_someone_elses_repository_is_refused(
    remote: Path, tmp_path: Path, files: dict[str, str], tags: tuple[str, ...], seen: str
) -> None:
    """Nothing of theirs is overwritten."""
    _commit(remote, tmp_path / "theirs", files, *tags)

    with git.open_destination(_address(remote), MODEL) as destination, pytest.raises(PublishError, match=seen):
        destination.published()


def test_another_models_repository_is_refused(remote: Path, tmp_path: Path) -> None:
    """A repository holds one model."""
    with git.open_destination(_address(remote), MODEL) as destination:
        publish(destination, "v1", make_release(tmp_path / "files"))
    with (
        git.open_destination(_address(remote), "mobileclip_s1") as destination,
        pytest.raises(PublishError, match="holds mobileclip_nano, expected mobileclip_s1"),
    ):
        destination.published()


def test_a_file_that_changed_meanwhile_is_refused(remote: Path, tmp_path: Path) -> None:
    """What is committed are the bytes that were gathered."""
    release = make_release(tmp_path / "files")
    with git.open_destination(_address(remote), MODEL) as destination:
        for file in release.files:
            destination.upload("v1", file)
        release.manifest.source.write_bytes(b"{}")
        with pytest.raises(PublishError, match="it changed meanwhile"):
            destination.finish("v1", release, described("v1", release))

    assert _git("for-each-ref", folder=remote) == ""


@pytest.mark.parametrize(
    ("address", "seen"),
    [
        (f"git+https://user:{SECRET}@example.org/acme/nano.git", "without user and password"),
        (f"git+https://{SECRET}@example.org/acme/nano.git", "without user and password"),
        ("git+file:///nowhere/at/all.git", "does not appear to be a git repository"),
        ("git+https://127.0.0.1:1/acme/nano.git", "git ls-remote ended with 128"),
        ("git+https://example.org", "expected git"),
    ],
)
def test_addresses_that_lead_nowhere_are_refused(address: str, seen: str) -> None:
    """Malformed, with a secret in it, or nobody there: git is quoted, no secret shows."""
    with (
        pytest.raises(PublishError, match=seen) as refusal,
        git.open_destination(address, MODEL) as destination,
    ):
        destination.published()

    assert SECRET not in str(refusal.value)


def _only_git_in_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PATH and a folder of git's commands with all that git has, but git-lfs."""
    program, core = shutil.which("git") or "", Path(_git("--exec-path").strip())
    (folder / "bin").mkdir()
    (folder / "bin" / "git").symlink_to(program)
    shutil.copytree(core, folder / "core", symlinks=True, ignore=lambda _, names: [n for n in names if "lfs" in n])
    monkeypatch.setenv("PATH", str(folder / "bin"))
