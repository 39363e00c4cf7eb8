"""The frozen records of an image search: what each file found, where they differ, and what became of an index.

Beside `converter.records`, whose rules hold here too. A result is worth its score, the cosine of two unit vectors.
"""

from __future__ import annotations

from dataclasses import dataclass

from converter.records import Tower


@dataclass(frozen=True, kw_only=True)
class Hit:
    """One photograph found. `photo` is its number in the folder's list, `name` its path below the folder.

    `rank` counts from 1; 0 says that it lies beyond what was returned. `is_query` marks the very picture asked with.
    """

    photo: int
    name: str
    rank: int
    score: float
    is_query: bool = False


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one file returned for one query, the best first."""

    space: str
    hits: tuple[Hit, ...]


@dataclass(frozen=True, kw_only=True)
class Placed:
    """One photograph that at least one file returned, with its place and score in every file, in their order."""

    photo: int
    name: str
    is_query: bool
    places: tuple[Hit, ...]


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """One file against the first one named.

    `shared` of `returned` photographs are the same. `missing` are those of the first that the other does not return,
    `added` the reverse. `tied` says that every one of these scores within `tie_margin` of the last place in the file
    that leaves it out, so that either choice is right. `score_difference` is the greatest, over what either returned.
    """

    first: str
    other: str
    shared: int
    returned: int
    same_order: bool
    missing: tuple[str, ...]
    added: tuple[str, ...]
    tied: bool
    tie_margin: float
    score_difference: float


@dataclass(frozen=True, kw_only=True)
class Searched:
    """One query, answered by every file. `verdict` says in one line whether they found the same."""

    query: str
    kind: Tower
    top: int
    answers: tuple[Answer, ...]
    union: tuple[Placed, ...]
    contrasts: tuple[Contrast, ...]
    verdict: str


@dataclass(frozen=True, kw_only=True)
class Unread:
    """A photograph that is in no index, and why."""

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Indexed:
    """What bringing one file's index up to date took.

    `kept` needed no look, `embedded` were run through the model, `reused` had bytes that were known (renamed, touched,
    copied), `removed` are gone from the folder.
    """

    space: str
    photographs: int
    kept: int
    embedded: int
    reused: int
    removed: int
    unread: tuple[Unread, ...]
