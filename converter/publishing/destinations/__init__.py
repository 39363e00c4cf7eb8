"""Destinations: each module carries releases to one kind of place.

A destination is a module with the names of `DestinationModule` below, found by its file name or, from another package,
through the entry-point group `mcconvert.destinations`. What may be published, and as which version, is decided before
it is asked. Heavy imports live inside functions; what a client library raises becomes a `PublishError` that says what
was seen and what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from converter.release import Published, Release, ReleaseFile, Transfer


class Destination(Protocol):
    """An opened place for the versions of one model.

    A version becomes visible as a whole, by `finish`, and never changes afterwards. Until then its files may lie at the
    destination, so that an interrupted upload goes on where it stopped, but no reader takes them for a version.
    """

    title: str
    """In words, without secrets: "s3://bucket/models (S3)"."""

    def published(self) -> Sequence[Published]:
        """The whole versions, in the order of publishing. An unfinished one is not among them.

        Raises:
            PublishError: the place cannot be reached or read.
        """
        ...

    def transfers(self, version: str, release: Release) -> Sequence[Transfer]:
        """Which files of `release` still have to be carried there, in its order; changes nothing."""
        ...

    def upload(self, version: str, file: ReleaseFile) -> None:
        """Carry one file there, whole or not at all, replacing what an unfinished upload left.

        Raises:
            PublishError: it did not arrive, or not as the bytes that left.
        """
        ...

    def finish(self, version: str, release: Release, published: Published) -> None:
        """Make the version visible: the manifest goes last, then the index and `latest` point to it.

        Raises:
            PublishError: the version was published meanwhile by someone else; nothing of it was changed.
        """
        ...

    def read(self, version: str, path: str) -> bytes:
        """One small file of a whole version, such as its manifest.

        Raises:
            PublishError: there is no such version or file.
        """
        ...


class MendingDestination(Destination, Protocol):
    """A destination whose index, or `latest`, can be behind its whole versions after a kill."""

    def mend(self) -> bool:
        """Make them right again when there is nothing to publish; says whether anything was wrong.

        Raises:
            PublishError: it could not be done.
        """
        ...


class DestinationModule(Protocol):
    """The contract of a destination's module.

    Two more names are optional: `SUFFIXES`, how plain paths end that it takes in place of a folder, and
    `takes(scheme)`, for a client library that knows more schemes than can be listed.
    """

    SCHEMES: Sequence[str]
    """What addresses begin with, before "://"; "" for a plain path."""
    EXAMPLE: str
    """An address, and in a few words what it means, for --help."""
    REQUIRES: Sequence[str]
    """Distributions that it needs."""
    EXTRA: str
    """The extra that brings them; empty where none is needed."""

    def open_destination(self, address: str, model: str) -> AbstractContextManager[Destination]:
        """The place for `model` at that address. Nothing is made or changed there before the first upload.

        Raises:
            PublishError: the address is malformed, or the place cannot be reached.
        """
        ...
