"""Which code it was: the commit of the package's own checkout, or what its installer noted, without secrets."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from converter.build import Material
from converter.publishing.source import installed_from, source_materials, source_sha256

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package in a checkout of its own, committed."""
    package = tmp_path / "checkout" / "converter"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("x = 1\n")
    git(package.parent, "init", "--quiet")
    git(package.parent, "add", ".")
    git(package.parent, "-c", "user.name=n", "-c", "user.email=e@example.org", "commit", "--quiet", "-m", "first")
    return package


def git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(root), *arguments], check=True, capture_output=True, text=True).stdout


def sources(package: Path) -> list[Material]:
    return [one for one in source_materials(package) if one.name == "source"]


def test_a_checkout_names_its_commit_and_whether_it_was_changed(package: Path) -> None:
    """A changed or added file makes it dirty."""
    (clean,) = sources(package)
    (package / "more.py").write_text("")
    (dirty,) = sources(package)

    assert clean.digest == dirty.digest == {"gitCommit": git(package.parent, "rev-parse", "HEAD").strip()}
    assert (clean.facts, dirty.facts) == ({"dirty": False}, {"dirty": True})


def test_a_repository_around_an_environment_is_not_ours(package: Path) -> None:
    """A package that somebody's checkout merely contains has none of its commits."""
    installed = package.parent / "venv" / "site-packages" / "converter"
    installed.parent.mkdir(parents=True)
    shutil.copytree(package, installed)
    ignored = package.parent / "other"
    ignored.mkdir()
    (ignored / "__init__.py").write_text("")

    assert sources(installed) == []
    assert sources(ignored) == []


def test_without_git_the_sources_hash_remains(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No git on the path: the package's own hash, which any change of a source file changes."""
    monkeypatch.setenv("PATH", "")
    (own,) = source_materials(package)
    (package / "__init__.py").write_text("x = 2\n")
    (changed,) = source_materials(package)

    assert own.name == changed.name == "package"
    assert own.digest != changed.digest
    (package / "__init__.py").rename(package / "__main__.py")
    assert source_sha256(package) != changed.digest["sha256"]


@pytest.mark.parametrize(
    ("noted", "uri", "digest"),
    [
        ({"url": "https://u:secret@h.example/r.git?t=1", "vcs_info": {"vcs": "git", "commit_id": COMMIT}},
         "https://h.example/r.git", {"gitCommit": COMMIT}),
        ({"url": "https://h.example/x.whl", "archive_info": {"hashes": {"sha256": "ab"}}}, "https://h.example/x.whl",
         {"sha256": "ab"}),
        ({"url": "file:///home/me/x.whl", "archive_info": {"hashes": {"sha256": "ab"}}}, "", {"sha256": "ab"}),
    ],
)  # fmt: skip
def test_what_an_installer_noted_is_taken_without_secrets(noted: object, uri: str, digest: dict[str, str]) -> None:
    """Commit or archive hash, the address without user, token and local path."""
    assert installed_from(noted) == Material(name="source", uri=uri, digest=digest)


@pytest.mark.parametrize(
    "noted",
    [
        None, [], {}, {"url": 1}, {"url": "file:///me", "dir_info": {"editable": True}}, {"url": "x", "vcs_info": 1},
        {"url": "https://h.example", "vcs_info": {"vcs": "git", "commit_id": "main"}},
    ],
)  # fmt: skip
def test_what_names_no_bytes_is_no_source(noted: object) -> None:
    """A local folder, a branch, garbage."""
    assert installed_from(noted) is None
