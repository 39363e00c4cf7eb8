"""Keys and envelopes: made once, private, and valid for these bytes and this key only."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter.errors import UsageError
from converter.publishing.checking import check_folder
from converter.publishing.signatures import notes_on_signatures
from converter.publishing.signing import (
    Keys,
    is_encrypted,
    key_id,
    make_keys,
    pre_authentication,
    read_envelope,
    read_private_key,
    read_public_key,
    sign,
)
from tests.publishing.folders import make_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole folder, signed with the key beside it."""
    make_folder(tmp_path / "model")
    private, _ = make_keys(tmp_path / "key")
    sign(tmp_path / "model", read_private_key(private.read_bytes(), "key"))
    return tmp_path / "model"


def test_what_is_signed_is_the_specifications_encoding() -> None:
    """DSSE v1's pre-authentication encoding: type and payload, each after its length in bytes."""
    encoded = pre_authentication("é".encode())

    assert encoded == b"DSSEv1 28 application/vnd.in-toto+json 2 \xc3\xa9"


def test_a_key_is_private_and_never_overwritten(tmp_path: Path) -> None:
    """Mode 0600 from the start; a second call refuses, also where only one of the two files is there."""
    private, public = make_keys(tmp_path / "keys" / "mine")
    before = private.read_bytes(), public.read_bytes()
    private.rename(tmp_path / "kept")

    with pytest.raises(UsageError, match="mine.pub is there already"):
        make_keys(tmp_path / "keys" / "mine")

    assert stat.S_IMODE((tmp_path / "kept").stat().st_mode) == 0o600
    assert ((tmp_path / "kept").read_bytes(), public.read_bytes()) == before
    assert not private.exists()
    assert b"PRIVATE" not in public.read_bytes()


def test_a_passphrase_is_needed_where_there_is_one(tmp_path: Path) -> None:
    """Without it, or with another, the key does not open, and the message says where to put it."""
    private, public = make_keys(tmp_path / "key", "correct horse")
    data = private.read_bytes()

    opened = read_private_key(data, "key", "correct horse")

    assert is_encrypted(data)
    assert key_id(opened.public_key()) == key_id(read_public_key(public))
    for wrong in ("", "battery staple"):
        with pytest.raises(UsageError, match="MCCONVERT_SIGNING_PASSPHRASE"):
            read_private_key(data, "key", wrong)


@pytest.mark.parametrize("content", [b"", b"-----BEGIN PUBLIC KEY-----\n", b"\xff\xfe", b"rsa"])
def test_what_is_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    """Garbage, and a key of another kind."""
    if content == b"rsa":
        content = _rsa()
    (tmp_path / "key").write_bytes(content)

    with pytest.raises(UsageError, match="key: (no private key|not an Ed25519 key)"):
        read_private_key(content, "key")
    with pytest.raises(UsageError, match="key: (no public key|not an Ed25519 key)"):
        read_public_key(tmp_path / "key")


def test_a_signed_folder_says_by_whom(folder: Path, tmp_path: Path) -> None:
    """With the key it is checked, without it is said that it was not; another's key does not pass."""
    _, stranger = make_keys(tmp_path / "stranger")
    mine = Keys(key=tmp_path / "key.pub")
    name = key_id(read_public_key(tmp_path / "key.pub"))

    assert check_folder(folder, mine) == []
    assert check_folder(folder, Keys()) == []
    assert notes_on_signatures(folder, mine) == [f"signed by key {name}: checked with the key given"]
    assert "NOT CHECKED" in notes_on_signatures(folder, Keys())[0]
    (finding,) = check_folder(folder, Keys(key=stranger))
    assert finding.seen.startswith(f"signed by key {name}, not by the key given")


def test_a_stolen_key_id_does_not_pass(folder: Path, tmp_path: Path) -> None:
    """A stranger's signature under the trusted key's id is invalid."""
    envelope = json.loads((folder / "provenance.dsse.json").read_bytes())
    stranger, _ = make_keys(tmp_path / "stranger")
    sign(folder, read_private_key(stranger.read_bytes(), "stranger"))
    forged = json.loads((folder / "provenance.dsse.json").read_bytes())
    forged["signatures"][0]["keyid"] = envelope["signatures"][0]["keyid"]
    (folder / "provenance.dsse.json").write_text(json.dumps(forged, indent=2) + "\n")

    (finding,) = check_folder(folder, Keys(key=tmp_path / "key.pub"))

    assert "its signature is not valid for key" in finding.seen


@given(st.data())
def test_an_envelope_has_one_form(data: st.DataObject) -> None:
    """Other base64 of the same bytes, other blanks, another field: it is not ours any more."""
    payload = base64.b64encode(data.draw(st.binary(min_size=1, max_size=8))).decode()
    signature = {"keyid": "0" * 64, "sig": base64.b64encode(b"s" * 64).decode()}
    envelope = {"payload": payload, "payloadType": "application/vnd.in-toto+json", "signatures": [signature]}
    whole = json.dumps(envelope, indent=2) + "\n"
    other = data.draw(
        st.sampled_from(
            [
                json.dumps(envelope), whole + "\n", json.dumps(envelope | {"more": 1}, indent=2) + "\n",
                json.dumps(envelope | {"signatures": [signature] * 2}, indent=2) + "\n",
                json.dumps(envelope | {"signatures": []}, indent=2) + "\n",
                json.dumps(envelope | {"payloadType": "text/plain"}, indent=2) + "\n",
                json.dumps(envelope | {"payload": payload + "\n"}, indent=2) + "\n",
            ]
        )
    )  # fmt: skip

    assert read_envelope(whole.encode()).payload == payload
    with pytest.raises(ValueError, match="envelope|signatures|base64"):
        read_envelope(other.encode())


def _rsa() -> bytes:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private + public
