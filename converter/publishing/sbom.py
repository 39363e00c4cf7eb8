"""`sbom.cdx.json`: the Python environment of a build as CycloneDX 1.6, the same bytes for the same environment.

Every installed distribution with its version, licence and requirements, as its own metadata gives them; mcconvert is
the root. No time, no path and no name of a machine is in it.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cyclonedx.model.component import Component
    from cyclonedx.model.license import License

ROOT = "mcconvert"
LONGEST_LICENSE = 100
"""Some metadata hold a licence's whole text in place of its name."""
_SERIALS = uuid.UUID("5f0c8a52-61c4-5d0b-9f0e-6f2d1b7c3a94")
"""The space of our serial numbers: one by the content of each document."""


def sbom() -> bytes:
    """The document for the environment that this process runs in."""
    from cyclonedx.model.bom import Bom
    from cyclonedx.output.json import JsonV1Dot6

    distributions = _distributions()
    components = {name: _component(one, root=name == ROOT) for name, one in distributions.items()}
    bom = Bom(components=[*(one for name, one in components.items() if name != ROOT), *_platform()])
    bom.metadata.component = components.get(ROOT)
    for name, needed in requirements(distributions).items():
        bom.register_dependency(components[name], [components[one] for one in needed])
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    document["metadata"].pop("timestamp", None)
    document.pop("serialNumber", None)
    document["serialNumber"] = uuid.uuid5(_SERIALS, hashlib.sha256(_written(document)).hexdigest()).urn
    return _written(document)


def requirements(distributions: Mapping[str, metadata.Distribution]) -> dict[str, list[str]]:
    """Which installed distributions each one requires on this platform.

    An extra counts where another distribution asks for it; all extras of mcconvert itself do.
    """
    from packaging.utils import canonicalize_name

    asked = {name: {""} for name in distributions}
    if ROOT in distributions:
        asked[ROOT] |= set(distributions[ROOT].metadata.get_all("Provides-Extra") or ())
    found: dict[str, set[str]] = {name: set() for name in distributions}
    waiting = list(distributions)
    while waiting:
        name = waiting.pop()
        for one in _applying(distributions[name], asked[name]):
            needed = canonicalize_name(one.name)
            if needed in distributions and needed != name:
                found[name].add(needed)
            if needed in distributions and not one.extras <= asked[needed]:
                asked[needed] |= one.extras
                waiting.append(needed)
    return {name: sorted(needed) for name, needed in sorted(found.items())}


def _applying(distribution: metadata.Distribution, extras: Iterable[str]) -> Iterator[Any]:
    from packaging.requirements import InvalidRequirement, Requirement

    for line in distribution.requires or ():
        try:
            one = Requirement(line)
        except InvalidRequirement:  # metadata of before the rules; its author must mend it
            continue
        if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in extras):
            yield one


def _distributions() -> dict[str, metadata.Distribution]:
    """Installed distributions by normalised name; the first on the path is the one that is imported."""
    from packaging.utils import canonicalize_name

    found: dict[str, metadata.Distribution] = {}
    for one in metadata.distributions():
        name = one.metadata["Name"]
        if name:
            found.setdefault(canonicalize_name(name), one)
    return dict(sorted(found.items()))


def _component(distribution: metadata.Distribution, *, root: bool) -> Component:
    from cyclonedx.model import Property
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL
    from packaging.utils import canonicalize_name

    name, version = canonicalize_name(distribution.metadata["Name"]), distribution.metadata["Version"]
    purl = PackageURL(type="pypi", name=name, version=version)
    content = "" if root else _content_sha256(distribution)  # an editable install lists no source
    return Component(
        type=ComponentType.APPLICATION if root else ComponentType.LIBRARY, name=name, version=version, purl=purl,
        bom_ref=purl.to_string(), licenses=_licenses(distribution.metadata),
        properties=[Property(name="mcconvert:content-sha256", value=content)] if content else (),
    )  # fmt: skip


def _content_sha256(distribution: metadata.Distribution) -> str:
    """A hash of the installed files, as RECORD lists them with their own; empty where it lists none.

    Scripts and what the installer wrote about itself are left out: they differ from folder to folder.
    """
    lines = (distribution.read_text("RECORD") or "").splitlines()
    kept = sorted(line for line in lines if "sha256=" in line and not re.match(r"\.\.|/|[^,]*\.dist-info/", line))
    kept = [line for line in kept if not line.startswith(("_editable_", "__editable__"))]
    return hashlib.sha256("\n".join(kept).encode()).hexdigest() if kept else ""


def _licenses(facts: metadata.PackageMetadata) -> list[License]:
    from cyclonedx.contrib.license.factories import LicenseFactory

    factory = LicenseFactory()
    texts = [facts["License-Expression"], facts["License"]]
    for text in [one.strip() for one in texts if one]:
        if text and "\n" not in text and len(text) <= LONGEST_LICENSE and text.upper() != "UNKNOWN":
            return [factory.make_from_string(text)]
    named = [one for one in facts.get_all("Classifier") or () if one.startswith("License ::")]
    names = sorted({one.rpartition(" :: ")[2] for one in named} - {"OSI Approved"})
    return [factory.make_with_name(name) for name in names]


def _platform() -> list[Component]:
    """The interpreter and the operating system."""
    from cyclonedx.model.component import Component, ComponentType

    release = platform.freedesktop_os_release() if platform.system() == "Linux" and _has_release() else {}
    system, version = release.get("ID", platform.system().lower()), release.get("VERSION_ID") or platform.mac_ver()[0]
    python = platform.python_implementation().lower()
    return [
        Component(
            type=ComponentType.PLATFORM, name=python, version=platform.python_version(),
            bom_ref=f"{python}@{platform.python_version()}",
        ),
        Component(
            type=ComponentType.OPERATING_SYSTEM, name=system, version=version or None,
            description=f"{platform.system()} on {platform.machine()}", bom_ref=f"{system}@{version}",
        ),
    ]  # fmt: skip


def _has_release() -> bool:
    try:
        platform.freedesktop_os_release()
    except OSError:
        return False
    return True


def _written(document: object) -> bytes:
    return json.dumps(document, indent=2, sort_keys=True).encode() + b"\n"
