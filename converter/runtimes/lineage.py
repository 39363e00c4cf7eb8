"""Where a value of a graph comes from: the observed values, the file's inputs and the constants behind it.

Observers of every format name sources alike, by these rules:
1. A value that is shown is its own source for what follows.
2. What is computed from constants alone is a constant: it is not shown, and whoever reads it names the stored ones.
3. What is not shown because it holds one number or none passes its sources on.
4. A shape, asked for by its own operation, has no source: it tells nothing of the values.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """Names behind a value, each once, in the order in which the operation reads them."""

    inputs: tuple[str, ...] = ()
    constants: tuple[str, ...] = ()


def joined(lineages: Iterable[Lineage]) -> Lineage:
    """What an operation on these values comes from."""
    every = tuple(lineages)
    return Lineage(
        inputs=tuple(dict.fromkeys(name for one in every for name in one.inputs)),
        constants=tuple(dict.fromkeys(name for one in every for name in one.constants)),
    )


def is_shown(shape: Iterable[int], lineage: Lineage) -> bool:
    """Whether a value is one to observe: an array with elements, computed from the file's inputs (rules 2 to 4)."""
    sizes = tuple(shape)
    return bool(lineage.inputs) and bool(sizes) and 0 not in sizes


def as_observed(value: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A copy of its own in C order: floating point of any width as float32, everything else as it is."""
    return np.array(value, np.float32 if value.dtype.kind == "f" else value.dtype, order="C")
