"""Signing by sigstore: its refusals, for here is neither a network nor an identity. The library is the real one."""

from __future__ import annotations

import base64
import dataclasses
import json
import sys
import time
from pathlib import Path

import pytest

from converter.errors import MissingDependencyError, PublishError, UsageError
from converter.publishing.checking import check_folder
from converter.publishing.keyless import sign_keyless, verify_bundle
from converter.publishing.manifest import read_manifest
from converter.publishing.provenance import read_build, write_provenance
from converter.publishing.signatures import notes_on_signatures
from converter.publishing.signing import Keys
from tests.publishing.folders import make_folder

SOMEONE = Keys(identity="me@example.org", issuer="https://issuer.example.org")
AMBIENT = ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_URL", "GITHUB_ACTIONS", "GITLAB_CI", "CIRCLECI",
           "BUILDKITE", "SIGSTORE_ID_TOKEN")  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A whole folder, outside of any CI job, with a cache of sigstore's own."""
    for name in AMBIENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    make_folder(tmp_path / "model")
    return tmp_path / "model"


def bundle(folder: Path, **changes: object) -> bytes:
    """What a bundle over the folder's statement looks like, signed by nobody."""
    payload = base64.b64encode((folder / "provenance.json").read_bytes()).decode()
    envelope = {"payload": payload, "payloadType": "application/vnd.in-toto+json", "signatures": [{"sig": "c2ln"}]}
    kind = "application/vnd.dev.sigstore.bundle.v0.3+json"
    return json.dumps({"mediaType": kind, "dsseEnvelope": envelope, **changes}).encode()


def test_without_an_identity_it_says_how_to_get_one(folder: Path) -> None:
    """No CI job, no signature, and no attempt to reach anything."""
    with pytest.raises(UsageError, match="no identity to sign with: .*id-token: write.*sign with --key"):
        sign_keyless(folder)


def test_an_identity_that_cannot_be_had_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job of GitHub's without the permission."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")

    with pytest.raises(UsageError, match="no identity to sign with"):
        sign_keyless(folder)


def test_without_a_network_it_offers_a_key(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job with a token whose requests end nowhere: one message, and nothing written."""
    claims = {"aud": "sigstore", "iss": "https://issuer.example.org", "sub": "me", "iat": time.time() - 9}
    parts = [{"alg": "none"}, claims | {"nbf": claims["iat"], "exp": time.time() + 600}, {}]
    token = ".".join(base64.urlsafe_b64encode(json.dumps(one).encode()).decode().rstrip("=") for one in parts)
    monkeypatch.setenv("GITLAB_CI", "true")
    monkeypatch.setenv("SIGSTORE_ID_TOKEN", token)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "https_proxy", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    with pytest.raises(PublishError, match="sigstore did not sign: .*or sign with --key"):
        sign_keyless(folder)

    assert not (folder / "provenance.sigstore.json").exists()


def test_without_the_library_it_names_the_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signing and checking both."""
    monkeypatch.setitem(sys.modules, "sigstore", None)
    (folder / "provenance.sigstore.json").write_bytes(bundle(folder))

    with pytest.raises(MissingDependencyError, match=r"pip install 'mcconvert\[sigstore\]'"):
        sign_keyless(folder)
    with pytest.raises(MissingDependencyError, match=r"pip install 'mcconvert\[sigstore\]'"):
        check_folder(folder, SOMEONE)


def test_a_bundle_that_is_asked_for_must_be_there(folder: Path) -> None:
    """An unsigned folder is not the work of the identity that is given."""
    (finding,) = check_folder(folder, SOMEONE)

    assert (finding.name, finding.seen) == ("provenance.sigstore.json", "it is missing: nobody signed by sigstore")


def test_a_bundle_signed_by_nobody_does_not_pass(folder: Path) -> None:
    """The real verifier, offline; unasked it is only said that nobody checked."""
    (folder / "provenance.sigstore.json").write_bytes(bundle(folder))

    (finding,) = check_folder(folder, SOMEONE)

    assert finding.seen.startswith("sigstore does not accept it: ")
    assert check_folder(folder, Keys()) == []
    assert "NOT CHECKED" in notes_on_signatures(folder, Keys())[0]


def test_a_bundle_over_another_statement_is_seen_without_an_identity(folder: Path) -> None:
    """Its payload is not what lies here."""
    before = bundle(folder)
    write_provenance(folder, read_manifest(folder), dataclasses.replace(read_build(folder), finished="later"))
    (folder / "provenance.sigstore.json").write_bytes(before)

    (finding,) = check_folder(folder, Keys())

    assert finding.seen == "it signs another statement than provenance.json"


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"\xff", b"[" * 100_000, b'{"dsseEnvelope": 1}', b'{"mediaType": 1}']
)
def test_garbage_is_no_bundle(folder: Path, data: bytes) -> None:
    """Seen by us, and by the library without a traceback."""
    (folder / "provenance.sigstore.json").write_bytes(data)

    (finding,) = check_folder(folder, SOMEONE)

    assert finding.seen.startswith("cannot be read: not a sigstore bundle")
    assert verify_bundle(data, "me", "issuer").startswith("sigstore does not accept it: ")
