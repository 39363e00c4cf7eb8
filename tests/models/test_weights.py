"""Weights are found where they are, checked, remembered, and never silently replaced."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from converter.errors import WeightsError
from converter.models import hub, memory
from converter.models import weights as weights_module
from converter.models.weights import resolve
from converter.records import ModelSpec

CONTENT = b"weights, as far as finding them goes"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NOON = 1_700_000_000.0


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.seconds = NOON

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture(autouse=True)
def empty_hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache of the test's own, so that nothing on this machine shows through."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Downloads that were tried; every one of them fails."""
    tried: list[str] = []

    def fail(repo: str, file_name: str, revision: str) -> hub.HubFile:
        tried.append(f"{repo}/{file_name}@{revision}")
        message = "ConnectError: no route to host"
        raise WeightsError(message)

    monkeypatch.setattr(hub, "download", fail)
    return tried


def put_in_hub_cache(root: Path, spec: ModelSpec, content: bytes, blob: str) -> Path:
    """Lay a file into the cache as huggingface_hub does: a blob, a snapshot that links to it, a ref by branch name."""
    folder = root / f"models--{spec.hub_repo.replace('/', '--')}"
    commit = "c" * 40 if spec.revision == "main" else spec.revision
    for name in ("blobs", "refs", f"snapshots/{commit}"):
        (folder / name).mkdir(parents=True)
    (folder / "blobs" / blob).write_bytes(content)
    if spec.revision == "main":
        (folder / "refs" / "main").write_text(commit)
    link = folder / "snapshots" / commit / spec.hub_file
    link.symlink_to(os.path.relpath(folder / "blobs" / blob, link.parent))
    return link


def test_seeded_weights_are_named_by_seed_and_model(spec: ModelSpec, tmp_path: Path) -> None:
    """The same model gives the same hash, another model another, and the notice cannot be missed."""
    first, again = (resolve(spec, "seeded", cache_dir=tmp_path / "memory") for _ in range(2))
    other = resolve(dataclasses.replace(spec, id="other"), "seeded", cache_dir=tmp_path / "memory")

    assert first == again
    assert (first.kind, first.path, first.seed, first.trained) == ("seeded", None, 0, False)
    assert first.sha256 != other.sha256
    assert "SEEDED" in first.notice
    assert "not trained and will not be published" in first.notice


def test_a_file_is_taken_and_hashed(spec: ModelSpec, tmp_path: Path) -> None:
    """An absolute path, the file's own sha256, and trained as far as anyone can tell."""
    (tmp_path / "mine.pt").write_bytes(CONTENT)

    weights = resolve(spec, str(tmp_path / "mine.pt"), cache_dir=tmp_path / "memory")

    assert (weights.kind, weights.path, weights.sha256) == ("file", str(tmp_path / "mine.pt"), SHA256)
    assert weights.trained


@pytest.mark.parametrize("name", ["open_clip_model.safetensors", "open_clip_pytorch_model.bin", "epoch_9.pt", "x.pth"])
def test_a_folder_gives_its_one_checkpoint(spec: ModelSpec, tmp_path: Path, name: str) -> None:
    """Other files in it do not matter."""
    (tmp_path / name).write_bytes(CONTENT)
    (tmp_path / "open_clip_config.json").write_text("{}")

    assert resolve(spec, str(tmp_path), cache_dir=tmp_path / "memory").path == str(tmp_path / name)


def test_of_the_hubs_two_formats_the_safe_one_is_read(spec: ModelSpec, tmp_path: Path) -> None:
    """A copied hub repository holds the same weights twice; that is no doubt."""
    for name in ("open_clip_model.safetensors", "open_clip_pytorch_model.bin"):
        (tmp_path / name).write_bytes(CONTENT)

    weights = resolve(spec, str(tmp_path), cache_dir=tmp_path / "memory")

    assert weights.path == str(tmp_path / "open_clip_model.safetensors")


def test_a_folder_with_several_checkpoints_is_refused(spec: ModelSpec, tmp_path: Path) -> None:
    """The message names them all, and asks for the file itself."""
    for name in ("open_clip_model.safetensors", "best.pt", "last.pt"):
        (tmp_path / name).write_bytes(CONTENT)

    with pytest.raises(WeightsError, match=r"best\.pt, last\.pt, open_clip_model\.safetensors.*give the file itself"):
        resolve(spec, str(tmp_path), cache_dir=tmp_path / "memory")


def test_a_trainers_folder_gives_the_weights_not_the_trainers_own_state(spec: ModelSpec, tmp_path: Path) -> None:
    """As Hugging Face's Trainer leaves it: optimizer, scheduler and arguments are no weights."""
    for name in ("optimizer.pt", "scheduler.pt", "training_args.bin", "rng_state.pth", "pytorch_model.bin"):
        (tmp_path / name).write_bytes(b"not these")
    (tmp_path / "model.safetensors").write_bytes(CONTENT)

    assert resolve(spec, str(tmp_path)).path == str(tmp_path / "model.safetensors")


def test_an_empty_folder_is_refused(spec: ModelSpec, tmp_path: Path) -> None:
    """No checkpoint is not a reason to look elsewhere."""
    with pytest.raises(WeightsError, match="no checkpoint"):
        resolve(spec, str(tmp_path), cache_dir=tmp_path / "memory")


def test_a_missing_file_and_a_misspelt_keyword_are_refused(spec: ModelSpec, tmp_path: Path) -> None:
    """The message lists what could have been meant."""
    with pytest.raises(WeightsError, match="expected auto, hub, seeded"):
        resolve(spec, "seedet", cache_dir=tmp_path / "memory")


def test_a_file_that_is_no_checkpoint_by_name_is_refused(spec: ModelSpec, tmp_path: Path) -> None:
    """An ONNX file is not the PyTorch model."""
    (tmp_path / "model.onnx").write_bytes(CONTENT)

    with pytest.raises(WeightsError, match=r"model\.onnx.*\.safetensors"):
        resolve(spec, str(tmp_path / "model.onnx"), cache_dir=tmp_path / "memory")


@pytest.mark.parametrize("request_", ["auto", "hub"])
@pytest.mark.parametrize("revision", ["main", "d" * 40])
def test_what_the_hub_cache_holds_is_used_without_the_network(
    spec: ModelSpec, tmp_path: Path, empty_hub_cache: Path, attempts: list[str], request_: str, revision: str
) -> None:
    """By branch name or by commit; the commit is recorded, huggingface_hub agrees where the file is."""
    from huggingface_hub import try_to_load_from_cache

    unpinned = dataclasses.replace(spec, sha256=None, revision=revision)
    link = put_in_hub_cache(empty_hub_cache, unpinned, CONTENT, SHA256)
    theirs = try_to_load_from_cache(spec.hub_repo, spec.hub_file, cache_dir=empty_hub_cache, revision=revision)

    weights = resolve(unpinned, request_, cache_dir=tmp_path / "memory")

    assert (weights.kind, weights.path, weights.sha256) == ("hub", str(link), SHA256)
    assert weights.path == theirs
    assert weights.revision == ("c" * 40 if revision == "main" else revision)
    assert not attempts


@pytest.mark.parametrize("pinned", [True, False])
@pytest.mark.parametrize("request_", ["auto", "hub"])
def test_a_cached_file_with_another_hash_is_refused(
    spec: ModelSpec, tmp_path: Path, empty_hub_cache: Path, attempts: list[str], request_: str, pinned: bool
) -> None:
    """Against the YAML's sha256, or else the hub's own; `auto` does not go on to seeded weights either."""
    doubted = dataclasses.replace(spec, sha256="0" * 64 if pinned else None, revision="main")
    put_in_hub_cache(empty_hub_cache, doubted, CONTENT, SHA256 if pinned else "1" * 64)

    with pytest.raises(WeightsError, match=("0" * 64 if pinned else "1" * 64) + ".*delete"):
        resolve(doubted, request_, cache_dir=tmp_path / "memory")
    assert not attempts


def test_auto_falls_back_to_seeded_weights_and_says_why(spec: ModelSpec, tmp_path: Path, attempts: list[str]) -> None:
    """The reason that the hub gave is in the notice."""
    weights = resolve(spec, "auto", cache_dir=tmp_path / "memory")

    assert weights.kind == "seeded"
    assert "no route to host" in weights.notice
    assert attempts == [f"{spec.hub_repo}/{spec.hub_file}@{spec.revision}"]


def test_auto_remembers_a_failed_download_for_15_minutes(spec: ModelSpec, tmp_path: Path, attempts: list[str]) -> None:
    """It does not wait again at 14 minutes, tries again at 16, and a clock set back does not silence it for ever."""
    clock = Clock()

    for minutes in (0, 14, 16, -5):
        clock.seconds = NOON + minutes * 60
        assert resolve(spec, "auto", cache_dir=tmp_path / "memory", now=clock).kind == "seeded"

    assert len(attempts) == 3


def test_hub_always_tries_and_says_what_to_do(spec: ModelSpec, tmp_path: Path, attempts: list[str]) -> None:
    """No memory of failures, no seeded weights; the message names repository, file and both ways out."""
    for _ in range(2):
        with pytest.raises(WeightsError, match=r"MobileCLIP-S1-OpenCLIP.*--weights FILE.*--weights seeded"):
            resolve(spec, "hub", cache_dir=tmp_path / "memory")

    assert len(attempts) == 2


def test_a_hash_is_computed_again_only_when_the_file_changed(
    spec: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unchanged file is not read; changed content, of the same length too, is noticed."""
    file, folder = tmp_path / "w.pt", tmp_path / "memory"
    file.write_bytes(CONTENT)
    assert resolve(spec, str(file), cache_dir=folder).sha256 == SHA256
    with monkeypatch.context() as patch:
        patch.setattr(memory, "hash_path", lambda *_: pytest.fail("the file was read again"))
        assert resolve(spec, str(file), cache_dir=folder).sha256 == SHA256
    file.write_bytes(CONTENT[::-1])
    os.utime(file, ns=(1, 1))

    assert resolve(spec, str(file), cache_dir=folder).sha256 == hashlib.sha256(CONTENT[::-1]).hexdigest()


@pytest.mark.parametrize("broken", [b"", b"{", b"[1, 2]", b'{"hub": 3}', b"\xff\xfe"])
def test_a_broken_memory_costs_time_only(spec: ModelSpec, tmp_path: Path, attempts: list[str], broken: bytes) -> None:
    """Truncated, foreign or binary: ignored, and written anew."""
    (tmp_path / "w.pt").write_bytes(CONTENT)
    for name in (memory.HASHES_FILE, memory.FAILURES_FILE):
        (tmp_path / name).write_bytes(broken)

    assert resolve(spec, str(tmp_path / "w.pt"), cache_dir=tmp_path).sha256 == SHA256
    assert resolve(spec, "auto", cache_dir=tmp_path).kind == "seeded"
    assert SHA256 in str(json.loads((tmp_path / memory.HASHES_FILE).read_text()))


def test_a_memory_that_cannot_be_written_costs_time_only(spec: ModelSpec, tmp_path: Path) -> None:
    """A file stands where its folder should be."""
    (tmp_path / "w.pt").write_bytes(CONTENT)
    (tmp_path / "memory").write_text("in the way")

    assert resolve(spec, str(tmp_path / "w.pt"), cache_dir=tmp_path / "memory").sha256 == SHA256


def test_finding_weights_imports_neither_torch_nor_the_hub(
    spec: ModelSpec, tmp_path: Path, empty_hub_cache: Path
) -> None:
    """Not for seeded weights, nor for a file, nor for a hub file that is cached: every run does it, an idle one too."""
    (tmp_path / "w.pt").write_bytes(CONTENT)
    put_in_hub_cache(empty_hub_cache, spec, CONTENT, SHA256)
    code = (
        "import sys; from dataclasses import replace; from pathlib import Path; "
        "from converter.config import load_models; from converter.models.weights import resolve; "
        "spec = replace(load_models()['mobileclip_s1'], sha256=None); requests = sys.argv[2:]; "
        "print(*[resolve(spec, request, cache_dir=Path(sys.argv[1])).kind for request in requests], *sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "memory"), "seeded", str(tmp_path / "w.pt"), "auto"]

    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()

    assert printed[:3] == ["seeded", "file", "hub"]
    assert not {"torch", "huggingface_hub", "open_clip"} & set(printed)


@pytest.fixture
def bundled(spec: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelSpec:
    """A model whose weights come with the package."""
    (tmp_path / "bundled").mkdir()
    (tmp_path / "bundled" / "small.safetensors").write_bytes(CONTENT)
    monkeypatch.setattr(weights_module, "BUNDLED", tmp_path / "bundled")
    return dataclasses.replace(spec, hub_repo="", hub_file="", bundled="small.safetensors", sha256=SHA256)


@pytest.mark.parametrize("request_", ["auto", "hub"])
def test_weights_of_the_package_need_no_network(
    bundled: ModelSpec, tmp_path: Path, attempts: list[str], request_: str
) -> None:
    """They are trained, checked against the YAML, and nothing is asked for."""
    found = resolve(bundled, request_, cache_dir=tmp_path / "memory")

    path = tmp_path / "bundled" / "small.safetensors"
    assert (found.kind, found.path, found.sha256, found.trained) == ("bundled", str(path), SHA256, True)
    assert not found.notice
    assert not attempts


def test_twin_changed_weights_of_the_package_are_refused(bundled: ModelSpec, tmp_path: Path) -> None:
    """One byte more and the YAML's hash does not hold; without the file the path is named."""
    path = tmp_path / "bundled" / "small.safetensors"
    path.write_bytes(CONTENT + b"!")
    with pytest.raises(WeightsError, match=f"says {SHA256}"):
        resolve(bundled, "auto", cache_dir=tmp_path / "memory")
    path.unlink()
    with pytest.raises(WeightsError, match="is not there"):
        resolve(bundled, "auto", cache_dir=tmp_path / "memory")


def test_a_model_that_is_nowhere_on_the_hub(spec: ModelSpec, tmp_path: Path, attempts: list[str]) -> None:
    """`hub` refuses and says what to give, `auto` takes seeded weights and says why; nothing is asked for."""
    nowhere = dataclasses.replace(spec, hub_repo="", hub_file="", sha256=None)

    with pytest.raises(WeightsError, match=r"no repository.*--weights FILE"):
        resolve(nowhere, "hub", cache_dir=tmp_path / "memory")
    found = resolve(nowhere, "auto", cache_dir=tmp_path / "memory")

    assert found.kind == "seeded"
    assert "no repository on the hub" in found.notice
    assert "--weights hub" not in found.notice
    assert not attempts
