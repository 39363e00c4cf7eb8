"""Stages: each module turns a parent's artifact into one artifact of its own format.

A stage is a module `to_<format>.py` with the names of `Stage` below. It is found by its file name, or, from another
package, through the entry-point group `mcconvert.stages`. A stage only converts: the pipeline checks `ACCEPTS`,
hashes the result, compares declared with actual tensors and judges parity. Heavy imports live inside functions.

A stage that applies recipes also has `unsupported(recipe: Recipe) -> str`: why its format cannot do what the recipe
asks, in one sentence, or an empty string where it can. It is cheap: lists and plans ask it without converting.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from converter.records import Artifact, Recipe


class Stage(Protocol):
    """The contract of a stage module."""

    FORMAT: str
    """Format of what `convert` returns, and the name of the runtime that opens it."""
    ACCEPTS: Sequence[str]
    """Formats of the parents that it takes."""
    REQUIRES: Sequence[str]
    """Distributions that it needs; their versions are part of the cache key."""
    Options: type[Any]
    """Frozen dataclass; every field has a default and a docstring below it."""

    def convert(self, parent: Artifact, options: Any, recipe: Recipe | None, out_dir: Path) -> Artifact:
        """Write one file (or one folder) into `out_dir` and describe it.

        `parent.path` and `recipe.calibration_path` are absolute. The artifact's path is absolute too.

        Raises:
            ConversionError: the parent cannot be converted; the message says why and what to do.
        """
        ...
