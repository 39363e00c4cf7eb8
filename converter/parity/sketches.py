"""Sketches of computed values: what alignment needs to know of each, in a few numbers that no layout changes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from converter.parity.operations import family, is_dequantize, is_quantize, moves_only
from converter.runtimes import Observed

MOMENTS = 6


@dataclass(frozen=True, kw_only=True)
class Sketch:
    """One value. `sources` are the computed values behind it that have a sketch too.

    `moved_by` are values between those and this one that only stand elsewhere: transposed, reshaped. `rounded` says
    that it was computed in integers, or from a value that was brought to integers on the way. `part_of` names the value
    that is put together of it and others (`converter.parity.wholes`).
    """

    name: str
    kind: str
    family: str
    module: str
    sources: tuple[str, ...]
    constants: tuple[str, ...]
    shape: tuple[int, ...]
    moments: npt.NDArray[np.float64]
    moved_by: tuple[str, ...] = ()
    rounded: bool = False
    part_of: str = ""

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        return int(np.prod(self.shape))


@dataclass
class Sketcher:
    """Sketches values as they are computed, and leaves out what only moves values about or counts.

    With `sketched` off it only tells which values it would take.
    """

    sketched: bool = True
    sketches: dict[str, Sketch] = field(default_factory=dict)
    _through: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _moved: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _rounded: dict[str, bool] = field(default_factory=dict)
    _whole: dict[str, bool] = field(default_factory=dict)

    def takes(self, observed: Observed) -> bool:
        """Whether the value is one to align: floating point, more than one number, newly computed."""
        value = observed.value
        return value.dtype.kind == "f" and value.size > 1 and not moves_only(observed.kind)

    def add(self, observed: Observed) -> bool:
        """Sketch the value if it is one to align; what reads another reads the values behind it."""
        if not self.sketched:
            return self.takes(observed)
        sources = _joined(self._through.get(name, ()) for name in observed.inputs)
        moved = _joined(self._moved.get(name, ()) for name in observed.inputs)
        rounded, whole = self._integers(observed)
        if not self.takes(observed):
            self._through[observed.name] = sources
            stays = is_quantize(observed.kind) or is_dequantize(observed.kind)
            self._moved[observed.name] = moved if stays else (*moved, observed.name)
            return False
        self._through[observed.name] = (observed.name,)
        self.sketches[observed.name] = Sketch(
            name=observed.name, kind=observed.kind, family=family(observed.kind), module=observed.module,
            sources=sources, constants=observed.constants, shape=observed.value.shape, moments=moments(observed.value),
            moved_by=moved, rounded=rounded or whole,
        )  # fmt: skip
        return True

    def _integers(self, observed: Observed) -> tuple[bool, bool]:
        """(whether what it reads was brought to integers since the last sketch, whether it reads integers).

        A QUANTIZE before an operation rounds the operation's input. A DEQUANTIZE after one that computes in integers
        only reads them.
        """
        rounded = any(self._rounded.get(name, False) for name in observed.inputs)
        whole = any(self._whole.get(name, False) for name in observed.inputs)
        computes = self.takes(observed)
        self._rounded[observed.name] = is_quantize(observed.kind) or (rounded and not computes)
        self._whole[observed.name] = is_quantize(observed.kind) or (whole and not is_dequantize(observed.kind))
        return rounded, whole


def moments(value: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Mean, spread, smallest, largest, mean size and skew of the finite values, and so the same in any layout."""
    flat = np.asarray(value, np.float32).ravel()
    whole = np.isfinite(flat)
    flat = flat if whole.all() else flat[whole]
    if not flat.size:
        return np.full(MOMENTS, np.nan)
    mean, spread = float(flat.mean(dtype=np.float64)), float(flat.std(dtype=np.float64))
    scaled = (flat - np.float32(mean)) / np.float32(spread or 1.0)
    skew = spread * float(np.cbrt((scaled * scaled * scaled).mean(dtype=np.float64)))
    size = float(np.abs(flat).mean(dtype=np.float64))
    return np.array([mean, spread, float(flat.min()), float(flat.max()), size, skew])


def distances(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """How unlike the moments of n and of m values are, in units of the first one's spread: (n, m), NaN as infinity."""
    scale = np.maximum(one[:, 1], np.abs(one[:, 0]) * np.finfo(np.float32).eps)[:, None]
    apart = np.abs(one[:, None, :] - other[None, :, :]).mean(axis=2)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = apart / scale
    return np.where(apart == 0, 0.0, np.where(np.isnan(relative), np.inf, relative))


def _joined(parts: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for part in parts for name in part))
