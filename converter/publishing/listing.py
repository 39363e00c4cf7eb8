"""`release.json`: what a version consists of, kept beside its files where the place itself has no index.

It is our tag there: what it lists came from us and may give way to the next version, anything else stays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from converter.errors import PublishError
from converter.files import hash_path
from converter.records import from_json, to_json
from converter.release import Published, Release, ReleaseFile, Transfer

LISTING = "release.json"
_MAY_BE_THERE = ("README", "LICENSE", "LICENCE", "NOTICE")
"""How files begin that a fresh repository comes with."""


@dataclass(frozen=True, kw_only=True)
class ListedFile:
    """One file. `stored_as` is its name at the destination, `path` its name in the release."""

    path: str
    stored_as: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Listing:
    """One version of one model, whole."""

    schema_version: int
    model: str
    published: Published
    files: tuple[ListedFile, ...]

    def file(self, path: str, title: str) -> ListedFile:
        """The file of that path.

        Raises:
            PublishError: the version has none.
        """
        for one in self.files:
            if one.path == path:
                return one
        message = f"{title}: {self.published.version} has no file {path}; it has {len(self.files)} others"
        raise PublishError(message)


def listing_of(release: Release, published: Published, names: dict[str, str] | None = None) -> Listing:
    """The listing of `release`; `names` gives the name at the destination by path where it is another."""
    files = tuple(
        ListedFile(
            path=file.path, stored_as=(names or {}).get(file.path, file.path), sha256=file.sha256,
            size_bytes=file.size_bytes,
        )
        for file in release.files
    )  # fmt: skip
    return Listing(schema_version=1, model=release.model, published=published, files=files)


def transfers_beside(listings: Iterable[Listing], release: Release) -> list[Transfer]:
    """What is left to carry to a place that keeps bytes once: a file is kept when an earlier version has them."""
    there = {file.sha256 for listing in listings for file in listing.files}
    return [Transfer(file=file, action="keep" if file.sha256 in there else "upload") for file in release.files]


def write_listing(listing: Listing) -> bytes:
    """The bytes of `release.json`."""
    return to_json(listing)


def read_listing(data: bytes, title: str, model: str) -> Listing:
    """The listing in `data`, which must be of `model`.

    Raises:
        PublishError: it is no listing, or it is another model's.
    """
    try:
        listing = from_json(data, Listing)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        message = f"{title}: its {LISTING} is not one that mcconvert wrote ({error}); publish to another place"
        raise PublishError(message) from error
    require_model(listing.model, model, title)
    return listing


def require_model(found: str, expected: str, title: str) -> None:
    """Refuse a place that holds another model.

    Raises:
        PublishError: naming both.
    """
    if found != expected:
        message = f"{title} holds {found or 'another model'}, expected {expected}: name another place for {expected}"
        raise PublishError(message)


def require_bytes(data: bytes, sha256: str, what: str) -> bytes:
    """`data`, when these are the bytes that were published.

    Raises:
        PublishError: with both hashes.
    """
    seen = hashlib.sha256(data).hexdigest()
    if seen != sha256:
        message = f"{what}: its sha256 is {seen}, published was {sha256}; the destination no longer gives what it took"
        raise PublishError(message)
    return data


def require_source(file: ReleaseFile) -> None:
    """Refuse a file that changed since it was gathered.

    Raises:
        PublishError: with both hashes.
    """
    seen = hash_path(file.source)[0]
    if seen != file.sha256:
        message = f"{file.source}: its sha256 is {seen}, gathered was {file.sha256}: it changed meanwhile; run again"
        raise PublishError(message)


def require_room(paths: Iterable[str], title: str) -> None:
    """Refuse a place without our listing that holds more than a fresh one: someone's work is there.

    Raises:
        PublishError: naming some of what is there.
    """
    found = [path for path in paths if not path.upper().startswith(_MAY_BE_THERE) and not path.startswith(".git")]
    if found:
        message = (
            f"{title} holds {', '.join(found[:3])} and no {LISTING}: it is not a place that mcconvert publishes to; "
            "name an empty one"
        )
        raise PublishError(message)


def taken(title: str, version: str) -> PublishError:
    """The refusal to touch a version that is there with other files."""
    return PublishError(
        f"{title}: {version} was published meanwhile by someone else and never changes; run again for the next version"
    )
