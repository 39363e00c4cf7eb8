"""Energies of signals and of noise, added up over samples, and what they are in dB."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from converter.parity.metrics import SQNR_CAP_DB

Array = npt.NDArray[Any]


@dataclass
class Energies:
    """Of one pair: energies of the signal and of what differs from the input on, a sample each; and by itself."""

    signal: list[float] = field(default_factory=list)
    noise: list[float] = field(default_factory=list)
    own_signal: float = 0.0
    own_noise: float | None = None
    nonfinite: int = 0

    def sqnr_db(self) -> float:
        """Over all samples, from the input on."""
        return decibels(sum(self.signal), sum(self.noise))

    def worst(self) -> tuple[float, int]:
        """The lowest figure of a sample, and which."""
        each = [decibels(signal, noise) for signal, noise in zip(self.signal, self.noise, strict=True)]
        return min(each), each.index(min(each))

    def own_db(self) -> float | None:
        """Of the operation by itself; None where what it was fed was not finite."""
        return None if self.own_noise is None else decibels(self.own_signal, self.own_noise)


def decibels(signal: float, noise: float) -> float:
    """10 log10 of signal over noise, within what JSON and a table can hold."""
    if noise == 0.0:
        return SQNR_CAP_DB
    if signal == 0.0 or not math.isfinite(noise):
        return -SQNR_CAP_DB
    return max(-SQNR_CAP_DB, min(SQNR_CAP_DB, 10 * (math.log10(signal) - math.log10(noise))))


def energies_of(reference: Array, value: Array) -> tuple[float, float]:
    """(energy of the reference, energy of the difference); infinite where a number of the value alone is lost."""
    ours, theirs = (np.asarray(side, np.float32).ravel() for side in (reference, value))
    with np.errstate(over="ignore", invalid="ignore"):
        apart = theirs - ours
        signal, noise = float(ours @ ours), float(apart @ apart)
        if not math.isfinite(signal + noise):
            whole = np.isfinite(ours)
            signal = float(np.square(ours[whole], dtype=np.float64).sum())
            noise = float(np.square(np.where(theirs == ours, 0, apart), dtype=np.float64).sum())
    return signal, noise if math.isfinite(noise) else math.inf


def count_nonfinite(value: Array) -> int:
    """How many numbers are NaN or infinite."""
    return value.size - int(np.isfinite(value).sum())
