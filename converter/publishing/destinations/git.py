"""A git repository: a version is a commit with the model's files at the root, its annotated tag is `vN`.

`latest` is the main branch. One push moves branch and tag, both or neither, and only forwards. A repository holds one
model; files of others, such as a licence, stay where they are. Large files go through git-lfs, one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from converter.errors import PublishError
from converter.publishing.addresses import parse_address, version_number, without_secrets
from converter.publishing.large_files import ATTRIBUTES, attributes, is_large, is_pointer, pointer, send_large
from converter.publishing.listing import (
    LISTING,
    Listing,
    listing_of,
    read_listing,
    require_bytes,
    require_room,
    require_source,
    taken,
    transfers_beside,
    write_listing,
)
from converter.publishing.repository import Entry, Refs, Rejected, Repository, open_repository
from converter.release import Published, Release, ReleaseFile, Transfer

SCHEMES = ("git+ssh", "git+https", "git+file")
EXAMPLE = "git+ssh://git@example.org/acme/mobileclip_s1.git: a git repository, for one model"
REQUIRES: tuple[str, ...] = ()
EXTRA = ""

_TRIES = 3
"""Pushes before we give in to someone who keeps moving the branch."""


@contextmanager
def open_destination(address: str, model: str) -> Iterator[GitRepository]:
    """The repository at that address; nothing is asked of it yet."""
    place = parse_address(address, EXAMPLE.partition(": ")[0], user_allowed=address.startswith("git+ssh://"))
    if not place.path or (place.scheme != "git+file" and not place.host):
        message = f"{without_secrets(address)}: expected {EXAMPLE.partition(': ')[0]}, or git+file:///path/of/it.git"
        raise PublishError(message)
    with open_repository(address.removeprefix("git+")) as repository:
        title = f"{without_secrets(address.removeprefix('git+'))} (git)"
        yield GitRepository(title=title, model=model, repository=repository)


@dataclass(frozen=True, kw_only=True)
class GitRepository:
    """An opened repository."""

    title: str
    model: str
    repository: Repository

    def published(self) -> Sequence[Published]:
        """Every tag `vN`, by its number."""
        return [listing.published for listing in self._listings(self._fetched())]

    def transfers(self, version: str, release: Release) -> Sequence[Transfer]:
        """A file is kept when an earlier version has its bytes."""
        return transfers_beside(self._listings(self._fetched()), release)

    def upload(self, version: str, file: ReleaseFile) -> None:
        """A large file is sent; another is made ready here, and goes with the one push of `finish`."""
        if is_large(file):
            require_source(file)
            send_large(self.repository, file)
        else:
            self._kept(file)

    def finish(self, version: str, release: Release, published: Published) -> None:
        """Commit, tag and push; when others moved the branch meanwhile, do so again on top of theirs."""
        for _ in range(_TRIES):
            refs = self._fetched()
            if self._is_there(refs, version, published):
                return
            try:
                self.repository.push(*self._updates(refs, version, release, published))
            except Rejected as rejected:
                reason = rejected
            else:
                return
        message = f"{self.title}: the branch moved during each of {_TRIES} pushes ({reason}); run again"
        raise PublishError(message)

    def read(self, version: str, path: str) -> bytes:
        """A file of the tag, compared with its listing."""
        refs = self._fetched()
        if version not in refs.tags:
            message = f"{self.title}: there is no version {version}; tags: {', '.join(sorted(refs.tags)) or 'none'}"
            raise PublishError(message)
        listed = self._listing(version).file(path, self.title)
        data = self._file(f"refs/tags/{version}", path) or b""
        if is_pointer(data):
            message = f"{self.title}: {path} of {version} is kept by git-lfs: 'git clone' of the repository brings it"
            raise PublishError(message)
        return require_bytes(data, listed.sha256, f"{self.title}: {path} of {version}")

    def _fetched(self) -> Refs:
        """What the remote has now; refuse one that is used for something else."""
        refs = self.repository.refs()
        self.repository.fetch(refs)
        if refs.head:
            listing = self._file(refs.branch, LISTING)
            if listing is None:
                require_room((one.path for one in self.repository.files(refs.branch)), self.title)
            else:
                read_listing(listing, self.title, self.model)
        return refs

    def _listings(self, refs: Refs) -> list[Listing]:
        return [self._listing(tag) for tag in sorted(filter(version_number, refs.tags), key=version_number)]

    def _listing(self, version: str) -> Listing:
        data = self._file(f"refs/tags/{version}", LISTING)
        if data is None:
            message = (
                f"{self.title}: its tag {version} is no release of mcconvert; name a repository of the model's own"
            )
            raise PublishError(message)
        return read_listing(data, self.title, self.model)

    def _file(self, commit: str, path: str) -> bytes | None:
        found = [one.oid for one in self.repository.files(commit) if one.path == path]
        return self.repository.read(found[0]) if found else None

    def _is_there(self, refs: Refs, version: str, published: Published) -> bool:
        """Whether that very version arrived before, as when the answer to a push was lost."""
        if version not in refs.tags:
            return False
        if self._listing(version).published.manifest_sha256 == published.manifest_sha256:
            return True
        raise taken(self.title, version)

    def _updates(self, refs: Refs, version: str, release: Release, published: Published) -> list[tuple[str, str]]:
        entries, date = self._entries(refs, release, published), published.published
        message = f"{release.model} {version}\n\nManifest-sha256: {release.manifest_sha256}"
        commit = self.repository.commit(entries, refs.head, message, date)
        tag = self.repository.tag(version, commit, message, date)
        return [(commit, refs.branch), (tag, f"refs/tags/{version}")]

    def _entries(self, refs: Refs, release: Release, published: Published) -> list[Entry]:
        """The files of others, without what the version before listed, and ours."""
        there = self.repository.files(refs.branch) if refs.head else []
        before = self._file(refs.branch, LISTING) if refs.head else None
        old = {one.path for one in read_listing(before, self.title, self.model).files} if before else set()
        ours = {file.path: self._kept(file) for file in release.files}
        marked = attributes(self._attributes(refs), (file.path for file in release.files if is_large(file)))
        ours[ATTRIBUTES] = self.repository.keep(marked)
        ours[LISTING] = self.repository.keep(write_listing(listing_of(release, published)))
        others = [one for one in there if one.path not in old | set(ours)]
        return [*others, *(Entry(mode="100644", oid=oid, path=path) for path, oid in ours.items())]

    def _attributes(self, refs: Refs) -> str:
        found = self._file(refs.branch, ATTRIBUTES) if refs.head else None
        return (found or b"").decode(errors="replace")

    def _kept(self, file: ReleaseFile) -> str:
        """The file, or its pointer, in the copy here; its name in git."""
        if is_large(file):
            return self.repository.keep(pointer(file))
        require_source(file)
        return self.repository.keep(file.source.read_bytes())
