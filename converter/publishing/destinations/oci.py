"""An OCI registry: a version is an artifact, its files are blobs, its tag is `vN`.

Blobs are found by their digest, so one that arrived is never sent again, and nothing shows before the manifest of the
artifact is put under its tag. A repository holds one model.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from converter.errors import PublishError
from converter.publishing.addresses import cause_of, parse_address, version_number, without_secrets
from converter.publishing.listing import require_bytes, require_model, taken
from converter.publishing.registry import Registry, connect, login
from converter.release import LATEST, Published, Release, ReleaseFile, Transfer

SCHEMES = ("oci",)
EXAMPLE = "oci://ghcr.io/acme/mobileclip_s1: a repository of an OCI registry, for one model"
REQUIRES = ("oras",)
EXTRA = "oci"

ARTIFACT = "application/vnd.mcconvert.release.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
FILE = "application/octet-stream"
TITLE = "org.opencontainers.image.title"
VERSION = "org.opencontainers.image.version"
CREATED = "org.opencontainers.image.created"
MODEL = "dev.mcconvert.model"
MANIFEST_SHA256 = "dev.mcconvert.manifest.sha256"

_PAGE = 100
"""Tags asked for at once."""
_EMPTY = b"{}"
_EMPTY_TYPE = "application/vnd.oci.empty.v1+json"


@contextmanager
def open_destination(address: str, model: str) -> Iterator[OciRepository]:
    """The repository at that address; the registry is asked whether it lets us in."""
    place = parse_address(address, EXAMPLE.partition(": ")[0])
    if not place.host or not place.path or ":" in place.path or "@" in place.path:
        message = f"{without_secrets(address)}: expected oci://host[:port]/repository, without a tag"
        raise PublishError(message)
    title = f"oci://{place.host}/{place.path} (OCI registry)"
    with _told(title):
        registry = connect(place)
    try:
        yield OciRepository(title=title, model=model, registry=registry)
    finally:
        registry.close()


@dataclass(frozen=True, kw_only=True)
class OciRepository:
    """An opened repository."""

    title: str
    model: str
    registry: Registry

    def published(self) -> Sequence[Published]:
        """Every tag `vN`, by its number."""
        versions = sorted(filter(version_number, self._tags()), key=version_number)
        return [self._described(version, self._manifest(version)) for version in versions]

    def transfers(self, version: str, release: Release) -> Sequence[Transfer]:
        """A file is kept when the repository has a blob of its digest."""
        return [Transfer(file=file, action="keep" if self._has(file) else "upload") for file in release.files]

    def upload(self, version: str, file: ReleaseFile) -> None:
        """Send one blob, streamed; the registry itself compares its digest."""
        with file.source.open("rb") as stream:
            self._send(stream, f"sha256:{file.sha256}", file.size_bytes, file.path)

    def finish(self, version: str, release: Release, published: Published) -> None:
        """Put the artifact's manifest under the version's tag, then under `latest`.

        The protocol has no "put if absent": of two that finish the same version within the same second, the later wins
        the tag, and the former is told.
        """
        self._send(io.BytesIO(_EMPTY), _digest(_EMPTY), len(_EMPTY), "the empty configuration")
        data = self._settled(version, published)
        if data is None:
            data = _manifest_of(release, published)
            self._put(version, data)
            self._require_ours(version, data)
        self._put(LATEST, data)

    def read(self, version: str, path: str) -> bytes:
        """A layer, found by its title."""
        layers = self._object(self._manifest(version), version).get("layers") or []
        for layer in layers:
            if (layer.get("annotations") or {}).get(TITLE) == path:
                return self._blob(layer["digest"], f"{path} of {version}")
        message = f"{self.title}: {version} has no file {path}; it has {len(layers)} others"
        raise PublishError(message)

    def _tags(self) -> list[str]:
        """All pages of the list of tags; a repository that is not there yet has none."""
        found: list[str] = []
        url = self.registry.url(f"tags/list?n={_PAGE}")
        while url:
            answer = self._ask("the list of tags", {200, 404}, "GET", url)
            found += (self._object(answer.content, url).get("tags") or []) if answer.status_code == 200 else []
            url = answer.links.get("next", {}).get("url", "")
        return found

    def _manifest(self, version: str) -> bytes:
        url = self.registry.url(f"manifests/{version}")
        answer = self._ask(f"version {version}", {200, 404}, "GET", url, Accept=MANIFEST)
        if answer.status_code == 200:
            return bytes(answer.content)
        message = f"{self.title}: there is no version {version}; tags: {', '.join(self._tags()) or 'none'}"
        raise PublishError(message)

    def _described(self, version: str, data: bytes) -> Published:
        manifest = self._object(data, version)
        notes, layers = manifest.get("annotations") or {}, manifest.get("layers") or []
        if manifest.get("artifactType") != ARTIFACT:
            message = (
                f"{self.title}: its tag {version} is no release of mcconvert; name a repository of the model's own"
            )
            raise PublishError(message)
        require_model(notes.get(MODEL, ""), self.model, self.title)
        return Published(
            version=version, manifest_sha256=notes.get(MANIFEST_SHA256, ""), published=notes.get(CREATED, ""),
            files=len(layers), size_bytes=sum(layer["size"] for layer in layers),
        )  # fmt: skip

    def _settled(self, version: str, published: Published) -> bytes | None:
        """The manifest that the tag has already, when it is of these very files: only `latest` is left to point."""
        if version not in self._tags():
            return None
        data = self._manifest(version)
        if self._described(version, data).manifest_sha256 == published.manifest_sha256:
            return data
        raise taken(self.title, version)

    def _require_ours(self, version: str, data: bytes) -> None:
        if self._manifest(version) != data:
            raise taken(self.title, version)

    def _has(self, file: ReleaseFile) -> bool:
        url = self.registry.url(f"blobs/sha256:{file.sha256}")
        return bool(self._ask(file.path, {200, 404}, "HEAD", url).status_code == 200)

    def _send(self, stream: Any, digest: str, size_bytes: int, what: str) -> None:
        """POST for a place, PUT the bytes there: what every registry takes, in constant memory."""
        started = self._ask(what, {202}, "POST", self.registry.url("blobs/uploads/"), Content_Length="0")
        place = started.headers["Location"]
        whole = f"{place}{'&' if '?' in place else '?'}digest={digest}"
        data = stream if size_bytes else b""
        self._ask(what, {201}, "PUT", whole, data, Content_Type=FILE, Content_Length=str(size_bytes))

    def _put(self, tag: str, data: bytes) -> None:
        self._ask(f"tag {tag}", {201}, "PUT", self.registry.url(f"manifests/{tag}"), data, Content_Type=MANIFEST)

    def _blob(self, digest: str, what: str) -> bytes:
        answer = self._ask(what, {200}, "GET", self.registry.url(f"blobs/{digest}"))
        return require_bytes(bytes(answer.content), digest.removeprefix("sha256:"), f"{self.title}: {what}")

    def _object(self, data: bytes, what: str) -> dict[str, Any]:
        """The JSON object that an answer holds; a proxy's page with status 200 is none."""
        try:
            found = json.loads(data)
        except ValueError:
            found = None
        if isinstance(found, dict):
            return found
        message = f"{self.title}: {what} was answered {data[:60]!r}, expected a JSON object: is that a registry?"
        raise PublishError(message)

    def _ask(self, what: str, expected: set[int], method: str, url: str, data: Any = None, **headers: str) -> Any:
        """One request about `what`, its answer of an expected status."""
        with _told(f"{self.title}: {what}"):
            answer = self.registry.ask(method, url, data, **headers)
        if answer.status_code in expected:
            return answer
        advice = login(self.registry.host) if answer.status_code in (401, 403) else _advice(answer.status_code)
        message = f"{self.title}: {what}: {method} was answered {answer.status_code} {_reason(answer)}; {advice}"
        raise PublishError(without_secrets(message))


def _manifest_of(release: Release, published: Published) -> bytes:
    layers = [
        {
            "mediaType": FILE, "digest": f"sha256:{file.sha256}", "size": file.size_bytes,
            "annotations": {TITLE: file.path},
        }
        for file in release.files
    ]  # fmt: skip
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": ARTIFACT,
        "config": {"mediaType": _EMPTY_TYPE, "digest": _digest(_EMPTY), "size": len(_EMPTY)},
        "layers": layers,
        "annotations": {
            TITLE: release.model, VERSION: published.version, CREATED: published.published,
            MODEL: release.model, MANIFEST_SHA256: release.manifest_sha256,
        },
    }  # fmt: skip
    return json.dumps(manifest, indent=2).encode() + b"\n"


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _reason(answer: Any) -> str:
    """What the registry says of its refusal: the codes of its JSON, or the status in words."""
    try:
        errors = answer.json()["errors"]
        return ", ".join(f"{one['code']} ({one['message']})" for one in errors)
    except (ValueError, KeyError, TypeError):
        return str(answer.reason)


def _advice(status: int) -> str:
    if status == 405:
        return "it takes no uploads now (read-only): publish again when it does"
    if status >= 500:
        return "that is the registry's own failure: when it is mended, the same command sends only what is missing"
    return "the same command sends only what is missing"


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Failures of the network and of files here as refusals that say what to do."""
    import requests

    try:
        yield
    except requests.RequestException as error:
        message = (
            f"{what}: no answer ({cause_of(error)}); when there is one, the same command sends only what is missing"
        )
        raise PublishError(message) from error
