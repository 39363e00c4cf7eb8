"""An OCI registry as `oras` reaches it: sessions, stored logins and the dance of tokens, without its waits.

What is around `oras` 0.2 here, and can go when it no longer is so:

1. It repeats every failed request five times within two minutes, a refused password too: the request below its
   decorator is called.
2. It waits for an answer without end: each request has a limit.
3. It has to be told which kind of login a registry asks for: the registry is asked.
4. A basic login is sent only after a refusal, when a streamed body is gone: it goes with the request, to the
   registry's own host only.
5. A token for reading is used for writing too, and refused: it is given up then, and a new one asked for.
6. It reads `~/.docker/config.json` wherever `DOCKER_CONFIG` points: that file is handed over.
"""

from __future__ import annotations

import os
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converter.errors import PublishError
from converter.publishing.addresses import Address

_SECONDS = (10.0, 120.0)
"""To connect, and between two bytes of an answer."""
_LOCAL = ("localhost", "127.0.0.1", "[::1]")
_REFUSED = (401, 403)


@dataclass(frozen=True, kw_only=True)
class Registry:
    """One repository of a registry. `client` is an `oras.provider.Registry`, `basic` a login sent with each request."""

    host: str
    repository: str
    client: Any
    basic: str = ""

    def url(self, rest: str) -> str:
        """The address of `blobs/...`, `manifests/...` or `tags/list` of the repository."""
        return f"{self.client.prefix}://{self.host}/v2/{self.repository}/{rest}"

    def ask(self, method: str, url: str, data: Any = None, **headers: str) -> Any:
        """One request, `url` being absolute or the registry's own path; the answer whatever its status."""
        whole = urllib.parse.urljoin(f"{self.client.prefix}://{self.host}", url)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.basic and urllib.parse.urlsplit(whole).netloc == self.host:
            named["Authorization"] = f"Basic {self.basic}"
            return self.client.session.request(method, whole, data=data, headers=named, timeout=_SECONDS)
        answer = self._with_token(method, whole, data, named)
        if answer.status_code in _REFUSED and self.client.auth.token and not hasattr(data, "read"):
            self.client.auth.token = None  # 5
            answer = self._with_token(method, whole, data, named)
        return answer

    def close(self) -> None:
        """Let go of the connections."""
        self.client.session.close()

    def _with_token(self, method: str, url: str, data: Any, headers: dict[str, str]) -> Any:
        import requests

        try:
            return type(self.client).do_request.__wrapped__(self.client, url, method, data=data, headers=headers)  # 1
        except requests.RequestException:
            raise
        except ValueError as error:  # what oras raises when no token was to be had
            message = (
                f"oci://{self.host}/{self.repository} (OCI registry) does not let this login in; {login(self.host)}"
            )
            raise PublishError(message) from error


def login(host: str) -> str:
    """What to do about a refusal."""
    return f"'docker login {host}' stores one that may write there"


def connect(place: Address) -> Registry:
    """The repository at that address, once the registry lets us in.

    Raises:
        PublishError: it asks for a login, and there is none or not the right one.
    """
    import oras.container
    import oras.provider

    insecure = place.host in _LOCAL or place.host.rpartition(":")[0] in _LOCAL
    client = oras.provider.Registry(place.host, insecure=insecure)
    _limit(client.session)
    client.auth.load_configs(oras.container.Container(f"{place.host}/{place.path}", registry=place.host), _configs())
    answer = client.session.request("GET", f"{client.prefix}://{place.host}/v2/")
    asks_basic = answer.headers.get("Www-Authenticate", "").lower().startswith("basic")
    if answer.status_code != 401 or not asks_basic:
        return Registry(host=place.host, repository=place.path, client=client)
    basic = getattr(client.auth, "_basic_auth", "")
    registry = Registry(host=place.host, repository=place.path, client=client, basic=basic)
    if not basic or registry.ask("GET", "/v2/").status_code == 401:
        seen = "refused the stored login" if basic else "asks for a login, and none is stored"
        message = f"oci://{place.host}/{place.path} (OCI registry) {seen}; {login(place.host)}"
        raise PublishError(message)
    return registry


def _limit(session: Any) -> None:
    """Every request of the session ends (2), the ones for tokens too."""
    send = session.request

    def request(*arguments: Any, **options: Any) -> Any:
        return send(*arguments, **{"timeout": _SECONDS, **options})

    session.request = request


def _configs() -> list[str]:
    """Where `docker login` stores logins when it was told so (6)."""
    folder = os.environ.get("DOCKER_CONFIG", "")
    file = Path(folder) / "config.json"
    return [str(file)] if folder and file.is_file() else []
