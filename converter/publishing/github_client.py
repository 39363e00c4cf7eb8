"""GitHub as its usual client reaches it: a client that does not wait, and its errors as refusals in our words."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from converter.errors import PublishError
from converter.publishing.addresses import cause_of, without_secrets

LOGIN = "GITHUB_TOKEN has to be a token that may write contents there ('permissions: contents: write' in a workflow)"
"""What to do about a refusal."""

_API = "https://api.github.com"
_SECONDS = 120
"""GitHub hashes an asset before it answers."""
_SECONDS_BETWEEN_WRITES = 1.0
"""What GitHub asks of those who write much."""


def connect(token: str) -> Any:
    """A client that repeats nothing: its own waits go on for an hour, and a body that was sent is gone."""
    import github

    return github.Github(
        auth=github.Auth.Token(token), base_url=os.environ.get("GITHUB_API_URL") or _API, timeout=_SECONDS, retry=None,
        seconds_between_writes=_SECONDS_BETWEEN_WRITES,
    )  # fmt: skip


@contextmanager
def told(what: str) -> Iterator[None]:
    """What the client raises, as a refusal that says what to do."""
    import github
    import requests

    try:
        yield
    except github.GithubException as error:
        message = f"{what}: GitHub answered {error.status}: {_explained(error)}"
        raise PublishError(without_secrets(message)) from error
    except requests.RequestException as error:
        message = (
            f"{what}: no answer ({cause_of(error)}); when there is one, the same command sends only what is missing"
        )
        raise PublishError(message) from error


def _explained(error: Any) -> str:
    said = error.data if isinstance(error.data, dict) else {}
    reasons = [str(said.get("message", ""))]
    for one in said.get("errors") or []:
        reasons.append(" ".join(map(str, one.values())) if isinstance(one, dict) else str(one))
    return f"{'; '.join(filter(None, reasons))}; {_advice(error)}"


def _advice(error: Any) -> str:
    headers = {name.lower(): text for name, text in (error.headers or {}).items()}
    if headers.get("x-ratelimit-remaining") == "0" and headers.get("x-ratelimit-reset", "").isdigit():
        until = datetime.datetime.fromtimestamp(int(headers["x-ratelimit-reset"]), datetime.UTC)
        return f"too many requests until {until:%H:%M} UTC; the same command then sends only what is missing"
    if "retry-after" in headers:
        return f"too many requests; in {headers['retry-after']} seconds the same command sends only what is missing"
    if error.status in (401, 403):
        return LOGIN
    if error.status == 404:
        return f"the repository is not there, or this token does not see it; {LOGIN}"
    return "the same command sends only what is missing"
