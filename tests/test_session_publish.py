"""A publication from folder to version, by the command as a user types it, on a tiny folder with real figures."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from converter.errors import PublishError, UsageError
from converter.publishing.manifest import read_manifest
from converter.session_publish import PublishRequest, default_folder, publish
from tests.publishing.destinations.test_archive import unpacked
from tests.publishing.provable import make_provable, proven, rewrite

ONNX = "onnx/image_fp32.onnx"


def run(folder: Path, address: Path | str, *allow: str, dry_run: bool = False):  # type: ignore[no-untyped-def]
    request = PublishRequest(address=str(address), folder=folder, allow=allow, dry_run=dry_run)
    return publish(request, lambda _number, _count, _transfer: None)


def command(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).with_name("mcconvert")), *map(str, arguments)], capture_output=True, text=True,
        check=False, timeout=120, cwd=cwd, env=os.environ | {"MCCONVERT_CACHE": str(cwd / "cache")},
    )  # fmt: skip


def hashes(folder: Path) -> dict[str, str]:
    files = [one for one in folder.rglob("*") if one.is_file()]
    return {one.relative_to(folder).as_posix(): hashlib.sha256(one.read_bytes()).hexdigest() for one in files}


def test_a_model_becomes_v1_and_only_once(tmp_path: Path) -> None:
    """A dry run changes nothing; the same content is not published again; the exported folder stays as it was."""
    make_provable(tmp_path / "model")
    before = hashes(tmp_path / "model")

    dry = run(tmp_path / "model", tmp_path / "store", dry_run=True)
    untouched = not (tmp_path / "store").exists()
    first, again = (run(tmp_path / "model", tmp_path / "store") for _ in range(2))

    assert [one.status for one in (dry, first, again)] == ["would publish", "published", "published already"]
    assert untouched
    assert {one.version for one in (dry, first, again)} == {"v1"}
    assert hashes(tmp_path / "model") == before
    place = tmp_path / "store" / "mobileclip_s1" / "v1"
    assert set(hashes(place)) == {one.path for one in first.files}
    assert hashes(place) == {one.path: one.sha256 for one in first.files}
    assert "coreml/image_fp32.mlpackage/Data/weights/weight.bin" in hashes(place)


def test_changed_content_becomes_v2_and_v1_stays(tmp_path: Path) -> None:
    """Not a byte of the first version is another one afterwards."""
    manifest = make_provable(tmp_path / "model")
    run(tmp_path / "model", tmp_path / "store")
    before = hashes(tmp_path / "store" / "mobileclip_s1" / "v1")
    entries = tuple(proven(one, 0.001) if one.path == ONNX else one for one in manifest.artifacts)
    rewrite(tmp_path / "model", manifest, artifacts=entries)

    second = run(tmp_path / "model", tmp_path / "store")

    assert (second.status, second.version) == ("published", "v2")
    assert hashes(tmp_path / "store" / "mobileclip_s1" / "v1") == before


def test_times_alone_make_no_version(tmp_path: Path) -> None:
    """Files that were proven once more took other milliseconds: that is nothing new."""
    manifest = make_provable(tmp_path / "model")
    run(tmp_path / "model", tmp_path / "store")
    entries = tuple(
        dataclasses.replace(one, parity=dataclasses.replace(one.parity, latency_ms=7.0))  # type: ignore[type-var]
        for one in manifest.artifacts
    )
    rewrite(tmp_path / "model", manifest, artifacts=entries)

    assert run(tmp_path / "model", tmp_path / "store").status == "published already"


def test_a_refusal_names_everything_and_carries_nothing(tmp_path: Path) -> None:
    """Untrained weights and a changed file, each with the way on; the destination is not even made."""
    make_provable(tmp_path / "model", trained=False)
    (tmp_path / "model" / ONNX).write_bytes(b"changed")

    ran = command("publish", tmp_path / "store", "--from", tmp_path / "model", cwd=tmp_path)

    assert ran.returncode == 7
    assert f"{ONNX}: sha256" in ran.stderr
    assert "not trained" in ran.stderr and "--allow untrained-weights" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not (tmp_path / "store").exists()


def test_a_waiver_is_said_everywhere(tmp_path: Path) -> None:
    """On the console, in the manifest, in the card; one that waives nothing is said too."""
    make_provable(tmp_path / "model", trained=False)
    options = ["--allow", "untrained-weights", "--allow", "unknown-licence"]

    ran = command("publish", tmp_path / "store", "--from", tmp_path / "model", *options, cwd=tmp_path)

    place = tmp_path / "store" / "mobileclip_s1" / "v1"
    assert ran.returncode == 0, ran.stderr
    assert "ALLOWED untrained-weights: the weights are not trained" in ran.stderr
    assert "--allow unknown-licence was not needed" in ran.stderr
    assert [one.name for one in read_manifest(place).waivers] == ["untrained-weights"]
    assert "The weights are not trained" in (place / "README.md").read_text()
    checked = command("verify", place, "--provenance", cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout


def test_only_files_that_passed_leave(tmp_path: Path) -> None:
    """A failed one that nobody required is left out, and said."""
    manifest = make_provable(tmp_path / "model")
    entries = tuple(proven(one, 0.3, required=False) if one.path == ONNX else one for one in manifest.artifacts)
    rewrite(tmp_path / "model", manifest, artifacts=entries)

    found = run(tmp_path / "model", tmp_path / "m.zip")

    assert found.left_out == (ONNX,)
    assert ONNX not in unpacked(tmp_path / "m.zip") or not unpacked(tmp_path / "m.zip")
    inside = {name.removeprefix("mobileclip_s1/") for name in unpacked(tmp_path / "m.zip")}
    assert {"manifest.json", "README.md", "SHA256SUMS", "provenance.json", "sbom.cdx.json"} <= inside
    assert ONNX not in inside


def test_a_release_is_signed(tmp_path: Path) -> None:
    """With a key of one's own; a reader checks the published folder with the public one."""
    make_provable(tmp_path / "model")
    command("keygen", tmp_path / "key", cwd=tmp_path)

    ran = command("publish", tmp_path / "store", "--from", tmp_path / "model", "--sign", tmp_path / "key", cwd=tmp_path)

    place = tmp_path / "store" / "mobileclip_s1" / "latest"
    check = ["verify", place, "--provenance", "--key", tmp_path / "key.pub"]
    assert ran.returncode == 0, ran.stderr
    assert command(*check, cwd=tmp_path).returncode == 0
    assert not (tmp_path / "model" / "provenance.dsse.json").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["s4://bucket"], 7, "did you mean 's3'?"),
        (["s3://someone:secret@bucket/x"], 7, "without user and password"),
        (["store", "--allow", "untrained"], 2, "did you mean 'untrained-weights'?"),
        (["store", "--from", "."], 2, "manifest.json"),
        (["gs://bucket/x"], 3, "pip install 'gcsfs'"),
        (["file://host/x"], 7, "expected file:///PATH"),
    ],
)
def test_slips_get_one_clear_message(tmp_path: Path, arguments: list[str], code: int, words: str) -> None:
    """Each says what was expected, and shows no secret."""
    make_provable(tmp_path / "artifacts" / "mobileclip_s1")

    ran = command("publish", *arguments, cwd=tmp_path)

    assert (ran.returncode, words in ran.stderr) == (code, True), ran.stderr
    assert "secret" not in ran.stderr and "Traceback" not in ran.stderr


def test_the_only_model_is_the_default(tmp_path: Path) -> None:
    """With several, or none, the folder is asked for."""
    with pytest.raises(UsageError, match="holds no exported model"):
        default_folder(tmp_path)
    make_provable(tmp_path / "one")
    assert default_folder(tmp_path) == tmp_path / "one"
    make_provable(tmp_path / "two")
    with pytest.raises(UsageError, match="several models were exported"):
        default_folder(tmp_path)


def test_an_export_that_runs_is_waited_for(tmp_path: Path) -> None:
    """The exported folder is locked by the run."""
    import fcntl

    make_provable(tmp_path / "model")
    with (tmp_path / "model" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(PublishError, match="an export is writing to"):
            run(tmp_path / "model", tmp_path / "store")


def test_two_versions_are_compared_where_they_lie(tmp_path: Path) -> None:
    """`diff` of a published version with the folder: exit code 6 when a file that passed fails; JSON for programs."""
    manifest = make_provable(tmp_path / "model")
    run(tmp_path / "model", tmp_path / "store")
    entries = tuple(proven(one, 0.3) if one.path == ONNX else one for one in manifest.artifacts)
    rewrite(tmp_path / "model", manifest, artifacts=entries)

    worse = command("diff", f"{tmp_path}/store@latest", tmp_path / "model", cwd=tmp_path)
    same = command("diff", f"{tmp_path}/store@v1", f"{tmp_path}/store@latest", "--model", "mobileclip_s1", "--json",
                   cwd=tmp_path)  # fmt: skip
    absent = command("diff", f"{tmp_path}/store@v7", tmp_path / "model", cwd=tmp_path)

    assert worse.returncode == 6, worse.stderr
    assert "WORSE image/onnx/fp32: PASSED -> FAILED" in worse.stdout
    assert (same.returncode, json.loads(same.stdout)["broken"]) == (0, [])
    assert absent.returncode == 7
    assert "there is no version v7; there is v1" in absent.stderr


def test_help_shows_every_destination(tmp_path: Path) -> None:
    """With an example of each, and what can be waived."""
    ran = command("publish", "--help", cwd=tmp_path)

    for word in (
        "s3://bucket/models",
        "oci://",
        "hf://",
        "github://",
        "git+ssh://",
        "/srv/models",
        "untrained-weights",
    ):
        assert word in ran.stdout
