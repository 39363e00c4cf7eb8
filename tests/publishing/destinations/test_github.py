"""Publishing to GitHub releases: its usual client against a server of this machine that keeps real bytes.

GitHub itself is never reached here.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from converter.errors import PublishError
from converter.publishing import github_client
from converter.publishing.destinations import github
from tests.publishing.destinations.github_server import GitHub
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
from tests.publishing.destinations.serving import Answer, served

MODEL, ADDRESS = "mobileclip_nano", "github://acme/models"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHub]:
    """A repository without releases, where SECRET may write."""
    one = GitHub(writers={SECRET})
    monkeypatch.setenv("GITHUB_TOKEN", SECRET)
    monkeypatch.setattr(github_client, "_SECONDS_BETWEEN_WRITES", 0.0)
    with served(one):
        monkeypatch.setenv("GITHUB_API_URL", f"{one.url}/api/v3")
        yield one


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's pauses between requests take no time."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)


def _files(server: GitHub, tag: str) -> dict[str, bytes]:
    """The files of a release by their paths, as `release.json` tells them."""
    assets = server.files(tag)
    listed = json.loads(assets.pop("release.json"))["files"]
    files = {one["path"]: assets.pop(one["stored_as"]) if one["size_bytes"] else b"" for one in listed}
    assert not assets
    return files


def _posts(server: GitHub) -> int:
    return sum(line.startswith("POST /api/uploads/") for line in server.asked)


def test_a_release_has_every_file_as_an_asset(server: GitHub, tmp_path: Path) -> None:
    """Byte for byte, under names without folders; the listing says which is which, empty files too."""
    release = make_release(tmp_path / "files")

    with github.open_destination(ADDRESS, MODEL) as destination:
        assert destination.published() == []
        publish(destination, "v1", release)
        assert destination.published() == [described("v1", release)]
        assert destination.read("v1", "manifest.json") == contents()["manifest.json"]
        assert destination.read("v1", "samples/empty file.txt") == b""

    assert _files(server, "mobileclip_nano-v1") == contents()
    assert "onnx--image.onnx" in server.files("mobileclip_nano-v1")
    assert server.tags == {"mobileclip_nano-v1"}
    assert server.releases[server.latest]["tag_name"] == "mobileclip_nano-v1"


def test_several_models_and_versions_share_a_repository(server: GitHub, tmp_path: Path) -> None:
    """Each model has versions of its own, more than a page of them, in the order of their numbers."""
    with github.open_destination(ADDRESS, "mobileclip_s1") as destination:
        publish(destination, "v1", make_release(tmp_path / "s1", model="mobileclip_s1"))
    files = {"manifest.json": b"{}\n"}
    with github.open_destination(ADDRESS, MODEL) as destination:
        for version in ("v8", "v9", "v10", "v11"):
            publish(destination, version, make_release(tmp_path / "nano", files))

        assert [one.version for one in destination.published()] == ["v8", "v9", "v10", "v11"]


def test_code_keeps_its_place_as_the_latest(server: GitHub, tmp_path: Path) -> None:
    """A release of the repository's own code stays the one that GitHub shows first."""
    server.releases[900] = {"tag_name": "2.0", "name": "Code", "body": "", "draft": False}
    server.latest = 900

    with github.open_destination(ADDRESS, MODEL) as destination:
        publish(destination, "v1", make_release(tmp_path / "files"))

    assert server.latest == 900
    assert _files(server, "mobileclip_nano-v1") == contents()


def test_a_version_never_changes(server: GitHub, tmp_path: Path) -> None:
    """Other files under a tag that is there are refused, and nothing of it changes."""
    with github.open_destination(ADDRESS, MODEL) as destination:
        publish(destination, "v1", make_release(tmp_path / "one"))
        with pytest.raises(PublishError, match="v1 was published meanwhile by someone else and never changes"):
            publish(destination, "v1", make_release(tmp_path / "two", contents(2)))

    assert _files(server, "mobileclip_nano-v1") == contents()


def test_finishing_twice_changes_nothing(server: GitHub, tmp_path: Path) -> None:
    """When the answer was lost, the next run finds the version whole."""
    release = make_release(tmp_path / "one")
    with github.open_destination(ADDRESS, MODEL) as destination:
        publish(destination, "v1", release)
        before = len(server.assets)
        destination.finish("v1", release, described("v1", release))

    assert (len(server.assets), len(server.releases)) == (before, 1)


def test_of_two_drafts_of_one_version_one_is_told(server: GitHub, tmp_path: Path) -> None:
    """GitHub itself lets a tag have one release."""
    release = make_release(tmp_path / "ours", contents(2))
    theirs = make_release(tmp_path / "theirs")
    with github.open_destination(ADDRESS, MODEL) as destination:
        update = f"PATCH /api/v3/repos/acme/models/releases/{server.numbers + 1}"
        server.fails[update] = server._taken()
        with pytest.raises(PublishError, match="422: Validation Failed; Release already_exists tag_name"):
            publish(destination, "v1", release)
        server.fails.clear()
        publish(destination, "v1", theirs)

    assert _files(server, "mobileclip_nano-v1") == contents()


def test_an_upload_that_broke_goes_on(server: GitHub, tmp_path: Path) -> None:
    """Assets that arrived are kept, the one that was cut off is replaced, and nothing shows before the end."""
    release = make_release(tmp_path / "files")

    with github.open_destination(ADDRESS, MODEL) as destination:
        server.cuts["name=onnx--image.onnx"] = 1
        with pytest.raises(PublishError, match=f"{ONNX}: no answer.*the same command sends only what is missing"):
            publish(destination, "v1", release)
        assert destination.published() == []
        draft = next(key for key, one in server.releases.items() if one["draft"])
        server.store(draft, "onnx--image.onnx", b"", state="starter")
        before = _posts(server)
        carried = publish(destination, "v1", release)

    assert carried == [ONNX, "tokenizer.json"]
    assert _posts(server) - before == 3
    assert _files(server, "mobileclip_nano-v1") == contents()


def test_what_an_earlier_try_left_is_taken_away(server: GitHub, tmp_path: Path) -> None:
    """A draft of other files becomes the release of these, and of nothing else."""
    first = contents(2) | {"tflite/old.tflite": b"old"}
    with github.open_destination(ADDRESS, MODEL) as destination:
        for file in make_release(tmp_path / "one", first).files:
            destination.upload("v1", file)
        publish(destination, "v1", make_release(tmp_path / "two"))

    assert _files(server, "mobileclip_nano-v1") == contents()


def test_without_digests_nothing_is_taken_on_trust(server: GitHub, tmp_path: Path) -> None:
    """A server that tells no digest gets every file again."""
    server.digests = False
    release = make_release(tmp_path / "files")

    with github.open_destination(ADDRESS, MODEL) as destination:
        destination.upload("v1", release.files[0])
        assert destination.transfers("v1", release)[0].action == "upload"
        publish(destination, "v1", release)

    assert _files(server, "mobileclip_nano-v1") == contents()


def test_bytes_that_changed_on_the_way_are_refused(
    server: GitHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GitHub's own digest tells, and the asset goes."""
    honest = GitHub.store

    def store_changed(self: GitHub, release: int, name: str, data: bytes, state: str = "uploaded") -> int:
        return honest(self, release, name, data[:-1] + b"?", state)

    monkeypatch.setattr(GitHub, "store", store_changed)
    release = make_release(tmp_path / "files")
    weight = next(file for file in release.files if file.path == WEIGHT)
    with (
        github.open_destination(ADDRESS, MODEL) as destination,
        pytest.raises(PublishError, match="weight.bin arrived as .*300000 bytes, sha256:"),
    ):
        destination.upload("v1", weight)

    assert server.assets == {}


def test_a_byte_changed_after_publishing_is_noticed(server: GitHub, tmp_path: Path) -> None:
    """What is read is compared with the listing."""
    with github.open_destination(ADDRESS, MODEL) as destination:
        publish(destination, "v1", make_release(tmp_path / "files"))
        number = next(key for key, one in server.assets.items() if one["name"] == "manifest.json")
        server.stored[number] = b'{"seed": 9}\n'
        with pytest.raises(PublishError, match="the destination no longer gives what it took"):
            destination.read("v1", "manifest.json")


def test_a_tag_that_is_there_is_not_built_upon(server: GitHub, tmp_path: Path) -> None:
    """Someone's tag of that name would name other files than those of the release."""
    server.tags.add("mobileclip_nano-v1")

    with (
        github.open_destination(ADDRESS, MODEL) as destination,
        pytest.raises(PublishError, match="a tag mobileclip_nano-v1 without a release is there"),
    ):
        publish(destination, "v1", make_release(tmp_path / "files"))


def test_someone_elses_release_under_our_tag_is_refused(server: GitHub) -> None:
    """One without our listing."""
    server.releases[900] = {"tag_name": "mobileclip_nano-v1", "name": "Theirs", "body": "", "draft": False}

    with (
        github.open_destination(ADDRESS, MODEL) as destination,
        pytest.raises(PublishError, match="has no release.json, so it is not one of mcconvert"),
    ):
        destination.published()


def test_two_paths_of_one_name_are_refused(server: GitHub, tmp_path: Path) -> None:
    """Rather than one file in place of two."""
    files = {"manifest.json": b"{}\n", "a/b": b"1", "a--b": b"2"}

    with (
        github.open_destination(ADDRESS, MODEL) as destination,
        pytest.raises(PublishError, match="two of these files would be one asset"),
    ):
        destination.transfers("v1", make_release(tmp_path / "files", files))


LIMITED = Answer(
    status=403, body={"message": "API rate limit exceeded"},
    headers={"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1790000000"},
)  # fmt: skip
SLOWER = Answer(status=403, body={"message": "You have exceeded a secondary rate limit"}, headers={"Retry-After": "60"})


@pytest.mark.parametrize(
    ("answer", "seen"),
    [
        (Answer(status=401, body={"message": "Bad credentials"}), "401: Bad credentials; GITHUB_TOKEN has to be"),
        (Answer(status=403, body={"message": "Resource not accessible by integration"}), "403: .*contents: write"),
        (LIMITED, "403: .*too many requests until [0-9:]+ UTC; the same command"),
        (SLOWER, "403: .*in 60 seconds the same command"),
        (Answer(status=404, body={"message": "Not Found"}), "404: .*does not see it"),
        (Answer(status=422, body={"message": f"No {SECRET}", "errors": [{"code": "custom"}]}), "422: No .*; custom"),
        (Answer(status=502, body=b"<html>"), "502"),
    ],
)
def test_refusals_say_what_to_do(server: GitHub, tmp_path: Path, answer: Answer, seen: str) -> None:
    """At once, in one sentence, without the token, though the server repeats it."""
    server.fails["POST /api/v3/repos/acme/models/releases"] = answer

    with (
        github.open_destination(ADDRESS, MODEL) as destination,
        pytest.raises(PublishError, match=seen) as refusal,
    ):
        publish(destination, "v1", make_release(tmp_path / "files"))

    assert SECRET not in str(refusal.value)


@pytest.mark.parametrize(
    ("address", "token", "seen"),
    [
        (f"github://user:{SECRET}@acme/models", SECRET, "without user and password"),
        (f"github://{SECRET}@acme/models", SECRET, "without user and password"),
        ("github://acme", SECRET, "expected github://owner/repository"),
        ("github://acme/models", "", "no token is given"),
        ("github://acme/models", "wrong-but-long-enough", "401: Bad credentials"),
        ("github://acme/nowhere", SECRET, "404: .*not there, or this token does not see it"),
    ],
)
def test_addresses_that_lead_nowhere_are_refused(
    server: GitHub, monkeypatch: pytest.MonkeyPatch, address: str, token: str, seen: str
) -> None:
    """Malformed, with a secret in it, without a token or with a wrong one: no secret shows."""
    monkeypatch.setenv("GITHUB_TOKEN", token)
    monkeypatch.delenv("GH_TOKEN", raising=False)

    with pytest.raises(PublishError, match=seen) as refusal, github.open_destination(address, MODEL):
        pass

    assert SECRET not in str(refusal.value)
    assert "wrong-but-long-enough" not in str(refusal.value)


def test_without_a_network_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody answers."""
    monkeypatch.setenv("GITHUB_TOKEN", SECRET)
    monkeypatch.setenv("GITHUB_API_URL", f"http://127.0.0.1:{free_port()}")

    with pytest.raises(PublishError, match="no answer.*Connection refused"), github.open_destination(ADDRESS, MODEL):
        pass
