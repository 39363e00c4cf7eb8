"""Publishing to a model hub: the hub's own client against a server of this machine that keeps real bytes.

The hub itself is never reached here.
"""

from __future__ import annotations

import dataclasses
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest

from converter.errors import PublishError
from converter.publishing.destinations import hub
from tests.publishing.destinations.hub_server import Hub, Repository
from tests.publishing.destinations.registry import free_port
from tests.publishing.destinations.releases import (
    ONNX,
    SECRET,
    WEIGHT,
    contents,
    described,
    make_release,
    publish,
)
from tests.publishing.destinations.serving import served

MODEL, NAME, ADDRESS = "mobileclip_nano", "acme/nano", "hf://acme/nano"
OURS = {".gitattributes", "release.json"}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """An empty hub where SECRET may write."""
    one = Hub(writers={SECRET}, readers={"only-reads-this-one"})
    monkeypatch.setenv("HF_TOKEN", SECRET)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)  # its store is another protocol
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with served(one):
        monkeypatch.setenv("HF_ENDPOINT", one.url)
        yield one


@pytest.fixture
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's waits between its own tries take no time."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)


def _files(server: Hub, revision: str) -> dict[str, bytes]:
    """All files of a revision, read by plain HTTP."""
    paths = server.repositories[NAME].files(revision) or {}
    return {path: _get(f"{server.url}/{NAME}/resolve/{revision}/{urllib.request.quote(path)}") for path in paths}


def _get(url: str) -> bytes:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {SECRET}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return bytes(answer.read())


def _without_ours(files: dict[str, bytes]) -> dict[str, bytes]:
    return {path: data for path, data in files.items() if path not in OURS}


def _puts(server: Hub) -> int:
    return sum(line.startswith("PUT ") for line in server.asked)


def test_a_release_is_one_commit_that_plain_http_reads_back(server: Hub, tmp_path: Path) -> None:
    """Byte for byte, large and small, in a repository made private, under its tag; main is the latest."""
    release = make_release(tmp_path / "files")

    with hub.open_destination(ADDRESS, MODEL) as destination:
        assert destination.published() == []
        assert NAME not in server.repositories
        publish(destination, "v1", release)
        assert destination.published() == [described("v1", release)]
        assert destination.read("v1", "manifest.json") == contents()["manifest.json"]

    repository = server.repositories[NAME]
    assert _without_ours(_files(server, "v1")) == _without_ours(_files(server, "main")) == contents()
    assert (len(repository.commits), repository.private, _puts(server)) == (2, True, 2)


def test_a_second_version_replaces_what_the_first_listed(server: Hub, tmp_path: Path) -> None:
    """Files that are gone go, files of others stay, equal ones are not sent, the first version stays as it was."""
    second = contents(2) | {WEIGHT: contents()[WEIGHT]}
    del second["tokenizer.json"]

    with hub.open_destination(ADDRESS, MODEL) as destination:
        publish(destination, "v1", make_release(tmp_path / "one"))
        repository = server.repositories[NAME]
        repository.add(repository.commits[repository.head] | {"LICENSE": b"theirs\n"})
        before = _puts(server)
        carried = publish(destination, "v2", make_release(tmp_path / "two", second))
        assert [one.version for one in destination.published()] == ["v1", "v2"]

    assert carried == ["README.md", "SHA256SUMS", "manifest.json", ONNX]
    assert _puts(server) - before == 1
    assert _without_ours(_files(server, "v1")) == contents()
    assert _without_ours(_files(server, "main")) == second | {"LICENSE": b"theirs\n"}


def test_a_version_never_changes(server: Hub, tmp_path: Path) -> None:
    """Other files under a tag that is there are refused before anything is committed."""
    with hub.open_destination(ADDRESS, MODEL) as destination:
        publish(destination, "v1", make_release(tmp_path / "one"))
        head = server.repositories[NAME].head
        with pytest.raises(PublishError, match="v1 was published meanwhile by someone else and never changes"):
            publish(destination, "v1", make_release(tmp_path / "two", contents(2)))

    assert server.repositories[NAME].head == head


@pytest.mark.usefixtures("no_waits")
def test_an_upload_that_broke_goes_on(server: Hub, tmp_path: Path) -> None:
    """What arrived is not sent again, and nothing shows before the tag."""
    release = make_release(tmp_path / "files")

    with hub.open_destination(ADDRESS, MODEL) as destination:
        server.cuts["PUT /lfs/" + next(file.sha256 for file in release.files if file.path == ONNX)] = 99
        with pytest.raises(PublishError, match=f"{ONNX}: no answer from http://.*the same command goes on"):
            publish(destination, "v1", release)
        assert destination.published() == []
        server.cuts.clear()
        before = _puts(server)
        publish(destination, "v1", release)

    assert _puts(server) - before == 1
    assert _without_ours(_files(server, "v1")) == contents()


@pytest.mark.usefixtures("no_waits")
def test_one_connection_that_breaks_is_made_anew(server: Hub, tmp_path: Path) -> None:
    """The client itself tries again."""
    server.cuts["PUT /lfs/"] = 1

    with hub.open_destination(ADDRESS, MODEL) as destination:
        publish(destination, "v1", make_release(tmp_path / "files"))

    assert server.cuts == {"PUT /lfs/": 0}
    assert _without_ours(_files(server, "v1")) == contents()


def test_a_run_that_ended_before_the_tag_is_completed(server: Hub, tmp_path: Path) -> None:
    """The commit that is there is looked at and tagged, and not made again."""
    release = make_release(tmp_path / "files")
    server.fails["/tag/"] = 507

    with hub.open_destination(ADDRESS, MODEL) as destination:
        with pytest.raises(PublishError, match="tag v1: .*answered 507"):
            publish(destination, "v1", release)
        assert destination.published() == []
        server.fails.clear()
        later = dataclasses.replace(described("v1", release), published="2026-02-01T00:00:00Z")
        destination.finish("v1", release, later)
        assert [one.version for one in destination.published()] == ["v1"]

    assert len(server.repositories[NAME].commits) == 2


def test_a_commit_in_between_is_built_upon(server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Someone moves the branch between our look and our commit: nothing of theirs is lost."""
    operations = hub.HubRepository._operations
    moved: list[str] = []

    def operations_then_another(self: hub.HubRepository, *arguments: object) -> list[object]:
        made = operations(self, *arguments)  # type: ignore[arg-type]
        repository = server.repositories[NAME]
        if not moved:
            moved.append(repository.add(repository.commits[repository.head] | {"LICENSE": b"theirs\n"}))
        return made

    monkeypatch.setattr(hub.HubRepository, "_operations", operations_then_another)
    with hub.open_destination(ADDRESS, MODEL) as destination:
        publish(destination, "v1", make_release(tmp_path / "files"))

    assert _without_ours(_files(server, "v1")) == contents() | {"LICENSE": b"theirs\n"}


def test_a_hub_that_keeps_other_bytes_gets_no_tag(server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One changed byte in the commit is noticed before a tag names it."""
    honest = Repository.add

    def add_changed(self: Repository, tree: dict[str, bytes]) -> str:
        return honest(self, {path: data.replace(b'"seed": 1', b'"seed": 7') for path, data in tree.items()})

    monkeypatch.setattr(Repository, "add", add_changed)
    with (
        hub.open_destination(ADDRESS, MODEL) as destination,
        pytest.raises(PublishError, match="1 are not there as they left: manifest.json; no version was tagged"),
    ):
        publish(destination, "v1", make_release(tmp_path / "files"))

    assert server.repositories[NAME].tags == {}


def test_a_gitignore_is_refused(server: Hub, tmp_path: Path) -> None:
    """The hub would leave files out without a word."""
    with hub.open_destination(ADDRESS, MODEL) as destination:
        destination.api.create_repo(NAME)
        server.repositories[NAME].add({".gitignore": b"*.onnx\n"})
        with pytest.raises(PublishError, match="holds a .gitignore"):
            publish(destination, "v1", make_release(tmp_path / "files"))


@pytest.mark.parametrize(
    ("files", "tag", "seen"),
    [
        ({"main.py": b"print()\n"}, "", "holds main.py and no release.json"),
        ({"README.md": b"a model\n"}, "v1", "tag v1 is no release of mcconvert"),
        ({"release.json": b"{}\n"}, "", "release.json is not one that mcconvert wrote"),
    ],
)
def test_someone_elses_repository_is_refused(server: Hub, files: dict[str, bytes], tag: str, seen: str) -> None:
    """Nothing of theirs is overwritten."""
    with hub.open_destination(ADDRESS, MODEL) as destination:
        destination.api.create_repo(NAME)
        commit = server.repositories[NAME].add(files)
        if tag:
            server.repositories[NAME].tags[tag] = commit
        with pytest.raises(PublishError, match=seen):
            destination.published()


def test_another_models_repository_is_refused(server: Hub, tmp_path: Path) -> None:
    """A repository holds one model."""
    with hub.open_destination(ADDRESS, MODEL) as destination:
        publish(destination, "v1", make_release(tmp_path / "files"))
    with (
        hub.open_destination(ADDRESS, "mobileclip_s1") as destination,
        pytest.raises(PublishError, match="holds mobileclip_nano, expected mobileclip_s1"),
    ):
        destination.published()


@pytest.mark.parametrize(("token", "status"), [("wrong-but-long-enough", 401), ("only-reads-this-one", 403)])
def test_a_token_that_may_not_is_never_shown(
    server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str, status: int
) -> None:
    """The message says how to log in, and nothing was made."""
    monkeypatch.setenv("HF_TOKEN", token)

    with (
        hub.open_destination(ADDRESS, MODEL) as destination,
        pytest.raises(PublishError, match=f"answered {status}: .*'hf auth login'") as refusal,
    ):
        publish(destination, "v1", make_release(tmp_path / "files"))

    assert token not in str(refusal.value)
    assert server.repositories == {}


def test_what_the_hub_says_is_quoted_without_the_token(server: Hub, tmp_path: Path) -> None:
    """A full store: its status is shown, secrets are not."""
    server.fails["PUT /lfs/"] = 413

    with (
        hub.open_destination(ADDRESS, MODEL) as destination,
        pytest.raises(PublishError, match="answered 413") as refusal,
    ):
        publish(destination, "v1", make_release(tmp_path / "files"))

    assert SECRET not in str(refusal.value)


def test_without_a_network_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody answers, or the client is told to stay offline."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    with hub.open_destination(ADDRESS, MODEL) as destination:
        with pytest.raises(PublishError, match="no answer from http://127.0.0.1.*Connection refused"):
            destination.published()
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(PublishError, match="told to stay offline: unset HF_HUB_OFFLINE"):
            destination.published()


@pytest.mark.parametrize(
    ("address", "seen"),
    [
        (f"hf://user:{SECRET}@acme/nano", "without user and password"),
        (f"hf://{SECRET}@acme/nano", "without user and password"),
        ("hf://acme", "expected hf://owner/name"),
        ("hf://acme/nano/v1", "expected hf://owner/name"),
    ],
)
def test_addresses_that_lead_nowhere_are_refused(address: str, seen: str) -> None:
    """Malformed, or with a secret in it, which does not show."""
    with pytest.raises(PublishError, match=seen) as refusal, hub.open_destination(address, MODEL):
        pass

    assert SECRET not in str(refusal.value)
