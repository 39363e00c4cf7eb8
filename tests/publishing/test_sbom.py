"""The SBOM: valid, the same every time, and true of what is installed."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from converter.publishing.sbom import requirements, sbom


@pytest.fixture(scope="module")
def written() -> bytes:
    return sbom()


@pytest.fixture(scope="module")
def document(written: bytes) -> Any:
    return json.loads(written)


def test_it_is_valid_and_says_so_of_nothing_else(written: bytes, document: Any) -> None:
    """CycloneDX 1.6 by the library's own strict schema, which refuses a component without a name."""
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    del document["components"][0]["name"]

    assert validator.validate_str(written.decode()) is None
    assert validator.validate_str(json.dumps(document)) is not None


def test_it_is_the_same_every_time(written: bytes) -> None:
    """No time and no random number; the serial number is of the content."""
    assert sbom() == written
    assert b"timestamp" not in written


def test_it_lists_what_is_installed(written: bytes) -> None:
    """Every distribution with its version, mcconvert as the root, beside Python and the operating system."""
    document = json.loads(written)
    components = {one["name"]: one for one in document["components"]}
    torch = components["torch"]

    assert document["metadata"]["component"]["name"] == "mcconvert"
    assert torch["version"] == metadata.version("torch")
    assert torch["purl"].startswith("pkg:pypi/torch@")
    assert torch["licenses"]
    assert {one["name"] for one in components.values() if one["type"] == "platform"} == {"cpython"}
    assert [one for one in components.values() if one["type"] == "operating-system"]
    assert all("\n" not in json.dumps(one["licenses"]) for one in components.values() if "licenses" in one)


def test_it_says_what_requires_what(written: bytes) -> None:
    """Requirements as metadata gives them: those of extras where these were asked for."""
    depends = {one["ref"].partition("@")[0]: one.get("dependsOn", []) for one in json.loads(written)["dependencies"]}
    of = {name: {one.partition("@")[0] for one in needed} for name, needed in depends.items()}

    assert {"pkg:pypi/torch", "pkg:pypi/click", "pkg:pypi/onnx"} <= of["pkg:pypi/mcconvert"]
    assert "pkg:pypi/numpy" in of["pkg:pypi/onnxruntime"]
    assert "pkg:pypi/torch" not in of["pkg:pypi/numpy"]


def test_markers_and_extras_count_where_they_apply(tmp_path: Path) -> None:
    """Another platform's requirement does not; an extra's does once somebody asks for it; a circle ends."""
    installed = {
        "mcconvert": _distribution(
            tmp_path, "mcconvert", "aa[fast]>=1", "bb; sys_platform == 'plan9'", "cc; extra == 'x'", extras=("x",)
        ),
        "aa": _distribution(tmp_path, "aa", "dd; extra == 'fast'", "ee; extra == 'slow'", "absent", "mcconvert"),
        "bb": _distribution(tmp_path, "bb", "not a requirement ((("), "cc": _distribution(tmp_path, "cc"),
        "dd": _distribution(tmp_path, "dd"), "ee": _distribution(tmp_path, "ee"),
    }  # fmt: skip

    found = requirements(installed)

    assert found["mcconvert"] == ["aa", "cc"]
    assert found["aa"] == ["dd", "mcconvert"]
    assert found["bb"] == []


def _distribution(folder: Path, name: str, *needs: str, extras: tuple[str, ...] = ()) -> metadata.Distribution:
    place = folder / f"{name}-1.dist-info"
    place.mkdir()
    lines = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1", *(f"Provides-Extra: {one}" for one in extras)]
    (place / "METADATA").write_text("\n".join([*lines, *(f"Requires-Dist: {one}" for one in needs), ""]))
    return metadata.Distribution.at(place)
