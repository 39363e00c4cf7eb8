"""The sample sets of a tower, and whether calibration samples of the user's own do to the model what built-in ones do.

1. Parity and calibration samples are written; that they share none is held here.
2. Where the user gave calibration data, the first `COMPARED` samples of both kinds run through the tower, and for each
   convolution and linear layer the widths of what it gives are compared. Pictures of other things move few of them by
   a factor of 2, wrong scaling and noise move many (docs/calibration.md has the figures).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from converter.errors import UsageError
from converter.models.calibration_checks import caption_cautions, picture_cautions
from converter.models.samples import load_inputs, load_names, load_stored, shared_samples, write_samples
from converter.pipeline.job import Job
from converter.records import ModelSpec, Tower

COMPARED = 16
FACTOR = 2.0
MANY = 0.2
SANE = "calibration_sane.npz"

type Widths = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Given:
    """The user's own calibration samples, the built-in ones written beside them, and what was noticed so far."""

    samples: Path
    sane: Path
    cautions: tuple[str, ...]


def write_sample_sets(job: Job, spec: ModelSpec, samples: Path, calibration: Path) -> Given | None:
    """Write both sets; None where the built-in calibration samples were taken.

    Raises:
        UsageError: the sets share samples, cannot be read, or no range can come from them.
    """
    tower = job.step.tower
    images = Path(job.images) if job.images and tower == "image" else None
    given = job.calibration_images if tower == "image" else job.calibration_captions
    write_samples(spec, tower, "parity", samples, source=images)
    write_samples(spec, tower, "calibration", calibration, source=Path(given) if given else None)
    shared = shared_samples(samples, calibration)
    if shared:
        option = "--calibration" if tower == "image" else "--calibration-captions"
        message = (
            f"{shared} of the calibration samples are parity samples too; a file must not be judged on what it was"
            f" calibrated on: give {option} others"
        )
        raise UsageError(message)
    if not given:
        return None
    sane = calibration.with_name(SANE)
    write_samples(spec, tower, "calibration", sane)
    return Given(samples=calibration, sane=sane, cautions=_compared(spec, tower, calibration, sane))


def cautions_of(given: Given | None, module: Any) -> tuple[str, ...]:
    """What the user's calibration samples lack, in words, now that there is the tower to run them through."""
    if given is None:
        return ()
    return (*given.cautions, *_reach(_widths(module, given.samples), _widths(module, given.sane)))


def _compared(spec: ModelSpec, tower: Tower, calibration: Path, sane: Path) -> tuple[str, ...]:
    given, usual = load_stored(calibration), load_stored(sane)
    if tower == "image":
        return picture_cautions(given, usual)
    return caption_cautions(spec, given, load_names(calibration), usual, load_names(sane))


def _reach(given: Widths, usual: Widths) -> Iterator[str]:
    """Rule 2."""
    ratios = np.asarray([given[name] / width for name, width in usual.items() if width > 0 and name in given])
    far = float(((ratios > FACTOR) | (ratios < 1 / FACTOR)).mean()) if len(ratios) else 0.0
    if far > MANY:
        yield (
            f"on the calibration samples {far:.0%} of {len(ratios)} layers reach less than half or more than twice as "
            f"far as on the built-in ones ({np.median(ratios):.2f} times in the median): other preprocessing, or data "
            "of another kind than the model was made for"
        )


def _widths(module: Any, samples: Path) -> Widths:
    """From the smallest to the largest value that each layer gives over the first samples."""
    import torch

    ends: dict[str, tuple[float, float]] = {}

    def widen(name: str, values: Any) -> None:
        low, high = ends.get(name, (np.inf, -np.inf))
        ends[name] = (min(low, float(values.min())), max(high, float(values.max())))

    layers = [
        (name, each) for name, each in module.named_modules() if isinstance(each, torch.nn.Conv2d | torch.nn.Linear)
    ]
    hooks = [each.register_forward_hook(lambda _m, _i, out, name=name: widen(name, out)) for name, each in layers]
    (array,) = load_inputs(samples).values()
    with torch.inference_mode():
        for row in array[:COMPARED]:
            module(torch.from_numpy(row[None]))
    for hook in hooks:
        hook.remove()
    return {name: high - low for name, (low, high) in ends.items()}
