"""Fingerprints of source code: a module together with everything of this package that it imports."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path

NEUTRAL = ("converter.records", "converter.errors", "converter.parity", "converter.pipeline", "converter.parsing")
"""Modules whose change cannot change what a stage writes; a record that no longer fits is a cache miss by itself."""


@cache
def source_hash(module: str, neutral: tuple[str, ...] = NEUTRAL) -> str:
    """Hash of the module's source and of all modules of its own package that it reaches by import."""
    digest = hashlib.sha256()
    for name in sorted(_closure(module, neutral)):
        path = _file(name)
        if path is not None:
            digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _closure(module: str, neutral: tuple[str, ...]) -> set[str]:
    package = module.partition(".")[0]
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _file(name)
        if name in seen or path is None:
            continue
        seen.add(name)
        for imported in _imports(path):
            inside = imported.partition(".")[0] == package
            if inside and not any(imported == one or imported.startswith(one + ".") for one in neutral):
                waiting.append(imported)
    return seen


@cache
def _imports(path: Path) -> tuple[str, ...]:
    return tuple(_names(ast.parse(path.read_bytes())))


def _names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def _file(module: str) -> Path | None:
    if module.partition(".")[0] == "converter":  # without importing the parents
        base = Path(__file__).parent.parent.parent.joinpath(*module.split("."))
        for path in (base.with_suffix(".py"), base / "__init__.py"):
            if path.is_file():
                return path
        return None
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec is not None and spec.origin and spec.origin.endswith(".py") else None
