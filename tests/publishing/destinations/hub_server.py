"""The endpoints of a model hub that its own client calls when it publishes, over bytes that are really kept.

Commits are whole trees, large files are taken by their sha256 or not at all, a commit on another parent than the head
is refused, tags do not move: what the hub promises and the destination relies on.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any

from tests.publishing.destinations.serving import Answer, Request

LARGE_BYTES = 100_000
"""Files of at least so many bytes are taken as large ones."""


@dataclass
class Hub:
    """One hub with one owner's repositories. `writers` and `readers` are tokens."""

    writers: set[str]
    readers: set[str] = field(default_factory=set)
    url: str = ""
    cuts: dict[str, int] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    repositories: dict[str, Repository] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    fails: dict[str, int] = field(default_factory=dict)
    """Status by "METHOD /path": what such a request is answered instead."""

    def answer(self, request: Request) -> Answer:
        """By who asks, then by what is asked."""
        line = f"{request.method} {request.path}"
        self.asked.append(line)
        for text, status in self.fails.items():
            if text in line:
                return Answer(status=status, body={"error": "as the test wants it"})
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not request.path.startswith("/lfs/") and token not in self.writers | self.readers:
            return Answer(status=401, body={"error": "Invalid username or password."})
        for pattern, method, writes in ROUTES:
            match = re.fullmatch(pattern, line)
            if match and writes and token in self.readers:
                return Answer(status=403, body={"error": "You have read access only"})
            if match:
                return method(self, request, *match.groups())
        return Answer(status=404, body={"error": f"no such endpoint: {line}"})

    def create(self, request: Request) -> Answer:
        """A repository with one commit, as a fresh one has."""
        asked = request.json()
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.repositories:
            return Answer(status=409, body={"error": "You already created this repo", "url": f"{self.url}/{name}"})
        self.repositories[name] = Repository(private=asked.get("visibility", asked.get("private")) in ("private", True))
        self.repositories[name].add({".gitattributes": b"*.bin filter=lfs\n"})
        return Answer(body={"url": f"{self.url}/{name}", "id": name})

    def refs(self, request: Request, name: str) -> Answer:
        """Branches and tags."""
        if name not in self.repositories:
            return _missing("RepoNotFound")
        one = self.repositories[name]
        tags = [{"name": tag, "ref": f"refs/tags/{tag}", "targetCommit": oid} for tag, oid in one.tags.items()]
        main = {"name": "main", "ref": "refs/heads/main", "targetCommit": one.head}
        return Answer(body={"branches": [main], "converts": [], "tags": tags})

    def preupload(self, request: Request, name: str) -> Answer:
        """Which files are large."""
        if name not in self.repositories:
            return _missing("RepoNotFound")
        files = [
            {
                "path": one["path"],
                "uploadMode": "lfs" if one["size"] >= LARGE_BYTES else "regular",
                "shouldIgnore": False,
            }
            for one in request.json()["files"]
        ]
        return Answer(body={"files": files})

    def batch(self, request: Request, name: str) -> Answer:
        """Where to put large files; nowhere, for those that are there."""
        objects = []
        for one in request.json()["objects"]:
            actions = {
                "upload": {"href": f"{self.url}/lfs/{one['oid']}", "header": {}},
                "verify": {"href": f"{self.url}/lfs/{one['oid']}/verify", "header": {}},
            }
            objects.append(one if one["oid"] in self.large else one | {"actions": actions})
        return Answer(body={"transfer": "basic", "objects": objects})

    def put(self, request: Request, oid: str) -> Answer:
        """A large file, if it is what it claims to be."""
        if hashlib.sha256(request.body).hexdigest() != oid:
            return Answer(status=400, body={"error": "these bytes have another sha256"})
        self.large[oid] = request.body
        return Answer()

    def verify(self, request: Request, oid: str) -> Answer:
        """Whether it arrived."""
        there = oid in self.large and len(self.large[oid]) == request.json()["size"]
        return Answer(status=200 if there else 404, body={})

    def commit(self, request: Request, name: str) -> Answer:
        """All operations or none, on top of the named parent."""
        one, lines = self.repositories[name], [json.loads(line) for line in request.body.splitlines()]
        if lines[0]["value"].get("parentCommit", one.head) != one.head:
            return Answer(status=412, body={"error": "A commit has happened since. Please refresh and try again."})
        tree = dict(one.commits[one.head])
        for operation in lines[1:]:
            value = operation["value"]
            if operation["key"] == "file":
                tree[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "deletedFile":
                del tree[value["path"]]
            elif value["oid"] in self.large:
                tree[value["path"]] = self.large[value["oid"]]
            else:
                return Answer(status=400, body={"error": f"LFS pointer points to a file that does not exist: {value}"})
        oid = one.add(tree)
        return Answer(body={"commitUrl": f"{self.url}/{name}/commit/{oid}", "commitOid": oid, "hookOutput": ""})

    def tag(self, request: Request, name: str, revision: str) -> Answer:
        """A new tag; one that is there stays."""
        one, tag = self.repositories[name], request.json()["tag"]
        if tag in one.tags:
            return Answer(status=409, body={"error": f"Tag reference exists already: {tag}"})
        one.tags[tag] = one.commit_of(revision)
        return Answer(body={})

    def tree(self, request: Request, name: str, revision: str) -> Answer:
        """All files of a revision, large ones with their sha256."""
        files = self.repositories[name].files(revision)
        if files is None:
            return _missing("RevisionNotFound")
        return Answer(body=[_entry(path, data) for path, data in files.items()])

    def resolve(self, request: Request, name: str, revision: str, path: str) -> Answer:
        """The bytes of one file."""
        one = self.repositories.get(name)
        files = one.files(revision) if one else None
        if one is None or files is None:
            return _missing("RepoNotFound" if one is None else "RevisionNotFound")
        if path not in files:
            return _missing("EntryNotFound")
        entry = _entry(path, files[path])
        headers = {
            "ETag": f'"{entry.get("lfs", {}).get("oid") or entry["oid"]}"', "X-Repo-Commit": one.commit_of(revision),
            "Content-Length": str(len(files[path])), "Content-Type": "application/octet-stream",
        }  # fmt: skip
        return Answer(body=files[path], headers=headers)

    def validate(self, request: Request) -> Answer:
        """The head of a README: anything goes."""
        return Answer(body={"errors": [], "warnings": []})


@dataclass
class Repository:
    """Commits as whole trees, by their name."""

    private: bool
    head: str = ""
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def add(self, tree: dict[str, bytes]) -> str:
        """A commit on top, which main points to."""
        self.head = hashlib.sha1(f"{self.head}{sorted(tree)}{len(self.commits)}".encode()).hexdigest()
        self.commits[self.head] = dict(sorted(tree.items()))
        return self.head

    def commit_of(self, revision: str) -> str:
        """The commit that a branch, tag or commit names."""
        return self.head if revision == "main" else self.tags.get(revision, revision)

    def files(self, revision: str) -> dict[str, bytes] | None:
        """The tree of a revision; None when there is no such revision."""
        return self.commits.get(self.commit_of(revision))


ROUTES: tuple[tuple[str, Any, bool], ...] = (
    ("POST /api/repos/create", Hub.create, True),
    ("POST /api/validate-yaml", Hub.validate, False),
    ("GET /api/models/([^/]+/[^/]+)/refs", Hub.refs, False),
    ("POST /api/models/([^/]+/[^/]+)/preupload/main", Hub.preupload, True),
    ("POST /([^/]+/[^/]+).git/info/lfs/objects/batch", Hub.batch, True),
    ("PUT /lfs/([0-9a-f]+)", Hub.put, False),
    ("POST /lfs/([0-9a-f]+)/verify", Hub.verify, False),
    ("POST /api/models/([^/]+/[^/]+)/commit/main", Hub.commit, True),
    ("POST /api/models/([^/]+/[^/]+)/tag/([^/]+)", Hub.tag, True),
    ("GET /api/models/([^/]+/[^/]+)/tree/([^/]+)/?", Hub.tree, False),
    ("(?:GET|HEAD) /([^/]+/[^/]+)/resolve/([^/]+)/(.+)", Hub.resolve, False),
)
"""Line, what answers it, and whether that needs a token that may write."""


def _entry(path: str, data: bytes) -> dict[str, Any]:
    stored = data
    large: dict[str, Any] = {}
    if len(data) >= LARGE_BYTES:
        oid = hashlib.sha256(data).hexdigest()
        stored = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(data)}\n".encode()
        large = {"lfs": {"oid": oid, "size": len(data), "pointerSize": len(stored)}}
    git_oid = hashlib.sha1(f"blob {len(stored)}\0".encode() + stored).hexdigest()
    return {"type": "file", "path": path, "size": len(data), "oid": git_oid, **large}


def _missing(code: str) -> Answer:
    return Answer(status=404, body={"error": code}, headers={"X-Error-Code": code})
