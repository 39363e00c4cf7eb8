"""The frozen records of a release: the files of one version of a model, as they leave for a destination.

Beside `converter.records`, whose rules hold here too. Gathering a release is left to `publishing`, carrying it away to
`publishing.destinations`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from converter.benchmarked import BENCHMARKS

MANIFEST, INDEX = "manifest.json", "index.json"
SBOM, PROVENANCE, SUMS, CARD = "sbom.cdx.json", "provenance.json", "SHA256SUMS", "README.md"
ENVELOPE, BUNDLE = "provenance.dsse.json", "provenance.sigstore.json"
DOCUMENTS = (MANIFEST, SBOM, PROVENANCE, SUMS, ENVELOPE, BUNDLE, CARD)
"""What stands beside a model's files in its folder and leaves with them; the card is written on leaving."""
BESIDE = ("matrix.svg", "matrix.json", "task.json", "report.html", "report.md", "report.json")
BESIDE_FOLDERS = ("logs", "recipes", BENCHMARKS)
"""Names in a model's folder that commands give and that are no part of a release."""
LATEST = "latest"
"""The name under which a destination gives its newest version."""


@dataclass(frozen=True, kw_only=True)
class ReleaseFile:
    """One plain file. `path` is relative to the version's folder, with slashes; `source` is where it lies here."""

    path: str
    source: Path
    sha256: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Release:
    """All files of one version, sorted by path, `manifest.json` among them. A folder such as an .mlpackage is there as
    its files.
    """

    model: str
    manifest_sha256: str
    files: tuple[ReleaseFile, ...]

    @property
    def manifest(self) -> ReleaseFile:
        """The file that goes last: a version without it is not published."""
        return next(file for file in self.files if file.path == MANIFEST)


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """What publishing does with one file: `keep` where the very bytes are at the destination already."""

    file: ReleaseFile
    action: Literal["upload", "keep"]


@dataclass(frozen=True, kw_only=True)
class Published:
    """One whole version at a destination. `published` is the time in UTC, as 2026-01-31T12:00:00Z."""

    version: str
    manifest_sha256: str
    published: str
    files: int
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Index:
    """`index.json` of one model at a destination: which versions there are, in the order of publishing."""

    schema_version: int
    model: str
    latest: str
    versions: tuple[Published, ...]
