"""How long one call takes while a file is proven: a by-product, measured beside whatever else the machine does."""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np

from converter.runtimes import Arrays, Runner


class TimedRunner:
    """A runner that takes the time of each call of another."""

    def __init__(self, runner: Runner) -> None:
        self.executed_by, self.inputs, self.outputs = runner.executed_by, runner.inputs, runner.outputs
        self._runner = runner
        self._calls: list[tuple[int, float]] = []

    def infer(self, arrays: Arrays) -> dict[str, np.ndarray[Any, Any]]:
        """Run once."""
        begun = time.perf_counter()
        outputs = self._runner.infer(arrays)
        self._calls.append((len(next(iter(arrays.values()))), time.perf_counter() - begun))
        return outputs

    def latency_ms(self) -> float | None:
        """The median over all calls.

        None where a call took several samples, and for a runner that counted what it computed: it interprets the
        file, which says nothing of a phone.
        """
        interpreted = getattr(self._runner, "values_executed", 0) > 0
        if not self._calls or interpreted or any(count != 1 for count, _ in self._calls):
            return None
        return round(1000 * statistics.median(seconds for _, seconds in self._calls), 3)
