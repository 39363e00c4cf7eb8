"""The endpoints of GitHub that its usual client calls for releases, over bytes that are really kept.

As there: drafts show only in the list, names of assets are cleaned, empty ones refused, an asset cut off midway stays
behind as a "starter", a tag has one release, and downloads are redirected.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import Any

from tests.publishing.destinations.serving import Answer, Request

REPOSITORY = "acme/models"
PAGE = 3
"""Releases at once, so that few make more than a page."""


@dataclass
class GitHub:
    """One server with one repository. `digests` says whether it tells the hash of an asset."""

    writers: set[str]
    url: str = ""
    digests: bool = True
    cuts: dict[str, int] = field(default_factory=dict)
    fails: dict[str, Answer] = field(default_factory=dict)
    """Answer by "METHOD /path": what such a request gets instead."""
    asked: list[str] = field(default_factory=list)
    releases: dict[int, dict[str, Any]] = field(default_factory=dict)
    assets: dict[int, dict[str, Any]] = field(default_factory=dict)
    stored: dict[int, bytes] = field(default_factory=dict)
    tags: set[str] = field(default_factory=set)
    latest: int = 0
    numbers: int = 0

    def answer(self, request: Request) -> Answer:
        """By who asks, then by what is asked."""
        line = f"{request.method} {request.path}"
        self.asked.append(line)
        for text, answer in self.fails.items():
            if text in line:
                return answer
        if request.headers.get("authorization", "").removeprefix("token ") not in self.writers:
            return Answer(status=401, body={"message": "Bad credentials"})
        for pattern, method in ROUTES:
            if match := re.fullmatch(pattern, line):
                return method(self, request, *match.groups())
        return Answer(status=404, body={"message": "Not Found"})

    def repository(self, request: Request) -> Answer:
        """The repository itself."""
        return Answer(body={"full_name": REPOSITORY, "name": "models", "url": f"{self.url}/api/v3/repos/{REPOSITORY}"})

    def listed(self, request: Request) -> Answer:
        """All releases, the newest first, in pages."""
        found = [self._release(one) for one in sorted(self.releases, reverse=True)]
        size, page = min(PAGE, int(request.query.get("per_page", 30))), int(request.query.get("page", 1))
        more = f'<{self.url}{request.path}?per_page={size}&page={page + 1}>; rel="next"'
        links = {"Link": more} if page * size < len(found) else {}
        return Answer(body=found[(page - 1) * size : page * size], headers=links)

    def create(self, request: Request) -> Answer:
        """A new release, most often a draft."""
        asked = request.json()
        if not asked["draft"] and asked["tag_name"] in self.tags:
            return self._taken()
        self.numbers += 1
        self.releases[self.numbers] = {key: asked.get(key) for key in ("tag_name", "name", "body", "draft")}
        return Answer(status=201, body=self._release(self.numbers))

    def update(self, request: Request, number: str) -> Answer:
        """A draft becomes a release, and its tag is made."""
        asked, release = request.json(), self.releases[int(number)]
        others = [one for key, one in self.releases.items() if key != int(number) and not one["draft"]]
        if not asked["draft"] and asked["tag_name"] in [one["tag_name"] for one in others]:
            return self._taken()
        release |= {key: asked[key] for key in ("tag_name", "name", "body", "draft")}
        if not asked["draft"]:
            self.tags.add(asked["tag_name"])
            self.latest = int(number) if asked.get("make_latest") == "true" else self.latest
        return Answer(body=self._release(int(number)))

    def newest(self, request: Request) -> Answer:
        """The one that is shown as the latest."""
        return (
            Answer(body=self._release(self.latest))
            if self.latest
            else Answer(status=404, body={"message": "Not Found"})
        )

    def assets_of(self, request: Request, number: str) -> Answer:
        """All assets of a release."""
        return Answer(body=[self._asset(one) for one, asset in self.assets.items() if asset["release"] == int(number)])

    def add(self, request: Request, number: str) -> Answer:
        """A new asset, by a clean name that is not taken."""
        name = re.sub(r"[^A-Za-z0-9._-]", ".", request.query["name"])
        if not request.body:
            return Answer(status=400, body={"message": "Bad Content-Length"})
        if name in [one["name"] for one in self.assets.values() if one["release"] == int(number)]:
            error = {"resource": "ReleaseAsset", "code": "already_exists", "field": "name"}
            return Answer(status=422, body={"message": "Validation Failed", "errors": [error]})
        return Answer(status=201, body=self._asset(self.store(int(number), name, request.body)))

    def store(self, release: int, name: str, data: bytes, state: str = "uploaded") -> int:
        """Keep an asset."""
        self.numbers += 1
        self.assets[self.numbers] = {"release": release, "name": name, "state": state}
        self.stored[self.numbers] = data
        return self.numbers

    def delete(self, request: Request, number: str) -> Answer:
        """An asset is no more."""
        del self.assets[int(number)], self.stored[int(number)]
        return Answer(status=204)

    def asset(self, request: Request, number: str) -> Answer:
        """Where the bytes of an asset are."""
        return Answer(status=302, headers={"Location": f"{self.url}/api/storage/{number}"})

    def storage(self, request: Request, number: str) -> Answer:
        """The bytes of an asset."""
        return Answer(body=self.stored[int(number)], headers={"Content-Type": "application/octet-stream"})

    def refs(self, request: Request, tag: str) -> Answer:
        """Tags that begin so."""
        return Answer(body=[{"ref": f"refs/tags/{one}"} for one in sorted(self.tags) if one.startswith(tag)])

    def files(self, tag: str) -> dict[str, bytes]:
        """The assets of a published release."""
        number = next(key for key, one in self.releases.items() if one["tag_name"] == tag and not one["draft"])
        return {one["name"]: self.stored[key] for key, one in self.assets.items() if one["release"] == number}

    def _release(self, number: int) -> dict[str, Any]:
        base = f"{self.url}/api/v3/repos/{REPOSITORY}/releases/{number}"
        upload = f"{self.url}/api/uploads/repos/{REPOSITORY}/releases/{number}/assets{{?name,label}}"
        return self.releases[number] | {"id": number, "url": base, "upload_url": upload}

    def _asset(self, number: int) -> dict[str, Any]:
        data, one = self.stored[number], self.assets[number]
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}" if self.digests and one["state"] == "uploaded" else None
        url = f"{self.url}/api/v3/repos/{REPOSITORY}/releases/assets/{number}"
        return {
            "id": number,
            "url": url,
            "name": one["name"],
            "state": one["state"],
            "size": len(data),
            "digest": digest,
        }

    def _taken(self) -> Answer:
        error = {"resource": "Release", "code": "already_exists", "field": "tag_name"}
        return Answer(status=422, body={"message": "Validation Failed", "errors": [error]})


_BASE = f"/api/v3/repos/{REPOSITORY}"
ROUTES: tuple[tuple[str, Any], ...] = (
    (f"GET {_BASE}", GitHub.repository),
    (f"GET {_BASE}/releases", GitHub.listed),
    (f"POST {_BASE}/releases", GitHub.create),
    (f"GET {_BASE}/releases/latest", GitHub.newest),
    (f"PATCH {_BASE}/releases/([0-9]+)", GitHub.update),
    (f"GET {_BASE}/releases/([0-9]+)/assets", GitHub.assets_of),
    (f"POST /api/uploads/repos/{REPOSITORY}/releases/([0-9]+)/assets", GitHub.add),
    (f"DELETE {_BASE}/releases/assets/([0-9]+)", GitHub.delete),
    (f"GET {_BASE}/releases/assets/([0-9]+)", GitHub.asset),
    (f"GET {_BASE}/git/matching-refs/tags/(.+)", GitHub.refs),
    ("GET /api/storage/([0-9]+)", GitHub.storage),
)
"""Line, and what answers it."""
