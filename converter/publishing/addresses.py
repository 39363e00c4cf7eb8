"""Addresses of destinations: taken apart, and kept free of secrets, as is every message about them."""

from __future__ import annotations

import os
import re
import urllib.parse
from dataclasses import dataclass

from converter.errors import PublishError

SECRET_VARIABLES = ("HF_TOKEN", "GITHUB_TOKEN", "GH_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
"""Environment variables whose values never appear in a message."""
MASK = "***"
_USER = re.compile(r"(?<=://)[^/\s@]+@")
_VERSION = re.compile(r"v([1-9][0-9]*)")


@dataclass(frozen=True, kw_only=True)
class Address:
    """`scheme://host/path`; `host` with its port, `path` without slashes around it, `user` for ssh only."""

    scheme: str
    host: str
    path: str
    user: str = ""


def parse_address(address: str, example: str, *, user_allowed: bool = False) -> Address:
    """Take `address` apart.

    Raises:
        PublishError: it holds a password or token, or has no host or path; the message shows neither.
    """
    parts = urllib.parse.urlsplit(address)
    if parts.password or (parts.username and not user_allowed):
        message = (
            f"{without_secrets(address)}: expected an address without user and password, which end up in logs and "
            "shell histories; docs/destinations.md says where each destination takes its credentials from"
        )
        raise PublishError(message)
    if parts.query or parts.fragment:
        message = f"{without_secrets(address)}: expected nothing after ? or #, such as {example}"
        raise PublishError(message)
    host, path = parts.netloc.rpartition("@")[2], parts.path.strip("/")
    return Address(scheme=parts.scheme, host=host, path=path, user=parts.username or "")


def without_secrets(text: str, *secrets: str) -> str:
    """The text with users of addresses, queries, `secrets` and the secrets of the environment masked."""
    masked = re.sub(r"(://[^\s?#'\"]*)[?#][^\s'\"]*", rf"\1?{MASK}", _USER.sub(f"{MASK}@", text))
    for secret in [*secrets, *(os.environ.get(name, "") for name in SECRET_VARIABLES)]:
        masked = masked.replace(secret, MASK) if len(secret) >= 4 else masked
    return masked


def cause_of(error: BaseException) -> str:
    """The innermost words of a client library's error: "[Errno 111] Connection refused"."""
    words = str(error).rpartition(": ")[2].strip(" ()'\"") or type(error).__name__
    return without_secrets(words)


def version_number(version: str) -> int:
    """The number of `v3`; 0 for what is no version."""
    match = _VERSION.fullmatch(version)
    return int(match[1]) if match else 0
