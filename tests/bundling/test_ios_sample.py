"""The Swift sample is held against Apple's documented signatures, for it compiles on a Mac only; and it parses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from converter.bundling.writing import SAMPLES
from tests.bundling.swift import Used, plain, used

SWIFT = SAMPLES / "ios"
TABLE = Path(__file__).with_name("apple") / "signatures.txt"
OWN_CLOSURES = {"normalize(_:)", "one(_:)", "weight(_:)"}
"""Closures that the sample keeps and calls."""
MODULES = {"CoreGraphics", "CoreML", "CoreVideo", "Foundation", "ImageIO", "Vision"}


def test_everything_that_is_used_is_in_the_table() -> None:
    """Calls with their labels, members that are read, types and constants."""
    assert _unknown(_used()) == set()


@pytest.mark.parametrize(
    ("right", "wrong", "seen"),
    [
        ("load(contentsOf: compiled, configuration:", "load(contentsOf: compiled, config:", "load(contentsOf:config:)"),
        (".multiArrayValue", ".multiArray", "multiArray"),
        ("VNCoreMLRequest(model:", "VNModelRequest(model:", "VNModelRequest(model:)"),
        ("MLShapedArray<Float>(converting:", "MLShapedArray<Float>(from:", "MLShapedArray(from:)"),
    ],
)
def test_a_slip_in_the_api_is_seen(right: str, wrong: str, seen: str) -> None:
    """The twin: a wrong label, member, type and initialiser."""
    sources = [text.replace(right, wrong) for text in _sources()]

    assert seen in _unknown(used(sources))


def test_nothing_is_newer_than_the_package_asks_for() -> None:
    """Package.swift says iOS 16 and macOS 13."""
    package = (SWIFT / "Package.swift").read_text()
    found = re.search(r"\.iOS\(\.v(\d+)\), \.macOS\(\.v(\d+)\)", package)
    assert found is not None
    ios, macos = int(found[1]), int(found[2])
    wanted = _used()

    late = {
        name
        for name, (since_ios, since_macos) in _table().items()
        if name in wanted.calls | wanted.members | wanted.names and (since_ios > (ios, 0) or since_macos > (macos, 0))
    }

    assert late == set()


@pytest.mark.parametrize("file", sorted(SWIFT.rglob("*.swift")), ids=lambda file: file.name)
def test_sources_parse(file: Path) -> None:
    """Without an error node, by tree-sitter's grammar of Swift."""
    assert list(_errors(_parsed(file.read_bytes()))) == []


def test_a_slip_in_the_grammar_is_seen() -> None:
    """The twin: a bracket that nobody closes."""
    assert list(_errors(_parsed(b"func broken( { let = 3 }\n")))


def _sources() -> list[str]:
    return [plain(file) for file in sorted((SWIFT / "Sources").rglob("*.swift"))]


def _used() -> Used:
    return used(_sources())


def _unknown(found: Used) -> set[str]:
    return set(found.calls | found.members | found.names) - set(_table()) - OWN_CLOSURES - MODULES - _own_module()


def _own_module() -> set[str]:
    """What the check names of the library, and generic parameters."""
    return {"Value", "MobileCLIP(bundle:)"}


def _table() -> dict[str, tuple[tuple[int, int], tuple[int, int]]]:
    """Since which iOS and macOS there is what is listed."""
    lines = [line for line in TABLE.read_text().splitlines() if line and line[0] not in "#["]
    fields = [line.split(None, 3) for line in lines]
    return {name: (_version(ios), _version(macos)) for name, ios, macos, *_ in fields}


def _version(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    return int(major), int(minor)


def _parsed(source: bytes) -> Any:
    grammar = pytest.importorskip("tree_sitter_swift", reason="pip install tree-sitter tree-sitter-swift enables it")
    from tree_sitter import Language, Parser  # type: ignore[import-not-found,unused-ignore]

    return Parser(Language(grammar.language())).parse(source).root_node


def _errors(node: Any) -> Iterator[Any]:
    if node.type == "ERROR" or node.is_missing:
        yield node
    for child in node.children:
        yield from _errors(child)
