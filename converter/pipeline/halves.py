"""Calibration samples in two halves: ranges are taken from one, files are judged on the other.

Views of one photograph are in the same half: a file would be judged on what its ranges were taken from.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converter.errors import ConversionError
from converter.pipeline.prove import TOP_K

JUDGED_AT_MOST = 32
"""More samples tell files apart no better than the latency that they cost each point is worth."""


@dataclass(frozen=True, kw_only=True)
class Halves:
    """Two sample files, how many samples the first holds, and in words what each is for."""

    ranges: Path
    judged: Path
    for_ranges: int
    words: str


def halve(calibration: Path, folder: Path) -> Halves:
    """Write both halves into `folder`.

    Raises:
        ConversionError: the file is missing or foreign, or holds too few samples to be halved.
    """
    import numpy as np

    from converter.arrays import read_arrays
    from converter.models.samples import load_names
    from converter.parity.intervals import groups_of

    arrays = read_arrays(calibration, lambda why: f"{calibration} is not a whole sample file: {why}")
    names = load_names(calibration)
    second = groups_of(names, len(names)) % 2 == 1
    needed = TOP_K + 2
    if min(int(second.sum()), int((~second).sum())) < needed:
        message = (
            f"{calibration}: {len(names)} calibration samples, a half of them to judge on, need at least {needed} in "
            "each half; give more images"
        )
        raise ConversionError(message)
    paths = []
    for name, rows in (("ranges", ~second), ("judged", second)):
        chosen = np.flatnonzero(rows)[: JUDGED_AT_MOST if name == "judged" else None]
        part: dict[str, Any] = {
            key: one[chosen] if one.ndim and len(one) == len(names) else one for key, one in arrays.items()
        }
        paths.append(folder / f"{name}.npz")
        np.savez(paths[-1], **part)
    judged = min(int(second.sum()), JUDGED_AT_MOST)
    count = int((~second).sum())
    return Halves(
        ranges=paths[0], judged=paths[1], for_ranges=count,
        words=f"{count} calibration samples for ranges, {judged} others to judge on",
    )  # fmt: skip
