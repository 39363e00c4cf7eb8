"""The model hub: a version is a commit with the model's files at the root, its tag is `vN`.

`latest` is the main branch. Large files are sent one by one before the commit, and those that the hub has are not sent
again; the commit takes all files or none, on top of the commit that was looked at. A repository holds one model.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converter.errors import PublishError
from converter.publishing.addresses import cause_of, parse_address, version_number, without_secrets
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
from converter.release import Published, Release, ReleaseFile, Transfer

SCHEMES = ("hf",)
EXAMPLE = "hf://acme/mobileclip_s1: a model repository on the hub"
REQUIRES = ("huggingface-hub",)
EXTRA = ""

_MAIN = "main"
_TRIES = 3
"""Commits before we give in to someone who keeps moving the branch."""
_MOVED = (409, 412)
_LOGIN = "'hf auth login', or HF_TOKEN, gives a token that may write there"


@contextmanager
def open_destination(address: str, model: str) -> Iterator[HubRepository]:
    """The repository at that address; the hub is asked nothing yet. `HF_ENDPOINT` names another hub."""
    from huggingface_hub import HfApi
    from huggingface_hub.utils import disable_progress_bars

    place = parse_address(address, EXAMPLE.partition(": ")[0])
    if not place.host or not place.path or "/" in place.path or "@" in place.path:
        message = f"{without_secrets(address)}: expected hf://owner/name"
        raise PublishError(message)
    disable_progress_bars()
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)
    repository = f"{place.host}/{place.path}"
    yield HubRepository(title=f"hf://{repository} (hub)", model=model, api=api, repository=repository)


@dataclass(frozen=True, kw_only=True)
class HubRepository:
    """An opened repository. `api` is a `huggingface_hub.HfApi`."""

    title: str
    model: str
    api: Any
    repository: str

    def published(self) -> Sequence[Published]:
        """Every tag `vN`, by its number."""
        return [listing.published for listing in self._listings(self._checked())]

    def transfers(self, version: str, release: Release) -> Sequence[Transfer]:
        """A file is kept when an earlier version has its bytes."""
        return transfers_beside(self._listings(self._checked()), release)

    def upload(self, version: str, file: ReleaseFile) -> None:
        """Send what the hub takes as a large file, unless it has it; small files go with the commit of `finish`."""
        from huggingface_hub import CommitOperationAdd

        require_source(file)
        with self._told(file.path):
            self.api.create_repo(self.repository, private=True, exist_ok=True)
            addition = CommitOperationAdd(path_in_repo=file.path, path_or_fileobj=str(file.source))
            self.api.preupload_lfs_files(self.repository, additions=[addition], revision=_MAIN)

    def finish(self, version: str, release: Release, published: Published) -> None:
        """Commit, look at what the hub has of it, and tag."""
        refs = self._checked()
        if version in refs:
            self._require_same(version, published)
            return
        head = self._main_listing(refs)
        if head and (head.published.version, head.published.manifest_sha256) == (version, release.manifest_sha256):
            commit = refs[_MAIN]  # a run ended between commit and tag
        else:
            commit = self._commit(version, release, published)
        self._require_arrived(commit, release)
        with self._told(f"tag {version}"):
            self.api.create_tag(self.repository, tag=version, revision=commit, tag_message=f"{release.model} {version}")

    def read(self, version: str, path: str) -> bytes:
        """A file of the tag, compared with its listing."""
        refs = self._checked()
        if version not in refs:
            message = f"{self.title}: there is no version {version}; branches and tags: {', '.join(refs) or 'none'}"
            raise PublishError(message)
        listed = self._listing(version).file(path, self.title)
        return require_bytes(self._file(version, path) or b"", listed.sha256, f"{self.title}: {path} of {version}")

    def _refs(self) -> dict[str, str]:
        """The commits of the main branch and of the tags; empty when there is no repository yet, or none for us."""
        from huggingface_hub.errors import RepositoryNotFoundError

        with self._told("its branches and tags"):
            try:
                refs = self.api.list_repo_refs(self.repository)
            except RepositoryNotFoundError as error:
                if error.response is not None and error.response.status_code == 401:
                    raise
                return {}
        return {one.name: one.target_commit for one in [*refs.branches, *refs.tags]}

    def _checked(self) -> dict[str, str]:
        """The refs, of a repository that is ours or empty."""
        refs = self._refs()
        if refs and self._main_listing(refs) is None:
            require_room(self._there(refs[_MAIN]), self.title)
        return refs

    def _main_listing(self, refs: Mapping[str, str]) -> Listing | None:
        data = self._file(refs[_MAIN], LISTING) if _MAIN in refs else None
        return read_listing(data, self.title, self.model) if data else None

    def _listings(self, refs: Mapping[str, str]) -> list[Listing]:
        return [self._listing(tag) for tag in sorted(filter(version_number, refs), key=version_number)]

    def _listing(self, version: str) -> Listing:
        data = self._file(version, LISTING)
        if data is None:
            message = (
                f"{self.title}: its tag {version} is no release of mcconvert; name a repository of the model's own"
            )
            raise PublishError(message)
        return read_listing(data, self.title, self.model)

    def _file(self, revision: str, path: str) -> bytes | None:
        """The bytes of a file, past the client's cache: they are to be those that are there now."""
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        with tempfile.TemporaryDirectory() as folder, self._told(path):
            try:
                file = self.api.hf_hub_download(self.repository, path, revision=revision, cache_dir=folder)
            except LocalEntryNotFoundError:  # there was no answer; the client looked into the empty cache
                raise
            except EntryNotFoundError:
                return None
            return Path(file).read_bytes()

    def _there(self, revision: str) -> dict[str, Any]:
        """All files of a revision, as the hub describes them."""
        with self._told("its files"):
            found = self.api.list_repo_tree(self.repository, recursive=True, revision=revision)
            return {one.path: one for one in found if hasattr(one, "blob_id")}

    def _require_same(self, version: str, published: Published) -> None:
        if self._listing(version).published.manifest_sha256 != published.manifest_sha256:
            raise taken(self.title, version)

    def _commit(self, version: str, release: Release, published: Published) -> str:
        """All files in one commit; when others moved the branch meanwhile, once more on top of theirs."""
        from huggingface_hub.errors import HfHubHTTPError

        for tried in range(1, _TRIES + 1):
            refs = self._checked()
            if version in refs:
                raise taken(self.title, version)
            operations = self._operations(refs, release, published)
            with self._told("the commit"):
                try:
                    made = self.api.create_commit(
                        self.repository, operations, commit_message=f"{release.model} {version}", revision=_MAIN,
                        parent_commit=refs[_MAIN],
                    )  # fmt: skip
                except HfHubHTTPError as error:
                    if error.response.status_code not in _MOVED or tried == _TRIES:
                        raise
                else:
                    return str(made.oid)
        raise AssertionError

    def _operations(self, refs: Mapping[str, str], release: Release, published: Published) -> list[Any]:
        """The files, the listing, and the end of what the version before had beyond them."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        for file in release.files:
            require_source(file)
        there, before = self._there(refs[_MAIN]), self._main_listing(refs)
        if ".gitignore" in there:
            message = f"{self.title} holds a .gitignore, by which the hub leaves files out of a commit: delete it there"
            raise PublishError(message)
        ours = {file.path for file in release.files} | {LISTING}
        gone = [one.path for one in (before.files if before else ()) if one.path not in ours and one.path in there]
        listing = write_listing(listing_of(release, published))
        return [
            *(CommitOperationAdd(path_in_repo=one.path, path_or_fileobj=str(one.source)) for one in release.files),
            CommitOperationAdd(path_in_repo=LISTING, path_or_fileobj=listing),
            *(CommitOperationDelete(path_in_repo=path, is_folder=False) for path in gone),
        ]

    def _require_arrived(self, commit: str, release: Release) -> None:
        """Compare what the hub says of each file with what it is here, before a tag names it."""
        there = self._there(commit)
        wrong = [file.path for file in release.files if not _is_same(there.get(file.path), file)]
        if wrong:
            message = (
                f"{self.title}: of {len(release.files)} files {len(wrong)} are not there as they left: "
                f"{', '.join(wrong[:3])}; no version was tagged; run again"
            )
            raise PublishError(message)

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """What the client raises, as a refusal that says what to do."""
        from huggingface_hub import errors

        try:
            yield
        except errors.OfflineModeIsEnabled as error:
            message = f"{self.title}: the hub's client is told to stay offline: unset HF_HUB_OFFLINE to publish"
            raise PublishError(message) from error
        except (OSError, ValueError, RuntimeError, errors.HTTPError) as error:
            message = f"{self.title}: {what}: {_explained(error, self.api.endpoint)}"
            raise PublishError(without_secrets(message)) from error


def _is_same(there: Any, file: ReleaseFile) -> bool:
    if there is None or there.size != file.size_bytes:
        return False
    if there.lfs is not None:
        return bool(there.lfs.sha256 == file.sha256)
    data = file.source.read_bytes()
    return bool(there.blob_id == hashlib.sha1(f"blob {len(data)}\0".encode() + data, usedforsecurity=False).hexdigest())


def _explained(error: BaseException, endpoint: str) -> str:
    """What was seen and what to do, from the innermost failure that the client wrapped."""
    chain = [error]
    while (inner := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(inner)
    status = _status(chain)
    if status in (401, 403):
        return f"{endpoint} answered {status}: the token is missing or may not write; {_LOGIN}"
    if status in _MOVED:
        return f"{endpoint} answered {status}: someone else keeps changing the repository; run again"
    if status:
        said = getattr(error, "server_message", None) or cause_of(error)
        return f"{endpoint} answered {status} ({said}); the same command sends only what is missing"
    return f"no answer from {endpoint} ({cause_of(chain[-1])}); when there is one, the same command goes on"


def _status(chain: Iterable[BaseException]) -> int:
    answers = [getattr(one, "response", None) for one in chain]
    return next((one.status_code for one in answers if one is not None), 0)
