"""What TensorFlow Lite's and LiteRT's `benchmark_model` prints, read.

The lines that count (tensorflow/lite/tools/benchmark/README.md):

    INFO: count=50 first=41234 curr=41111 min=40987 max=43210 avg=41400 std=300 p5=41020 median=41350 p95=42000
    INFO: Inference timings in us: Init: 12345, First inference: 45678, Warmup (avg): 41500.3, Inference (avg): 41400
    INFO: Memory footprint delta from the start of the tool (MB): init=10.5 overall=25.25

The first `count=` line is of the warm-up, the last one of what is measured. Older builds print neither median nor p95.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from converter.errors import ConversionError

NUMBER = r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)"
COUNT = re.compile(rf"\bcount=(\d+) .*\bavg={NUMBER}")
TIMINGS = re.compile(
    rf"Inference timings in us: Init: {NUMBER}, First inference: {NUMBER},.*Inference \(avg\): {NUMBER}"
)
MEMORY = re.compile(rf"\boverall={NUMBER}")
LINE_CHARACTERS = 2000
SHOWN_CHARACTERS = 300


@dataclass(frozen=True, kw_only=True)
class Printed:
    """One run of the tool. `exact` says whether `median_ms` and `p95_ms` are that, or the mean and the maximum."""

    load_ms: float
    median_ms: float
    p95_ms: float
    calls: int
    peak_bytes: int | None
    exact: bool


def read_output(text: str) -> Printed:
    """The figures in what the tool printed.

    Raises:
        ConversionError: it did not end with figures; the message has its last words.
    """
    lines = [line[:LINE_CHARACTERS] for line in text.splitlines()]
    counts = [line for line in lines if COUNT.search(line)]
    timings = next((found for line in reversed(lines) if (found := TIMINGS.search(line))), None)
    if timings is None or not counts:
        message = f"benchmark_model gave no figures: {_last_words(lines)}"
        raise ConversionError(message)
    median, p95 = _named(counts[-1], "median"), _named(counts[-1], "p95")
    mean, most = float(timings[3]), _named(counts[-1], "max")
    memory = next((found for line in lines if "Memory footprint" in line and (found := MEMORY.search(line))), None)
    printed = Printed(
        load_ms=float(timings[1]) / 1e3, median_ms=(median or mean) / 1e3, p95_ms=(p95 or most or mean) / 1e3,
        calls=int(COUNT.search(counts[-1])[1]),  # type: ignore[index]  # it was searched above
        peak_bytes=int(float(memory[1]) * 2**20) if memory else None, exact=bool(median and p95),
    )  # fmt: skip
    if printed.median_ms <= 0 or printed.calls <= 0:
        message = f"benchmark_model says that {printed.calls} calls took {printed.median_ms} ms each"
        raise ConversionError(message)
    return printed


def _named(line: str, name: str) -> float | None:
    found = re.search(rf"\b{name}={NUMBER}", line)
    return float(found[1]) if found else None


def _last_words(lines: list[str]) -> str:
    """An error of its own before what follows from it."""
    errors = [line for line in lines if "ERROR" in line or "rror:" in line]
    words = [line.strip() for line in (errors or lines) if line.strip()]
    return "; ".join(words[-2:])[:SHOWN_CHARACTERS] or "it printed nothing"
