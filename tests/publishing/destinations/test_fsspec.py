"""Stores behind fsspec: S3 over real HTTP with kills, failures and rivals, and the memory of this process."""

from __future__ import annotations

import dataclasses
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from converter.errors import MissingDependencyError, PublishError
from converter.publishing.destinations import fsspec as place
from converter.publishing.opening import module_of, open_address
from tests.publishing.destinations.killing import run_child
from tests.publishing.destinations.releases import ONNX, contents, described, make_release, publish
from tests.publishing.destinations.s3_server import BUCKET, S3, s3_server

MODEL = "mobileclip_nano"
ADDRESS = f"s3://{BUCKET}/some/where"
PREFIX = f"some/where/{MODEL}/"
MORE_MOMENTS = [
    pytest.param(at, after, marks=pytest.mark.slow)
    for at, after in [(1, False), (1, True), (2, True), (4, True), (6, True), (8, False), (10, False), (10, True)]
]
"""Of eleven writes: the claim, seven files, the manifest as the ninth, the index, and the claim's end."""


@pytest.fixture(scope="module")
def server() -> Iterator[S3]:
    with pytest.MonkeyPatch.context() as patch, s3_server(patch.setenv) as running:
        yield running


@pytest.fixture
def s3(server: S3) -> Iterator[S3]:
    """An empty bucket and no trouble."""
    for key in server.objects():
        server.client.delete_object(Bucket=BUCKET, Key=key)
    calm(server)
    server.trouble.writes.clear()
    yield server
    calm(server)


def calm(server: S3) -> None:
    trouble = server.trouble
    trouble.at, trouble.forever, trouble.kill, trouble.after, trouble.answer, trouble.cut = (
        0,
        False,
        0,
        False,
        "",
        False,
    )


def version(s3: S3, name: str) -> dict[str, bytes]:
    """The objects of one version, by their path in it."""
    start = f"{PREFIX}{name}/"
    return {key.removeprefix(start): data for key, data in s3.objects().items() if key.startswith(start)}


def test_a_version_holds_the_very_bytes(s3: S3, tmp_path: Path) -> None:
    """All objects under their names, the manifest last of them, then the index; `read` gives them back."""
    release = make_release(tmp_path)

    with open_address(ADDRESS, MODEL) as store:
        carried = publish(store, "v1", release)
        there, manifest = store.published(), store.read("v1", "manifest.json")

    files = [one.rpartition(f"{PREFIX}v1/")[2] for one in s3.trouble.writes if f"{PREFIX}v1/" in one]
    assert sorted(carried) == sorted(contents())
    assert version(s3, "v1") == contents()
    assert manifest == contents()["manifest.json"]
    assert list(there) == [described("v1", release)]
    assert [one for one in files if one != ".claim.json"][-1] == "manifest.json"
    assert json.loads(s3.objects()[f"{PREFIX}index.json"])["latest"] == "v1"


def test_looking_changes_nothing(s3: S3, tmp_path: Path) -> None:
    """Nothing is written before the first upload."""
    with open_address(ADDRESS, MODEL) as store:
        store.published()
        store.transfers("v1", make_release(tmp_path))

    assert not s3.trouble.writes


@pytest.mark.parametrize(("at", "after"), [(4, False), (9, False), (9, True), *MORE_MOMENTS])
def test_a_kill_at_any_request_shows_nothing_and_is_gone_on_from(s3: S3, tmp_path: Path, at: int, after: bool) -> None:
    """SIGKILL before or after the server carried out the n-th write: nothing is seen, only the rest is carried."""
    make_release(tmp_path / "files")

    def begun(process: int) -> None:
        s3.trouble.at, s3.trouble.kill, s3.trouble.after = at, process, after

    code, _, err = run_child(ADDRESS, tmp_path / "files", begun=begun)
    calm(s3)
    arrived = version(s3, "v1")
    with open_address(ADDRESS, MODEL) as store:
        seen = [one.version for one in store.published()]
        carried = [] if seen else publish(store, "v1", make_release(tmp_path / "files"))
        store.mend()  # type: ignore[attr-defined]
        again = [one.version for one in store.published()]

    assert code == -signal.SIGKILL, err
    assert seen == (["v1"] if "manifest.json" in arrived else [])
    assert not (set(carried) & {path for path, data in arrived.items() if contents().get(path) == data})
    assert {path: data for path, data in version(s3, "v1").items() if path != ".claim.json"} == contents()
    assert again == ["v1"]
    assert json.loads(s3.objects()[f"{PREFIX}index.json"])["latest"] == "v1"


def test_a_damaged_object_is_carried_again(s3: S3, tmp_path: Path) -> None:
    """The twin: of the same size, with one other byte, it is not kept; what else lies there is removed."""
    release = make_release(tmp_path)
    with open_address(ADDRESS, MODEL) as store:
        store.transfers("v1", release)
        for file in release.files:
            store.upload("v1", file)
        spoiled = b"x" + contents()[ONNX][1:]
        s3.client.put_object(Bucket=BUCKET, Key=f"{PREFIX}v1/{ONNX}", Body=spoiled)
        s3.client.put_object(Bucket=BUCKET, Key=f"{PREFIX}v1/stray.bin", Body=b"stray")
        with pytest.raises(PublishError, match=f"v1 lacks {ONNX}"):
            store.finish("v1", release, described("v1", release))

        carried = publish(store, "v1", release)

    assert sorted(carried) == ["manifest.json", ONNX]
    assert version(s3, "v1") == contents()


def test_a_rival_with_other_files_is_refused_until_the_claim_is_old(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody writes into a version that another publish fills; one that died long ago gives way."""
    mine, other = make_release(tmp_path / "one"), make_release(tmp_path / "two", contents(2))
    with open_address(ADDRESS, MODEL) as first, open_address(ADDRESS, MODEL) as second:
        first.transfers("v1", mine)
        first.upload("v1", mine.files[0])
        with pytest.raises(PublishError, match="v1 is being filled with other files by another publish"):
            publish(second, "v1", other)
        assert mine.files[0].path in version(s3, "v1")
        monkeypatch.setattr(place, "STALE_SECONDS", -1)

        publish(second, "v1", other)
        monkeypatch.undo()
        with pytest.raises(PublishError, match="v1 was published meanwhile by someone else and never changes"):
            first.finish("v1", mine, described("v1", mine))

    assert version(s3, "v1") == contents(2) | {".claim.json": version(s3, "v1").get(".claim.json", b"")} or (
        version(s3, "v1") == contents(2)
    )


def test_the_store_itself_refuses_a_second_manifest(s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between a look and the write someone may be faster: the write is conditional, and the loser is told."""
    release = make_release(tmp_path)
    with open_address(ADDRESS, MODEL) as store:
        store.transfers("v1", release)
        for file in release.files:
            store.upload("v1", file)
        looked = place.Store._refuse_lacking

        def then_a_rival(self: place.Store, name: str, given: object) -> None:
            looked(self, name, given)  # type: ignore[arg-type]
            s3.client.put_object(Bucket=BUCKET, Key=f"{PREFIX}v1/manifest.json", Body=b"{}")

        monkeypatch.setattr(place.Store, "_refuse_lacking", then_a_rival)
        monkeypatch.setattr(place.Store, "_read_or_none", _blind_once(place.Store._read_or_none))
        with pytest.raises(PublishError, match="v1 was published meanwhile"):
            store.finish("v1", release, described("v1", release))

    assert version(s3, "v1")["manifest.json"] == b"{}"


def _blind_once(read: object) -> object:
    """The look right before the conditional write sees nothing, as in a race; those before and after do."""
    looks = 0

    def reading(self: place.Store, path: str) -> bytes | None:
        nonlocal looks
        looks += path.endswith("manifest.json")
        if path.endswith("manifest.json") and looks == 2:
            return None
        return read(self, path)  # type: ignore[operator, no-any-return]

    return reading


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        pytest.param(
            {"answer": "500 Internal Server Error", "forever": True},
            "nothing half was published",
            marks=pytest.mark.slow,
        ),
        ({"answer": "403 Forbidden", "forever": True}, "look at the credentials"),
        ({"cut": True, "forever": True}, "nothing half was published"),
    ],
)
def test_a_server_that_fails_midway_is_said_and_shows_nothing(
    s3: S3, tmp_path: Path, trouble: dict[str, object], words: str
) -> None:
    """An error that stays, a refusal, a connection cut in a file: one message with the way on; then it goes on."""
    release = make_release(tmp_path)
    with open_address(ADDRESS, MODEL) as store:
        for name, value in {"at": 4, **trouble}.items():
            setattr(s3.trouble, name, value)
        with pytest.raises(PublishError, match=words):
            publish(store, "v1", release)
        calm(s3)
        assert not store.published()

        carried = publish(store, "v1", release)

    assert set(carried) < set(contents())
    assert version(s3, "v1") == contents()


def test_one_failure_is_not_even_noticed(s3: S3, tmp_path: Path) -> None:
    """A server that answers 500 once is asked again."""
    s3.trouble.at, s3.trouble.answer = 4, "500 Internal Server Error"

    with open_address(ADDRESS, MODEL) as store:
        publish(store, "v1", make_release(tmp_path))

    assert version(s3, "v1") == contents()


def test_a_bucket_that_is_not_there_is_not_made(s3: S3, tmp_path: Path) -> None:
    """A slip in its name is refused before anything is done."""
    with pytest.raises(PublishError, match="there is no bucket 'modles'"), open_address("s3://modles/x", MODEL):
        pass

    assert [one["Name"] for one in s3.client.list_buckets()["Buckets"]] == [BUCKET]


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID"])
def test_no_server_or_no_credentials_is_said(
    s3: S3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    """Where nobody answers, or nobody knows who asks: a refusal without a traceback and without secrets."""
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    if name == "AWS_ENDPOINT_URL":
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    else:
        monkeypatch.delenv(name)
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")

    with pytest.raises(PublishError) as caught, open_address(ADDRESS, MODEL):
        pass

    assert "run again" in str(caught.value) or "these credentials" in str(caught.value)
    assert "sesame" not in str(caught.value)


def test_large_files_go_in_parts_and_are_known_again(s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of several parts is compared by the store's hash of hashes, without reading it back."""
    monkeypatch.setattr(place, "PART_BYTES", 5 * 2**20)
    release = make_release(tmp_path, contents(size_bytes=11 * 2**20))
    with open_address(ADDRESS, MODEL) as store:
        publish(store, "v1", release)
        etag = s3.client.head_object(Bucket=BUCKET, Key=f"{PREFIX}v1/{ONNX}")["ETag"].strip('"')
        onnx = next(file for file in release.files if file.path == ONNX)

        assert etag.endswith("-3")
        assert place._etag(onnx) == etag


def test_a_lost_index_is_mended(s3: S3, tmp_path: Path) -> None:
    """Versions are found without it, with their times, and it is written anew."""
    with open_address(ADDRESS, MODEL) as store:
        publish(store, "v1", make_release(tmp_path))
        assert not store.mend()  # type: ignore[attr-defined]
        s3.client.delete_object(Bucket=BUCKET, Key=f"{PREFIX}index.json")

        (found,) = store.published()
        assert store.mend()  # type: ignore[attr-defined]

    assert found.published.endswith("Z")
    assert dataclasses.replace(found, published="") == dataclasses.replace(
        described("v1", make_release(tmp_path)), published=""
    )
    assert json.loads(s3.objects()[f"{PREFIX}index.json"])["latest"] == "v1"


@pytest.mark.parametrize("address", ["memory://models", "local://{tmp}/store"])
def test_other_stores_keep_versions_too(tmp_path: Path, address: str) -> None:
    """What has neither conditions nor checksums is looked at before and read back after."""
    one, two = make_release(tmp_path / "one"), make_release(tmp_path / "two", contents(2))

    with open_address(address.format(tmp=tmp_path), MODEL) as store:
        publish(store, "v1", one)
        with pytest.raises(PublishError, match="never changes"):
            store.finish("v1", two, described("v1", two))
        publish(store, "v2", two)

        assert [found.version for found in store.published()] == ["v1", "v2"]
        assert store.published()[0] == described("v1", one)
        assert store.read("v1", ONNX) == contents()[ONNX]
        assert store.read("v2", ONNX) == contents(2)[ONNX]


def test_what_is_missing_is_named_with_its_package() -> None:
    """Google's store needs a package that is not ours to bring."""
    with pytest.raises(MissingDependencyError, match="pip install 'gcsfs'"), open_address("gs://bucket/x", MODEL):
        pass


def test_any_scheme_that_fsspec_knows_is_taken() -> None:
    """Beyond the listed ones, whatever is installed."""
    assert module_of("webhdfs://host/models") is place
    with pytest.raises(PublishError, match="no destination takes 's4://'; did you mean 's3'?"):
        module_of("s4://bucket")
