"""A folder as destination: whole versions, never changed, whatever happens on the way."""

from __future__ import annotations

import hashlib
import json
import resource
import signal
from pathlib import Path

import pytest

from converter.errors import PublishError
from converter.publishing.opening import open_address
from tests.publishing.destinations.killing import run_child
from tests.publishing.destinations.releases import ONNX, WEIGHT, contents, described, make_release, publish

MODEL = "mobileclip_nano"


def tree(root: Path) -> dict[str, bytes]:
    """The files below a folder, links not followed, locks and leftovers apart."""
    found = [one for one in root.rglob("*") if one.is_file() and "latest" not in one.parts]
    return {one.relative_to(root).as_posix(): one.read_bytes() for one in found if not one.name.startswith(".")}


def hashes(root: Path) -> dict[str, str]:
    return {path: hashlib.sha256(data).hexdigest() for path, data in tree(root).items()}


def test_a_version_holds_the_very_bytes(tmp_path: Path) -> None:
    """All files under their names; index, link and `read` agree."""
    release = make_release(tmp_path / "files")

    with open_address(str(tmp_path / "store"), MODEL) as store:
        carried = publish(store, "v1", release)
        there, manifest = store.published(), store.read("v1", "manifest.json")

    place = tmp_path / "store" / MODEL
    assert sorted(carried) == sorted(contents())
    assert tree(place / "v1") == contents()
    assert manifest == contents()["manifest.json"]
    assert list(there) == [described("v1", release)]
    assert json.loads((place / "index.json").read_bytes())["latest"] == "v1"
    assert (place / "latest").readlink() == Path("v1")


def test_looking_changes_nothing(tmp_path: Path) -> None:
    """Opening, listing and a dry run make no folder."""
    release = make_release(tmp_path / "files")

    with open_address(f"file://{tmp_path}/store", MODEL) as store:
        transfers = store.transfers("v1", release)
        assert not store.published()

    assert {one.action for one in transfers} == {"upload"}
    assert not (tmp_path / "store").exists()


def test_later_edits_of_the_exported_files_do_not_reach_a_version(tmp_path: Path) -> None:
    """A published file is a copy, not the exported one under another name."""
    release = make_release(tmp_path / "files")
    with open_address(str(tmp_path / "store"), MODEL) as store:
        publish(store, "v1", release)

    for file in release.files:
        with file.source.open("r+b") as stream:
            stream.write(b"spoiled")

    assert tree(tmp_path / "store" / MODEL / "v1") == contents()


def test_a_second_version_leaves_the_first_alone(tmp_path: Path) -> None:
    """Changed content becomes v2; the bytes of v1 stay, and v1 itself is refused."""
    with open_address(str(tmp_path / "store"), MODEL) as store:
        publish(store, "v1", make_release(tmp_path / "one"))
    before = hashes(tmp_path / "store" / MODEL / "v1")
    other = make_release(tmp_path / "two", contents(2))

    with open_address(str(tmp_path / "store"), MODEL) as store:
        with pytest.raises(PublishError, match="v1 was published meanwhile by someone else and never changes"):
            publish(store, "v1", other)
        publish(store, "v2", other)

    assert hashes(tmp_path / "store" / MODEL / "v1") == before
    assert tree(tmp_path / "store" / MODEL / "v2") == contents(2)
    assert json.loads((tmp_path / "store" / MODEL / "index.json").read_bytes())["latest"] == "v2"


@pytest.mark.parametrize("event", (1, 6, 14, 25, 37, 46, 49, 52, 55))
def test_a_kill_at_any_moment_shows_nothing_and_is_gone_on_from(tmp_path: Path, event: int) -> None:
    """SIGKILL before the n-th change of the disk: no version or a whole one; the next publish ends it."""
    files, place = tmp_path / "files", tmp_path / "store" / MODEL
    make_release(files)

    code, _, err = run_child(str(tmp_path / "store"), files, event=event)

    with open_address(str(tmp_path / "store"), MODEL) as store:
        seen = [one.version for one in store.published()]
        whole = tree(place / "v1") == contents() if seen else not (place / "v1").exists()
        if not seen:
            carried = publish(store, "v1", make_release(files))
            left = [file for file in contents() if file not in carried]
        store.mend()  # type: ignore[attr-defined]
        assert [one.version for one in store.published()] == ["v1"]
    assert code in (0, -signal.SIGKILL), err
    assert whole
    assert seen or len(left) >= min(7, (event - 15) // 7), "what had arrived was carried again"
    assert tree(place / "v1") == contents()
    assert json.loads((place / "index.json").read_bytes())["versions"][0]["version"] == "v1"
    assert (place / "latest").readlink() == Path("v1")


def test_what_was_left_half_is_carried_again(tmp_path: Path) -> None:
    """The twin: a file of an unfinished upload with one other byte is not kept."""
    release = make_release(tmp_path / "files")
    partial = tmp_path / "store" / MODEL / ".v1.partial"
    with open_address(str(tmp_path / "store"), MODEL) as store:
        for file in release.files:
            store.upload("v1", file)
    (partial / ONNX).chmod(0o644)
    with (partial / ONNX).open("r+b") as stream:
        stream.write(b"x")
    (partial / "stray.bin").write_bytes(b"of another release")

    with open_address(str(tmp_path / "store"), MODEL) as store:
        with pytest.raises(PublishError, match="v1 lacks onnx/image.onnx"):
            store.finish("v1", release, described("v1", release))
        carried = publish(store, "v1", release)

    assert carried == [ONNX]
    assert tree(tmp_path / "store" / MODEL / "v1") == contents()


@pytest.mark.parametrize("damage", ["lost", "damaged", "behind", "link"])
def test_a_damaged_index_is_mended_from_the_versions(tmp_path: Path, damage: str) -> None:
    """The index is derived: versions are found without it, and it is written anew."""
    place = tmp_path / "store" / MODEL
    with open_address(str(tmp_path / "store"), MODEL) as store:
        publish(store, "v1", make_release(tmp_path / "one"))
        behind = (place / "index.json").read_bytes()
        publish(store, "v2", make_release(tmp_path / "two", contents(2)))
        assert not store.mend()  # type: ignore[attr-defined]
    if damage == "lost":
        (place / "index.json").unlink()
    elif damage == "link":
        (place / "latest").unlink()
        (place / "latest").symlink_to("v1")
    else:
        (place / "index.json").write_bytes(b"{" if damage == "damaged" else behind)

    with open_address(str(tmp_path / "store"), MODEL) as store:
        assert [one.version for one in store.published()] == ["v1", "v2"]
        assert store.mend()  # type: ignore[attr-defined]

    assert json.loads((place / "index.json").read_bytes())["latest"] == "v2"
    assert (place / "latest").readlink() == Path("v2")


def test_of_two_publishers_one_is_refused(tmp_path: Path) -> None:
    """The folder is locked from the first upload on; the refused one can run again afterwards."""
    release = make_release(tmp_path / "files")
    with open_address(str(tmp_path / "store"), MODEL) as first, open_address(str(tmp_path / "store"), MODEL) as second:
        first.upload("v1", release.files[0])
        with pytest.raises(PublishError, match="another publish is writing to .*: wait for it, then run again"):
            second.upload("v1", release.files[0])
        publish(first, "v1", release)

    with open_address(str(tmp_path / "store"), MODEL) as second:
        publish(second, "v2", make_release(tmp_path / "two", contents(2)))
        assert [one.version for one in second.published()] == ["v1", "v2"]


def test_a_file_that_changed_meanwhile_is_refused(tmp_path: Path) -> None:
    """What is copied are the gathered bytes or nothing."""
    release = make_release(tmp_path / "files")
    (tmp_path / "files" / ONNX).write_bytes(b"other")

    with open_address(str(tmp_path / "store"), MODEL) as store, pytest.raises(PublishError, match="changed while"):
        publish(store, "v1", release)

    assert not (tmp_path / "store" / MODEL / "v1").exists()


def test_a_disk_without_room_is_said_and_shows_nothing(tmp_path: Path) -> None:
    """The system's own words and the way on; with room again, the publish goes on."""
    release = make_release(tmp_path / "files")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with open_address(str(tmp_path / "store"), MODEL) as store:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # larger files end in an error
        try:
            with pytest.raises(PublishError, match="File too large: .*; nothing half was published: mend it and run"):
                publish(store, "v1", release)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert not store.published()

        carried = publish(store, "v1", release)

    assert WEIGHT in carried
    assert "README.md" not in carried


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("file://host/models", "expected file:///PATH"),
        ("README.md", "a file is there"),
        ("s3:/bucket", "expected SCHEME"),
    ],
)
def test_a_wrong_address_is_refused_with_the_right_form(address: str, words: str) -> None:
    """Each says what was expected."""
    with pytest.raises(PublishError, match=words), open_address(address, MODEL):
        pass


@pytest.mark.parametrize("path", ["../v1/manifest.json", "/etc/passwd", "../../secret"])
def test_nothing_outside_of_a_version_is_read(tmp_path: Path, path: str) -> None:
    """A path cannot climb out."""
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "secret").write_text("secret")
    with open_address(str(tmp_path / "store"), MODEL) as store:
        publish(store, "v1", make_release(tmp_path / "files"))
        if path == "../v1/manifest.json":
            assert store.read("v1", path)
            return
        with pytest.raises(PublishError, match="is no file of a version"):
            store.read("v1", path)
