"""Find the destination that an address means: built-in ones by their file, third-party ones by their entry point.

A third-party package declares `[project.entry-points."mcconvert.destinations"]`, each entry a module with the names of
`destinations.DestinationModule`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import re
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import cast

from converter.errors import McconvertError, MissingDependencyError, PublishError, nearest
from converter.publishing.addresses import without_secrets
from converter.publishing.destinations import Destination, DestinationModule

GROUP = "mcconvert.destinations"
NAMES = ("SCHEMES", "EXAMPLE", "REQUIRES", "EXTRA", "open_destination")
_SCHEME_ONLY = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(?!//)")


def destination_names() -> tuple[str, ...]:
    """Every destination that there is."""
    folder = Path(__file__).parent / "destinations"
    built_in = [path.stem for path in folder.glob("*.py") if "\nSCHEMES" in path.read_text(encoding="utf-8")]
    return tuple(sorted({*built_in, *_entry_points()}))


@cache
def load_destination(name: str) -> DestinationModule:
    """The destination module of that name.

    Raises:
        McconvertError: it does not fulfil the contract.
    """
    points = _entry_points()
    module = (
        points[name].load() if name in points else importlib.import_module(f"converter.publishing.destinations.{name}")
    )
    lacking = [one for one in NAMES if not hasattr(module, one)]
    if lacking:
        message = (
            f"destination '{name}' ({module.__name__}) lacks {', '.join(lacking)}: see "
            "converter/publishing/destinations/__init__.py"
        )
        raise McconvertError(message)
    return cast("DestinationModule", module)


def examples() -> list[str]:
    """An address of each destination with what it means, for --help."""
    return [load_destination(name).EXAMPLE for name in destination_names()]


def module_of(address: str) -> DestinationModule:
    """The module that an address belongs to: by its scheme, or by how a plain path ends.

    Raises:
        PublishError: no destination takes it.
        MissingDependencyError: what the destination needs is not installed.
    """
    module = _by_scheme(address) if "://" in address else _by_ending(address)
    absent = [name for name in module.REQUIRES if not _is_installed(name)]
    if absent:
        message = (
            f"{without_secrets(address)}: {', '.join(absent)} is not installed: pip install 'mcconvert[{module.EXTRA}]'"
        )
        raise MissingDependencyError(message)
    return module


def open_address(address: str, model: str) -> AbstractContextManager[Destination]:
    """The place for `model` at an address.

    Raises:
        PublishError: no destination takes it, or the place cannot be reached.
        MissingDependencyError: what the destination needs is not installed.
    """
    return module_of(address).open_destination(address, model)


def _by_scheme(address: str) -> DestinationModule:
    scheme = address.partition("://")[0].lower()
    modules = [load_destination(name) for name in destination_names()]
    found = [module for module in modules if scheme in module.SCHEMES]
    found += [module for module in modules if getattr(module, "takes", lambda _scheme: False)(scheme)]
    if not found:
        known = sorted({one for module in modules for one in module.SCHEMES if one})
        message = (
            f"{without_secrets(address)}: no destination takes '{scheme}://'; {nearest(scheme, known)} "
            "'mcconvert publish --help' shows an example of each"
        )
        raise PublishError(message)
    return found[0]


def _by_ending(path: str) -> DestinationModule:
    """A plain path is a folder unless a destination claims how it ends."""
    match = _SCHEME_ONLY.match(path)
    if match or not path.strip():
        seen = without_secrets(path)
        message = f"'{seen}' is neither a path nor an address: expected SCHEME://..., or ./{seen} for a folder"
        raise PublishError(message)
    modules = [load_destination(name) for name in destination_names()]
    claiming = [one for one in modules if path.lower().endswith(tuple(getattr(one, "SUFFIXES", ())))]
    return (claiming or [one for one in modules if "" in one.SCHEMES])[0]


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


@cache
def _entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    return {point.name: point for point in importlib.metadata.entry_points(group=GROUP)}
