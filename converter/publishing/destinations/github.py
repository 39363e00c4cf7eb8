"""Releases on GitHub: a version of a model is a release with the tag `<model>-vN`, its files are assets.

Assets go to a draft, which nobody sees but those who may write, and stay there when a run ends early. The draft becomes
the release when all of them are there and their digests agree. Names of assets know no folders: `release.json` among
them says which is which file. GitHub takes no empty assets: an empty file is only listed.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converter.errors import PublishError
from converter.publishing.addresses import parse_address, version_number, without_secrets
from converter.publishing.github_client import LOGIN, connect, told
from converter.publishing.listing import (
    LISTING,
    Listing,
    listing_of,
    read_listing,
    require_bytes,
    require_source,
    taken,
    write_listing,
)
from converter.release import Published, Release, ReleaseFile, Transfer

SCHEMES = ("github",)
EXAMPLE = "github://acme/models: releases of a repository on GitHub"
REQUIRES = ("PyGithub",)
EXTRA = "github"

MOST_ASSETS = 1000
"""What GitHub takes in one release."""
_BINARY = "application/octet-stream"


@contextmanager
def open_destination(address: str, model: str) -> Iterator[GitHubReleases]:
    """The repository at that address, as GITHUB_TOKEN sees it; GITHUB_API_URL names a server of one's own."""
    place = parse_address(address, EXAMPLE.partition(": ")[0])
    if not place.host or not place.path or "/" in place.path:
        message = f"{without_secrets(address)}: expected github://owner/repository"
        raise PublishError(message)
    title = f"github://{place.host}/{place.path} (GitHub releases)"
    token = os.environ.get("GITHUB_TOKEN") or os.environ.get("GH_TOKEN")
    if not token:
        message = f"{title}: no token is given: {LOGIN}"
        raise PublishError(message)
    client = connect(token)
    try:
        with told(title):
            repository = client.get_repo(f"{place.host}/{place.path}")
        yield GitHubReleases(title=title, model=model, repository=repository)
    finally:
        client.close()


@dataclass(frozen=True, kw_only=True)
class GitHubReleases:
    """The releases of an opened repository, a `github.Repository.Repository`."""

    title: str
    model: str
    repository: Any

    def published(self) -> Sequence[Published]:
        """The model's releases that are no drafts, by their number."""
        return [self._listing(release).published for release in self._released().values()]

    def transfers(self, version: str, release: Release) -> Sequence[Transfer]:
        """A file is kept when the draft has an asset of its name, size and digest."""
        draft, names = self._draft(version), names_of(release)
        assets = self._assets(draft) if draft else {}
        return [
            Transfer(file=file, action="keep" if _is_same(assets.get(names[file.path]), file) else "upload")
            for file in release.files
        ]

    def upload(self, version: str, file: ReleaseFile) -> None:
        """Add an asset to the draft, which is made when there is none."""
        require_source(file)
        with self._told(file.path):
            draft = self._draft(version) or self._new_draft(version)
            with file.source.open("rb") as stream:
                self._add(draft, asset_name(file.path), stream, file)

    def finish(self, version: str, release: Release, published: Published) -> None:
        """Add the listing, look at what is there, and make the draft the release."""
        if self._is_there(version, published):
            return
        names = names_of(release)
        draft = self._draft(version) or self._new_draft(version)
        with self._told(f"release {self._tag(version)}"):
            self._add_listing(draft, listing_of(release, published, names))
            self._require_arrived(draft, release, names)
            text = f"{self.model} {version}: {published.files} files, manifest {published.manifest_sha256}"
            draft.update_release(
                f"{self.model} {version}",
                text,
                draft=False,
                tag_name=self._tag(version),
                make_latest=self._make_latest(),
            )

    def read(self, version: str, path: str) -> bytes:
        """An asset of the release, found by the listing."""
        released = self._released()
        if version not in released:
            message = (
                f"{self.title}: there is no release {self._tag(version)}; versions: {', '.join(released) or 'none'}"
            )
            raise PublishError(message)
        listed = self._listing(released[version]).file(path, self.title)
        asset = self._assets(released[version]).get(listed.stored_as)
        data = self._download(asset) if asset else b""
        return require_bytes(data, listed.sha256, f"{self.title}: {path} of {version}")

    def _tag(self, version: str) -> str:
        return f"{self.model}-{version}"

    def _released(self) -> dict[str, Any]:
        """The releases of this model by version, in the order of their numbers."""
        prefix = f"{self.model}-"
        with self._told("its releases"):
            ours = [one for one in self.repository.get_releases() if not one.draft and one.tag_name.startswith(prefix)]
        versions = {one.tag_name.removeprefix(prefix): one for one in ours}
        return {name: versions[name] for name in sorted(filter(version_number, versions), key=version_number)}

    def _draft(self, version: str) -> Any | None:
        with self._told("its drafts"):
            drafts = [one for one in self.repository.get_releases() if one.draft and one.tag_name == self._tag(version)]
        return drafts[0] if drafts else None

    def _new_draft(self, version: str) -> Any:
        """The draft. It says what it is, for who finds it after a run that ended early."""
        text = "A release that mcconvert is publishing: run it again to go on, or delete this draft to give up."
        with self._told(f"the draft of {self._tag(version)}"):
            return self.repository.create_git_release(self._tag(version), f"{self.model} {version}", text, draft=True)

    def _assets(self, release: Any) -> dict[str, Any]:
        with self._told("its assets"):
            return {one.name: one for one in release.get_assets()}

    def _add(self, draft: Any, name: str, stream: Any, file: ReleaseFile) -> None:
        """Replace the asset unless it is the same, and compare what GitHub says of it."""
        there = self._assets(draft).get(name)
        if _is_same(there, file):
            return
        if there is not None:
            there.delete_asset()
        if file.size_bytes == 0:
            return
        made = draft.upload_asset_from_memory(stream, file.size_bytes, name, _BINARY)
        if not _is_same(made, file, without_digest=True):
            made.delete_asset()
            message = f"{self.title}: {file.path} arrived as {made.name}, {made.size} bytes, {made.digest}; run again"
            raise PublishError(message)

    def _add_listing(self, draft: Any, listing: Listing) -> None:
        there = self._assets(draft).get(LISTING)
        if there is not None:
            there.delete_asset()
        data = write_listing(listing)
        with tempfile.TemporaryFile() as stream:
            stream.write(data)
            stream.seek(0)
            draft.upload_asset_from_memory(stream, len(data), LISTING, _BINARY)

    def _require_arrived(self, draft: Any, release: Release, names: Mapping[str, str]) -> None:
        """Every file and nothing else is there; what an earlier try of other files left is taken away."""
        assets = self._assets(draft)
        wrong = [
            one.path for one in release.files if not _is_same(assets.get(names[one.path]), one, without_digest=True)
        ]
        if wrong:
            message = f"{self.title}: not there as they left: {', '.join(wrong[:3])}; nothing was published; run again"
            raise PublishError(message)
        kept = {names[file.path] for file in release.files if file.size_bytes} | {LISTING}
        for name, asset in assets.items():
            if name not in kept:
                asset.delete_asset()

    def _is_there(self, version: str, published: Published) -> bool:
        """Whether that very version was released before, as when the answer was lost."""
        released = self._released().get(version)
        if released is not None:
            if self._listing(released).published.manifest_sha256 == published.manifest_sha256:
                return True
            raise taken(self.title, version)
        with self._told("its tags"):
            tags = [one.ref for one in self.repository.get_git_matching_refs(f"tags/{self._tag(version)}")]
        if f"refs/tags/{self._tag(version)}" in tags:
            message = (
                f"{self.title}: a tag {self._tag(version)} without a release is there; delete it or name another place"
            )
            raise PublishError(message)
        return False

    def _make_latest(self) -> str:
        """Never take "latest" from a release that is not ours, such as one of the repository's own code."""
        import github

        try:
            latest = self.repository.get_latest_release()
            return "true" if LISTING in [one.name for one in latest.get_assets()] else "false"
        except github.UnknownObjectException:
            return "true"

    def _listing(self, release: Any) -> Listing:
        asset = self._assets(release).get(LISTING)
        if asset is None:
            message = f"{self.title}: its release {release.tag_name} has no {LISTING}, so it is not one of mcconvert"
            raise PublishError(message)
        return read_listing(self._download(asset), self.title, self.model)

    def _download(self, asset: Any) -> bytes:
        with self._told(asset.name), tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "asset"
            asset.download_asset(str(file), chunk_size=1 << 20)
            return file.read_bytes()

    def _told(self, what: str) -> Any:
        return told(f"{self.title}: {what}")


def asset_name(path: str) -> str:
    """A path as a name that GitHub leaves as it is; not always reversible, `release.json` has both."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", path.replace("/", "--"))


def names_of(release: Release) -> dict[str, str]:
    """The name of each file's asset.

    Raises:
        PublishError: two files would have the same name, or there are more than GitHub takes.
    """
    names = {file.path: asset_name(file.path) for file in release.files}
    if len(set(names.values()) | {LISTING}) <= len(names):
        message = f"two of these files would be one asset of a GitHub release: {', '.join(sorted(names))}"
        raise PublishError(message)
    if len(names) >= MOST_ASSETS:
        message = (
            f"{len(names)} files, and a GitHub release takes {MOST_ASSETS - 1} and their listing; publish elsewhere"
        )
        raise PublishError(message)
    return names


def _is_same(asset: Any, file: ReleaseFile, *, without_digest: bool = False) -> bool:
    """Whether an asset is whole and these very bytes; older servers tell no digest, which must not pass for one."""
    if file.size_bytes == 0:
        return asset is None
    if asset is None or asset.state != "uploaded" or asset.size != file.size_bytes:
        return False
    if asset.name != asset_name(file.path):
        return False
    return asset.digest == f"sha256:{file.sha256}" or (without_digest and asset.digest is None)
