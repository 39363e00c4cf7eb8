"""Publishing to an OCI registry, against a real one: Debian's docker-registry."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from converter.errors import PublishError
from converter.publishing.destinations import oci
from tests.publishing.destinations.registry import RegistryServer
from tests.publishing.destinations.releases import (
    ONNX,
    WEIGHT,
    contents,
    described,
    kill_after,
    make_release,
    publish,
    publishing,
)
from tests.publishing.destinations.serving import Answer, Request, served

MODEL = "mobileclip_nano"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[RegistryServer]:
    """A registry that anyone may write to."""
    server = RegistryServer(folder=tmp_path)
    server.start()
    yield server
    server.stop()


def _manifest(server: RegistryServer, tag: str) -> dict[str, Any]:
    data = server.get(f"/v2/acme/nano/manifests/{tag}", Accept=oci.MANIFEST)
    return dict(json.loads(data))


def _files(server: RegistryServer, tag: str) -> dict[str, bytes]:
    """All files of a version, read by plain HTTP."""
    return {
        layer["annotations"][oci.TITLE]: server.get(f"/v2/acme/nano/blobs/{layer['digest']}")
        for layer in _manifest(server, tag)["layers"]
    }


def test_a_release_is_an_artifact_that_plain_http_reads_back(registry: RegistryServer, tmp_path: Path) -> None:
    """Byte for byte, empty files and names with spaces too; the artifact says what it is."""
    release = make_release(tmp_path / "files")

    with oci.open_destination(registry.address, MODEL) as destination:
        assert destination.published() == []
        publish(destination, "v1", release)
        assert destination.published() == [described("v1", release)]
        assert destination.read("v1", "manifest.json") == contents()["manifest.json"]

    manifest = _manifest(registry, "v1")
    assert _files(registry, "v1") == contents()
    assert manifest == _manifest(registry, "latest")
    assert manifest["artifactType"] == "application/vnd.mcconvert.release.v1+json"
    assert manifest["annotations"]["org.opencontainers.image.version"] == "v1"


def test_a_second_version_sends_what_is_new(registry: RegistryServer, tmp_path: Path) -> None:
    """Equal files are not sent again, `latest` moves, the first version stays as it was."""
    second = contents() | {"manifest.json": b'{"second": true}\n', ONNX: b"smaller"}

    with oci.open_destination(registry.address, MODEL) as destination:
        publish(destination, "v1", make_release(tmp_path / "one"))
        carried = publish(destination, "v2", make_release(tmp_path / "two", second))
        assert [one.version for one in destination.published()] == ["v1", "v2"]

    assert carried == ["manifest.json", ONNX]
    assert (_files(registry, "v1"), _files(registry, "latest")) == (contents(), second)


def test_versions_are_in_the_order_of_their_numbers(registry: RegistryServer, tmp_path: Path) -> None:
    """v10 comes after v9."""
    release = make_release(tmp_path / "files", {"manifest.json": b"{}"})

    with oci.open_destination(registry.address, MODEL) as destination:
        for version in ("v1", "v10", "v9"):
            publish(destination, version, release)
        versions = [one.version for one in destination.published()]

    assert versions == ["v1", "v9", "v10"]


def test_tags_on_later_pages_are_found() -> None:
    """`docker-registry` gives all tags at once, others in pages that link to the next."""

    @dataclass
    class Pages:
        url: str = ""
        cuts: dict[str, int] = field(default_factory=dict)

        def answer(self, request: Request) -> Answer:
            if request.path == "/v2/":
                return Answer()
            last = request.query.get("last", "")
            more = {"Link": '</v2/acme/nano/tags/list?n=2&last=v2>; rel="next"'} if not last else {}
            return Answer(body={"name": "acme/nano", "tags": ["v3"] if last else ["v1", "v2"]}, headers=more)

    pages = Pages()
    with served(pages), oci.open_destination(f"oci://{pages.url.removeprefix('http://')}/acme/nano", MODEL) as place:
        assert place._tags() == ["v1", "v2", "v3"]


def test_a_page_that_is_no_registry_is_refused() -> None:
    """A proxy that answers everything with a page of its own."""

    @dataclass
    class Proxy:
        url: str = ""
        cuts: dict[str, int] = field(default_factory=dict)

        def answer(self, request: Request) -> Answer:
            return Answer(body=b"<html>Please log in</html>")

    proxy = Proxy()
    with (
        served(proxy),
        oci.open_destination(f"oci://{proxy.url.removeprefix('http://')}/acme/nano", MODEL) as place,
        pytest.raises(PublishError, match="expected a JSON object: is that a registry"),
    ):
        place.published()


def test_a_version_never_changes(registry: RegistryServer, tmp_path: Path) -> None:
    """Other files under a tag that is there are refused, and nothing of it changes."""
    with oci.open_destination(registry.address, MODEL) as destination:
        publish(destination, "v1", make_release(tmp_path / "one"))
        with pytest.raises(PublishError, match="v1 was published meanwhile by someone else and never changes"):
            publish(destination, "v1", make_release(tmp_path / "two", contents(2)))

    assert _files(registry, "v1") == _files(registry, "latest") == contents()


def test_a_run_that_ended_before_latest_is_completed(registry: RegistryServer, tmp_path: Path) -> None:
    """The same release finished again only points `latest` there."""
    with oci.open_destination(registry.address, MODEL) as destination:
        one = make_release(tmp_path / "one")
        publish(destination, "v1", one)
        two = make_release(tmp_path / "two", contents(2))
        publish(destination, "v2", two)
        destination._put("latest", destination._manifest("v1"))  # as if the run had ended between the two tags
        later = dataclasses.replace(described("v2", two), published="2026-02-01T00:00:00Z")
        destination.finish("v2", two, later)
        assert destination.published()[1].published == "2026-01-31T12:00:00Z"

    assert _files(registry, "latest") == contents(2)


def test_a_latest_that_is_behind_is_mended(registry: RegistryServer, tmp_path: Path) -> None:
    """Absent or old, it names the newest version again; one that is right is left alone."""
    with oci.open_destination(registry.address, MODEL) as destination:
        assert not destination.mend()
        publish(destination, "v9", make_release(tmp_path / "one"))
        publish(destination, "v10", make_release(tmp_path / "two", contents(2)))
        assert not destination.mend()
        destination._put("latest", destination._manifest("v9"))
        assert destination.mend()

    assert _files(registry, "latest") == contents(2)


def test_an_upload_that_the_registry_dropped_goes_on(registry: RegistryServer, tmp_path: Path) -> None:
    """The registry dies midway: our error says what to do, no version shows, and the rest follows when it is back."""
    release = make_release(tmp_path / "files")

    with oci.open_destination(registry.address, MODEL) as destination:
        for file in release.files[:3]:
            destination.upload("v1", file)
        registry.stop()
        with pytest.raises(PublishError, match="Connection refused.*the same command sends only what is missing"):
            destination.upload("v1", release.files[3])
        with pytest.raises(PublishError, match="Connection refused"):
            destination.finish("v1", release, described("v1", release))
        registry.start()
        assert destination.published() == []
        carried = publish(destination, "v1", release)

    assert carried == [file.path for file in release.files[3:]]
    assert _files(registry, "v1") == contents()


def test_a_blob_cut_off_midway_is_no_blob(
    registry: RegistryServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes that stop arriving leave nothing that a later run would keep."""
    release = make_release(tmp_path / "files")
    large = next(file for file in release.files if file.path == WEIGHT)

    class Stops(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 100_000:
                registry.stop()
            return super().read(size)

    with oci.open_destination(registry.address, MODEL) as destination:
        stream = Stops(large.source.read_bytes())
        with pytest.raises(PublishError, match="no answer"):
            destination._send(stream, f"sha256:{large.sha256}", large.size_bytes, large.path)
        registry.start()

        assert {one.file.path: one.action for one in destination.transfers("v1", release)}[WEIGHT] == "upload"


def test_a_run_killed_at_any_moment_is_completed_by_the_next(registry: RegistryServer, tmp_path: Path) -> None:
    """SIGKILL at four moments: the repository has all of v1 or no version, and the next run completes it."""
    with oci.open_destination(registry.address, MODEL):
        pass  # the client is loaded once, here
    started, absent = time.monotonic(), 0
    publishing("oci", f"oci://{registry.host}/acme/trial", tmp_path / "files").join()
    usual = time.monotonic() - started
    for part in (0.2, 0.5, 0.75, 0.9):
        address, files = f"oci://{registry.host}/acme/killed{part}", tmp_path / "files"
        kill_after(usual * part, publishing("oci", address, files))
        with oci.open_destination(address, MODEL) as destination:
            absent += not destination.published()
        last = publishing("oci", address, files)
        last.join()

        assert last.exitcode == 0
        with oci.open_destination(address, MODEL) as destination:
            release = make_release(files)
            assert destination.published() == [described("v1", release)]
            assert {one.action for one in destination.transfers("v1", release)} == {"keep"}
    assert absent


def test_bytes_that_changed_on_the_way_are_refused(registry: RegistryServer, tmp_path: Path) -> None:
    """A file that is no longer what its hash says never becomes a blob."""
    release = make_release(tmp_path / "files")
    file = next(one for one in release.files if one.path == ONNX)
    changed = bytearray(file.source.read_bytes())
    changed[1000] ^= 1
    file.source.write_bytes(changed)

    with (
        oci.open_destination(registry.address, MODEL) as destination,
        pytest.raises(PublishError, match="onnx/image.onnx: PUT was answered 400 DIGEST_INVALID"),
    ):
        destination.upload("v1", file)


def test_a_file_that_is_missing_stops_the_version(registry: RegistryServer, tmp_path: Path) -> None:
    """The registry itself refuses a manifest whose blob it does not have."""
    release = make_release(tmp_path / "files")

    with oci.open_destination(registry.address, MODEL) as destination:
        for file in release.files[1:]:
            destination.upload("v1", file)
        with pytest.raises(PublishError, match="tag v1: PUT was answered 400 MANIFEST_BLOB_UNKNOWN"):
            destination.finish("v1", release, described("v1", release))
        assert destination.published() == []


def test_a_byte_changed_in_the_registry_is_noticed(registry: RegistryServer, tmp_path: Path) -> None:
    """What is read is compared with its digest."""
    with oci.open_destination(registry.address, MODEL) as destination:
        publish(destination, "v1", make_release(tmp_path / "files"))
        digest = hashlib.sha256(contents()["manifest.json"]).hexdigest()
        blob = tmp_path / f"storage/docker/registry/v2/blobs/sha256/{digest[:2]}/{digest}/data"
        blob.write_bytes(b'{"seed": 9}\n')
        with pytest.raises(PublishError, match=f"published was {digest}"):
            destination.read("v1", "manifest.json")


def test_another_models_repository_is_refused(registry: RegistryServer, tmp_path: Path) -> None:
    """A repository holds one model."""
    with oci.open_destination(registry.address, MODEL) as destination:
        publish(destination, "v1", make_release(tmp_path / "files"))
    with (
        oci.open_destination(registry.address, "mobileclip_s1") as destination,
        pytest.raises(PublishError, match="holds mobileclip_nano, expected mobileclip_s1"),
    ):
        destination.published()


def test_an_image_under_our_tag_is_refused(registry: RegistryServer) -> None:
    """A container image tagged v1 is no release."""
    with oci.open_destination(registry.address, MODEL) as destination:
        destination._send(io.BytesIO(b"{}"), oci._digest(b"{}"), 2, "config")
        config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": oci._digest(b"{}"), "size": 2}
        image = {"schemaVersion": 2, "mediaType": oci.MANIFEST, "config": config, "layers": []}
        destination._put("v1", json.dumps(image).encode())
        with pytest.raises(PublishError, match="tag v1 is no release of mcconvert"):
            destination.published()


def test_a_registry_that_only_reads_is_named_so(registry: RegistryServer, tmp_path: Path) -> None:
    """Maintenance is not our failure, and what is published stays readable."""
    with oci.open_destination(registry.address, MODEL) as destination:
        publish(destination, "v1", make_release(tmp_path / "one"))
        registry.stop()
        registry.changes = {"storage": {"maintenance": {"readonly": {"enabled": True}}}}
        registry.start()
        with pytest.raises(PublishError, match="405.*read-only"):
            publish(destination, "v2", make_release(tmp_path / "two", contents(2)))
        assert [one.version for one in destination.published()] == ["v1"]


def test_a_full_registry_publishes_nothing(tmp_path: Path) -> None:
    """Storage that takes no more: our error, no version; with room again the rest follows."""
    server = RegistryServer(folder=tmp_path)
    server.start(largest_file_bytes=100_000)
    release = make_release(tmp_path / "files")

    with oci.open_destination(server.address, MODEL) as destination:
        with pytest.raises(PublishError, match=f"{WEIGHT}.*the same command sends only what is missing"):
            publish(destination, "v1", release)
        assert destination.published() == []
        server.stop()
        server.start()
        assert WEIGHT in publish(destination, "v1", release)
    assert _files(server, "v1") == contents()
    server.stop()
