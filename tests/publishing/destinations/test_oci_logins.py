"""Who may write to an OCI registry, and which addresses name one: against Debian's docker-registry."""

from __future__ import annotations

import base64
import json
import urllib.error
from pathlib import Path

import pytest

from converter.errors import PublishError
from converter.publishing.destinations import oci
from tests.publishing.destinations.registry import RegistryServer
from tests.publishing.destinations.releases import SECRET, contents, described, make_release, publish
from tests.publishing.destinations.tokens import token_server

MODEL = "mobileclip_nano"
PASSWORD_LINE = "publisher:$2y$05$abcdefghijklmnopqrstuut3z3I0js6Ra1PIAbJTISS..EAryZouq"
"""bcrypt of SECRET."""


def _stored_login(folder: Path, host: str, login: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `docker login` leaves behind."""
    folder.mkdir(exist_ok=True)
    auths = {host: {"auth": base64.b64encode(login.encode()).decode()}}
    (folder / "config.json").write_text(json.dumps({"auths": auths}), encoding="utf-8")
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))


@pytest.mark.parametrize("stored", ["publisher:wrong-but-long", ""])
def test_a_wrong_login_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: str) -> None:
    """The message says how to log in, and shows neither password nor hash."""
    server = _protected(tmp_path)
    _stored_login(tmp_path / "docker", server.host if stored else "elsewhere", stored, monkeypatch)

    with (
        pytest.raises(PublishError, match=f"docker login {server.host}") as refusal,
        oci.open_destination(server.address, MODEL),
    ):
        pass

    server.stop()
    assert "wrong-but-long" not in str(refusal.value)


def test_a_stored_login_lets_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The login of `docker login`, with DOCKER_CONFIG; without it the same bytes are not to be had."""
    server = _protected(tmp_path)
    _stored_login(tmp_path / "docker", server.host, f"publisher:{SECRET}", monkeypatch)

    with oci.open_destination(server.address, MODEL) as destination:
        publish(destination, "v1", make_release(tmp_path / "files"))
        assert destination.read("v1", "manifest.json") == contents()["manifest.json"]
    with pytest.raises(urllib.error.HTTPError, match="401"):
        server.get("/v2/acme/nano/manifests/v1")
    server.stop()


@pytest.mark.parametrize("password", [SECRET, "wrong-but-long"])
def test_a_registry_of_tokens_lets_in_who_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, password: str) -> None:
    """Tokens for reading and for writing are asked for as they are needed; a wrong login gets none."""
    with token_server(tmp_path, f"publisher:{SECRET}") as auth:
        server = RegistryServer(folder=tmp_path, changes={"auth": auth})
        server.start()
        _stored_login(tmp_path / "docker", server.host, f"publisher:{password}", monkeypatch)
        release = make_release(tmp_path / "files")

        with oci.open_destination(server.address, MODEL) as destination:
            if password == SECRET:
                assert len(publish(destination, "v1", release)) == len(release.files)
                assert destination.published() == [described("v1", release)]
            else:
                with pytest.raises(PublishError, match="does not let this login in; 'docker login"):
                    destination.published()
        server.stop()


@pytest.mark.parametrize(
    ("address", "seen"),
    [
        (f"oci://user:{SECRET}@127.0.0.1:1/acme/nano", "without user and password"),
        (f"oci://{SECRET}@127.0.0.1:1/acme/nano", "without user and password"),
        (f"oci://127.0.0.1:1/acme/nano?token={SECRET}", "nothing after"),
        ("oci://127.0.0.1:1/acme/nano:v1", "without a tag"),
        ("oci://127.0.0.1:1", "expected oci://host"),
        ("oci://127.0.0.1:1/acme/nano", "Connection refused"),
    ],
)
def test_addresses_that_lead_nowhere_are_refused(address: str, seen: str) -> None:
    """Malformed, with a secret in it, or nobody there: no secret shows."""
    with pytest.raises(PublishError, match=seen) as refusal, oci.open_destination(address, MODEL):
        pass

    assert SECRET not in str(refusal.value)


def _protected(folder: Path) -> RegistryServer:
    passwords = folder / "htpasswd"
    passwords.write_text(PASSWORD_LINE + "\n", encoding="utf-8")
    auth = {"htpasswd": {"realm": "tests", "path": str(passwords)}}
    server = RegistryServer(folder=folder, changes={"auth": auth})
    server.start()
    return server
