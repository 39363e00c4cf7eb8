"""`clean` removes what we wrote, where we wrote it, as we wrote it; everything else is somebody's and stays."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from pathlib import Path

import pytest

from converter.errors import UsageError
from converter.files import TAG, hash_path, make_tagged
from converter.pipeline.cache import Cache
from converter.pipeline.clean import Sorted, cleanable, remove

KEY = "ab" * 32
NOTE = "a stranger's"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An output folder with one model of ours in it, and a cache of ours."""
    folder = tmp_path / "out" / "model"
    for name in ("onnx/a.onnx", "logs/image.onnx.fp32.log", "reference/image.pt", "manifest.json", ".lock"):
        _write(folder / name)
    make_tagged(folder)
    cache = tmp_path / "cache"
    make_tagged(cache)
    for name in (
        f"steps/{KEY}/half", f"staging/{'0' * 32}/x", "last/model/s.json", "ranges/1.json", "search/2.json",
        "report/4.json", "report/5.npz", "seen/3.json", f".x.json.1{TAG}",
    ):  # fmt: skip
        _write(cache / name)
    return tmp_path / "out"


def _write(path: Path, text: str = "ours") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def _listed(out: Path, *names: str) -> dict[Path, str]:
    paths = [out / "model" / name for name in names]
    return {path: hash_path(path)[0] if path.exists() else "" for path in paths}


def _clean(out: Path, listed: dict[Path, str], unread: tuple[Path, ...] = ()) -> Sorted:
    found = cleanable(out, out.parent / "cache", listed, unread, models=True, cache=True)
    remove(found.ours, out)
    return found


def _left(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def test_all_that_is_ours_goes_with_its_folders(out: Path) -> None:
    """Nothing of a model and of the cache is left, not even empty folders; what is above stays."""
    _clean(out, _listed(out, "onnx/a.onnx"))

    assert list(out.parent.iterdir()) == []


STRANGERS = (
    "mine.txt", "model/mine.txt", "model/onnx/mine.onnx", "model/logs/mine.log", "model/reference/mine.npz",
    "model/logs/deeper/image.onnx.fp32.log", "../cache/mine", "../cache/steps/mine/file", "../cache/staging/mine/file",
    "../cache/last/mine.json", "../cache/ranges/mine.txt", "../cache/seen/mine", "../cache/search/deeper/1.json",
    "../cache/report/mine.txt",
)  # fmt: skip


def test_strangers_in_every_folder_stay(out: Path) -> None:
    """Beside each kind of our files lies one of somebody else's."""
    for name in STRANGERS:
        _write(out / name, NOTE)

    _clean(out, _listed(out, "onnx/a.onnx"))

    left = [path for path in out.parent.rglob("*") if path.is_file()]
    assert {path.resolve() for path in left} == {(out / name).resolve() for name in STRANGERS}


def test_a_file_that_was_changed_stays_and_is_named(out: Path) -> None:
    """It is somebody's work now, whoever wrote it first."""
    listed = _listed(out, "onnx/a.onnx")
    edited = _write(out / "model" / "onnx" / "a.onnx", "edited")

    found = _clean(out, listed)

    assert found.kept == {edited: "it was changed since it was written"}
    assert _left(out) == ["model/onnx/a.onnx"]


def test_a_folder_without_our_tag_is_not_touched(out: Path) -> None:
    """Whatever a manifest in it says."""
    (out / "model" / TAG).unlink()
    before = _left(out)

    _clean(out, _listed(out, "onnx/a.onnx"))

    assert _left(out) == before


def test_a_linked_folder_is_not_followed(out: Path, tmp_path: Path) -> None:
    """A link to a model's folder, to a folder in it, or to a file leads to somebody else's."""
    elsewhere = tmp_path / "elsewhere"
    make_tagged(elsewhere)
    for name in ("logs/image.onnx.fp32.log", "onnx/a.onnx", "manifest.json"):
        _write(elsewhere / name)
    (out / "linked").symlink_to(elsewhere)
    for name in ("onnx/a.onnx", "logs/image.onnx.fp32.log"):
        (out / "model" / name).unlink()
    (out / "model" / "onnx").rmdir()
    (out / "model" / "onnx").symlink_to(elsewhere / "onnx")
    (out / "model" / "logs").rmdir()
    (out / "model" / "logs").symlink_to(elsewhere / "logs")
    before = _left(elsewhere)

    found = _clean(out, _listed(out, "onnx/a.onnx") | {out / "linked" / "onnx" / "a.onnx": "0"})

    assert _left(elsewhere) == before
    assert found.kept == {out / "model" / "onnx" / "a.onnx": "a link leads to it"}


def test_a_manifest_that_cannot_be_read_stays_with_what_it_names(out: Path) -> None:
    """Its files are nobody's to tell from strangers'; what goes by name goes."""
    manifest = out / "model" / "manifest.json"

    found = _clean(out, {}, (manifest,))

    assert manifest in found.kept
    assert _left(out) == ["model/manifest.json", "model/onnx/a.onnx"]


@pytest.fixture
def working(out: Path) -> Iterator[None]:
    with (out / "model" / ".lock").open("w") as lock:
        lock.write("4711")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.mark.usefixtures("working")
def test_nothing_goes_while_a_run_writes(out: Path) -> None:
    """The run's process is named."""
    before = _left(out.parent)

    with pytest.raises(UsageError, match="a run \\(process 4711\\) is writing to"):
        _clean(out, _listed(out, "onnx/a.onnx"))

    assert _left(out.parent) == before


def test_a_cache_in_use_stays(out: Path) -> None:
    """A run of another folder may share it."""
    with Cache(out.parent / "cache").staging(), pytest.raises(UsageError, match="a run is using the cache"):
        _clean(out, {})


@pytest.mark.parametrize("place", ["/", "/usr", "/tmp"])
def test_a_systems_folder_has_nothing_of_ours(place: str, tmp_path: Path) -> None:
    """`--out /` finds nothing that carries our tag."""
    found = cleanable(Path(place), tmp_path / "cache", {}, models=True, cache=True)

    assert (found.ours, found.kept) == ([], {})
