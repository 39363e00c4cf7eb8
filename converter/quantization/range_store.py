"""Ranges that were measured before, found again by what they were measured from.

The store is the folder that MCCONVERT_RANGES names, which the pipeline sets for its steps to `<cache>/ranges`; without
it nothing is kept. An entry is named after the hash of: the model file, the calibration samples, what of the recipe
matters, the activations asked for, the runtime with its version, and the source that measures. So recipes that differ
in other things, a search over them, and a rerun measure once. An entry that cannot be read is measured again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import msgspec

from converter.files import hash_path, write_atomically
from converter.quantization.convergence import Calibration
from converter.records import Recipe, from_json, to_json

RANGES_VARIABLE = "MCCONVERT_RANGES"
_SOURCES = ("calibration", "convergence", "estimators", "histograms", "ranges")


def known_or_measured(facts: Mapping[str, str], measure: Callable[[], Calibration]) -> Calibration:
    """The ranges stored for these facts, or measured now and stored.

    Raises whatever `measure` raises; a store that cannot be written is done without.
    """
    folder = os.environ.get(RANGES_VARIABLE)
    if not folder:
        return measure()
    place = Path(folder) / f"{hashlib.sha256(json.dumps(dict(facts), sort_keys=True).encode()).hexdigest()}.json"
    known = _read(place)
    if known is not None:
        return known
    measured = measure()
    try:
        write_atomically(place, to_json(measured))
    except OSError as error:
        print(f"ranges were not stored ({error}); they will be measured again", flush=True)
    return measured


def facts_of(
    path: str | Path, recipe: Recipe, only: Collection[str] | None, runtime: str, threads: int
) -> dict[str, str]:
    """All that the ranges of the file at `path` depend on; `runtime` is a name with a version."""
    return {
        "model": hash_path(Path(path))[0],
        "samples": hash_path(Path(recipe.calibration_path))[0] if recipe.calibration_path else "",
        "recipe": json.dumps([recipe.ranges, recipe.percentile, recipe.activation_bits, recipe.samples]),
        "only": "all" if only is None else json.dumps(sorted(only)),
        "runtime": f"{runtime}, {threads} threads",
        "source": _source(),
    }


def _read(place: Path) -> Calibration | None:
    try:
        return from_json(place.read_bytes(), Calibration)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def _source() -> str:
    digest = hashlib.sha256()
    for name in _SOURCES:
        digest.update(Path(__file__).with_name(f"{name}.py").read_bytes())
    return digest.hexdigest()
