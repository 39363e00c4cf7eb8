"""`keygen`, `sign` and `verify --provenance`: what they print, refuse and end with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.publishing.folders import make_folder
from tests.test_cli import run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_folder(tmp_path / "model")
    return tmp_path / "model"


def test_a_key_signs_and_its_public_half_checks(folder: Path, tmp_path: Path) -> None:
    """From key to verdict as docs/provenance.md shows it; a changed byte ends with 6 and names the file."""
    made = run("keygen", "releases", out=tmp_path)
    signed = run("sign", "model", "--key", "releases", out=tmp_path)
    whole = run("verify", "model", "--provenance", "--key", "releases.pub", "--json", out=tmp_path)
    (folder / "onnx" / "image_fp32.onnx").write_text("changed")
    spoiled = run("verify", "model", "--provenance", "--key", "releases.pub", out=tmp_path)

    found = json.loads(whole[1])
    assert (made[0], signed[0], whole[0], spoiled[0]) == (0, 0, 0, 6)
    assert (found["passed"], found["findings"]) == (True, [])
    assert found["signatures"][0].endswith("checked with the key given")
    assert "onnx/image_fp32.onnx: it was changed" in spoiled[1]
    assert "run the same export again" in spoiled[1]


def test_what_is_proven_and_what_is_not_is_said(folder: Path, tmp_path: Path) -> None:
    """Of an unsigned folder too."""
    code, out, _ = run("verify", str(folder), "--provenance", "--hashes-only", out=tmp_path)

    assert code == 0
    assert "every byte is as provenance.json says" in out
    assert "not signed: whoever can write to the folder could have written all of it anew" in out
    assert "not proven here: that the files are still the model" in out


def test_a_key_from_the_environment_signs(folder: Path, tmp_path: Path) -> None:
    """A CI job has its key and passphrase as secrets, and no one to ask."""
    environment = {"MCCONVERT_SIGNING_PASSPHRASE": "correct horse"}
    run("keygen", "key", out=tmp_path, environment=environment)
    pem = (tmp_path / "key").read_text()

    signed = run("sign", "model", out=tmp_path, environment=environment | {"MCCONVERT_SIGNING_KEY": pem})
    locked = run("sign", "model", out=tmp_path, environment={"MCCONVERT_SIGNING_KEY": pem})

    assert "ENCRYPTED" in pem
    assert (signed[0], locked[0]) == (0, 2)
    assert (folder / "provenance.dsse.json").is_file()
    assert "MCCONVERT_SIGNING_PASSPHRASE" in locked[2]


def test_nothing_untrue_is_signed(folder: Path, tmp_path: Path) -> None:
    """Exit code 6, the mismatch, and no envelope."""
    run("keygen", "key", out=tmp_path)
    (folder / "tokenizer.json").write_text("{}")

    code, _, err = run("sign", "model", "--key", "key", out=tmp_path)

    assert code == 6
    assert "not signed, for it is not as it says" in err
    assert "tokenizer.json: it was changed" in err
    assert not (folder / "provenance.dsse.json").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sign", "model"], "nothing to sign with: give --key PATH"),
        (["sign", "model", "--key", "model/SHA256SUMS"], "no private key that opens so"),
        (["sign", "model", "--key", "model/SHA256SUMS", "--sigstore"], "two ways to sign"),
        (["sign", "absent", "--key", "model/SHA256SUMS"], "does not exist"),
        (["sign", "empty", "--sigstore"], "neither manifest.json nor provenance.json is there"),
        (["keygen", "model/SHA256SUMS"], "no key is ever overwritten"),
        (["verify", "model", "--key", "model/SHA256SUMS"], "go with --provenance"),
        (["verify", "model", "--provenance", "--key", "model/SHA256SUMS"], "no public key"),
        (["verify", "model", "--provenance", "--identity", "me"], "--identity and --issuer go together"),
        (["verify", "model", "--provenance", "--matrix"], "goes with neither --matrix nor --task"),
        (["verify", "model", "empty", "--provenance"], "checks one folder"),
        (["verify", "empty", "--provenance"], "neither manifest.json nor provenance.json is there"),
    ],
)
def test_mistakes_get_one_clear_message(folder: Path, tmp_path: Path, arguments: list[str], words: str) -> None:
    """Exit code 2, no traceback, nothing written."""
    (tmp_path / "empty").mkdir()
    before = sorted(path.name for path in folder.iterdir())

    code, _, err = run(*arguments, out=tmp_path)

    assert code == 2, err
    assert words in err
    assert "Traceback" not in err
    assert sorted(path.name for path in folder.iterdir()) == before
