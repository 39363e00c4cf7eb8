"""How many calibration samples it takes: as many as until the ranges of activations stand still.

Rules:

1. Samples come in chunks of `CHUNK`, in the order of the file, which is a random one. After each chunk the ends of all
   ranges are compared with those of `LOOK_BACK` chunks ago, in shares of the range's width.
2. The ranges stand still when at least `SETTLED_SHARE` of them moved by less than `TOLERANCE`. Not all of them: among
   hundreds of tensors some photograph always widens one. On the S1 image tower one range or another moved by 10 to
   30 percent in any 8 of 128 photographs, while 95 in 100 moved by less than 2.
3. Where extremes are the ranges, extremes are compared. The other rules read tails of a distribution: two-sided
   percentiles of `TAILS` stand for them, since a search for the best range after each chunk would take longer than the
   samples do.
4. A recipe with a number of samples takes that many; how far the ranges still moved is said all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from converter.quantization.calibration import Sample
from converter.quantization.estimators import Range, RangeEstimator
from converter.records import CAUTION, Recipe

CHUNK = 8
LOOK_BACK = 2
TOLERANCE = 0.05
SETTLED_SHARE = 0.95
TAILS = 99.99

type Run = Callable[[Sample], Iterable[tuple[str, npt.NDArray[Any]]]]
"""Feed one sample to a model: every activation with its name."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The ranges of activations, and how they came about.

    `samples` were used, of `asked` (0: as many as it takes). `moved` is how far the ends of 95 in 100 ranges moved at
    most over the last `LOOK_BACK` chunks, as a share of their width; None where there were not so many samples.
    """

    ranges: Mapping[str, Range]
    method: str
    samples: int
    asked: int
    moved: float | None

    @property
    def settled(self) -> bool:
        """Rule 2."""
        return self.moved is not None and self.moved < TOLERANCE

    @property
    def notes(self) -> tuple[str, ...]:
        """For an artifact: what the ranges come from, and a caution where more samples would have been better."""
        said = f"{self.method} ranges of {len(self.ranges)} activations over {self.samples} calibration samples"
        if self.moved is not None:
            said += f"; the last {CHUNK * LOOK_BACK} moved 95 in 100 of them by {self.moved:.1%} or less"
        return (said, *(CAUTION + why for why in self._cautions()))

    def _cautions(self) -> Iterable[str]:
        if self.samples < self.asked:
            yield f"the recipe asks for {self.asked} calibration samples, there are {self.samples}: give more"
        elif not self.asked and not self.settled:
            moved = "too few to tell" if self.moved is None else f"the last ones still moved them by {self.moved:.1%}"
            yield (
                f"all {self.samples} calibration samples were used before the ranges stood still ({moved}, below "
                f"{TOLERANCE:.0%} was expected): give more"
            )


def calibrate(
    run: Run, samples: Iterable[Sample], recipe: Recipe | None = None, only: Collection[str] | None = None
) -> Calibration:
    """Feed samples until the recipe's number is reached, the ranges stand still, or there are no more.

    `only` names the activations that matter; None means all. No recipe means the extremes over all samples.
    """
    estimator = RangeEstimator(recipe)
    ends: list[Mapping[str, Range]] = []
    count, moved = 0, None
    for sample in samples:
        for name, values in run(sample):
            if only is None or name in only:
                estimator.update(name, values)
        count += 1
        if count % CHUNK == 0:
            ends.append(estimator.tails(TAILS))
            moved = _moved(ends[-1 - LOOK_BACK], ends[-1]) if len(ends) > LOOK_BACK else None
            if recipe is not None and not recipe.samples and moved is not None and moved < TOLERANCE:
                break
    asked = recipe.samples if recipe else count
    return Calibration(ranges=estimator.ranges(), method=estimator.method, samples=count, asked=asked, moved=moved)


def _moved(before: Mapping[str, Range], after: Mapping[str, Range]) -> float:
    """Rules 1 and 2: the movement that `SETTLED_SHARE` of the ranges do not exceed. What never varies stands still."""
    old, new = (np.asarray([ends[name] for name in after]) for ends in (before, after))
    width = new[:, 1] - new[:, 0]
    farthest = np.abs(new - old).max(axis=1)
    shares = np.divide(farthest, width, out=np.zeros_like(width), where=width > 0)
    return float(np.quantile(shares, SETTLED_SHARE)) if len(shares) else 0.0
