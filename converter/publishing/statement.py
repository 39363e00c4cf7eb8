"""The statement in `provenance.json`: in-toto's Statement v1 with SLSA's provenance v1, from a build and back.

The records are named as the two published forms name them. What is of our own stands where these leave room: in
`externalParameters` and `internalParameters`, and in annotations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any, Literal

import msgspec

from converter.build import Build, How, Material, Origin
from converter.records import from_json, to_json
from converter.release import SBOM

STATEMENT_TYPE: Literal["https://in-toto.io/Statement/v1"] = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Literal["https://slsa.dev/provenance/v1"] = "https://slsa.dev/provenance/v1"
BUILD_TYPE: Literal["urn:mcconvert:export:v1"] = "urn:mcconvert:export:v1"
BUILDER = "urn:mcconvert:builder:local"
EARLIER = "earlier build"


class Described(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """in-toto's ResourceDescriptor: something known by its digest."""

    name: str = ""
    uri: str = ""
    digest: dict[str, str] = {}
    annotations: dict[str, Any] = {}


class Definition(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """SLSA's BuildDefinition: what was asked for, and what went in."""

    build_type: Literal["urn:mcconvert:export:v1"]
    external_parameters: dict[str, Any]
    internal_parameters: dict[str, Any]
    resolved_dependencies: tuple[Described, ...]


class Builder(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Who built, with the versions of its parts."""

    id: str
    version: dict[str, str]


class Metadata(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Which run it was, and when."""

    invocation_id: str
    started_on: str
    finished_on: str


class Details(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """SLSA's RunDetails."""

    builder: Builder
    metadata: Metadata
    byproducts: tuple[Described, ...] = ()


class Predicate(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """SLSA's provenance."""

    build_definition: Definition
    run_details: Details


class Statement(msgspec.Struct, frozen=True, kw_only=True, rename={"type": "_type", "predicate_type": "predicateType"}):
    """in-toto's statement: of these subjects, that predicate holds."""

    type: Literal["https://in-toto.io/Statement/v1"]
    subject: tuple[Described, ...]
    predicate_type: Literal["https://slsa.dev/provenance/v1"]
    predicate: Predicate


def read_statement(data: bytes) -> Statement:
    """The statement in `provenance.json`.

    Raises:
        msgspec.DecodeError, UnicodeDecodeError: it is none of ours; the message names the field.
    """
    return from_json(data, Statement)


def statement(build: Build, hashes: Mapping[str, str]) -> bytes:
    """The statement that `build` made the files of these hashes, by path; the same bytes for the same arguments."""
    subjects = tuple(_subject(path, hashes[path], origin_of(build, path)) for path in sorted(hashes))
    told = {one.annotations.get("invocationId") for one in subjects}
    earlier = [one for one in build.earlier if one.invocation in told]
    byproducts = (_sbom(hashes.get(SBOM, "")), *map(_earlier, sorted(earlier, key=lambda one: one.started)))
    predicate = Predicate(build_definition=_definition(build), run_details=_details(build, byproducts))
    return to_json(Statement(type=STATEMENT_TYPE, subject=subjects, predicate_type=PREDICATE_TYPE, predicate=predicate))


def build_of(statement: Statement) -> Build:
    """The build that a statement tells of, with every subject's origin.

    Raises:
        msgspec.ValidationError: an annotation of ours is malformed.
    """
    described = statement.predicate.run_details.byproducts
    earlier = tuple(_read_earlier(one) for one in described if one.name == EARLIER)
    origins = {one.name: _origin(one) for one in statement.subject if one.annotations}
    return _read(statement.predicate, origins, earlier)


def origin_of(build: Build, path: str) -> Origin | None:
    """Where a file comes from: as said of itself, or of a folder that it lies in."""
    parents = [str(parent) for parent in PurePosixPath(path).parents]
    return next((build.origins[one] for one in (path, *parents) if one in build.origins), None)


def _subject(path: str, sha256: str, origin: Origin | None) -> Described:
    told: dict[str, Any] = {}
    if origin is not None:
        told["origin"] = origin.how
        if origin.invocation:
            told["invocationId"] = origin.invocation
    return Described(name=path, digest={"sha256": sha256}, annotations=told)


def _origin(subject: Described) -> Origin:
    told = msgspec.convert(subject.annotations, dict[str, str])
    how = msgspec.convert(told.get("origin"), How)
    return Origin(how=how, invocation=told.get("invocationId", ""), sha256=subject.digest.get("sha256", ""))


def _definition(build: Build) -> Definition:
    return Definition(
        build_type=BUILD_TYPE, external_parameters=dict(build.parameters), internal_parameters=dict(build.settings),
        resolved_dependencies=tuple(
            Described(name=one.name, uri=one.uri, digest=dict(one.digest), annotations=dict(one.facts))
            for one in build.materials
        ),
    )  # fmt: skip


def _details(build: Build, byproducts: tuple[Described, ...]) -> Details:
    return Details(
        builder=Builder(id=BUILDER, version=dict(build.tools)),
        metadata=Metadata(invocation_id=build.invocation, started_on=build.started, finished_on=build.finished),
        byproducts=byproducts,
    )


def _sbom(sha256: str) -> Described:
    return Described(name=SBOM, digest={"sha256": sha256})


def _earlier(build: Build) -> Described:
    """What an earlier statement said of a build whose files are still here."""
    details = _details(build, (_sbom(build.sbom_sha256),) if build.sbom_sha256 else ())
    predicate = Predicate(build_definition=_definition(build), run_details=details)
    content = msgspec.to_builtins(predicate)
    return Described(
        name=EARLIER, uri=build.invocation, annotations={"predicateType": PREDICATE_TYPE, "predicate": content}
    )


def _read_earlier(described: Described) -> Build:
    return _read(msgspec.convert(described.annotations.get("predicate"), Predicate), {}, ())


def _read(predicate: Predicate, origins: Mapping[str, Origin], earlier: Iterable[Build]) -> Build:
    definition, details = predicate.build_definition, predicate.run_details
    sboms = [one.digest.get("sha256", "") for one in details.byproducts if one.name == SBOM]
    return Build(
        parameters=definition.external_parameters, settings=definition.internal_parameters,
        materials=tuple(
            Material(name=one.name, uri=one.uri, digest=one.digest, facts=one.annotations)
            for one in definition.resolved_dependencies
        ),
        tools=details.builder.version, invocation=details.metadata.invocation_id,
        started=details.metadata.started_on, finished=details.metadata.finished_on, origins=origins,
        sbom_sha256=sboms[0] if sboms else "", earlier=tuple(earlier),
    )  # fmt: skip
