"""Figures and records as pages write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from converter.records import Interval, Recipe, TensorSpec
from converter.report.answers import percent
from converter.report.diff import sizes
from converter.report.summary import size_words, three_figures
from converter.reported import Reported, ReportedFile

MARKS: Mapping[str, str] = {"PASSED": "✓", "FAILED": "✗", "ERROR": "✗", "BLOCKED": "…", "CHANGED": "!"}
"""Beside each verdict, for eyes that do not tell its colour."""


def cosine(value: float) -> str:
    """Six decimals."""
    return f"{value:.6f}"


def decibels(value: float | None) -> str:
    """One decimal; a dash for none."""
    return "-" if value is None else f"{value:.1f}"


def share(value: float, interval: Interval | None = None) -> str:
    """In percent, rounded down, with its 95 % interval."""
    between = f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]" if interval else ""
    return percent(value) + between


def tensor(spec: TensorSpec) -> str:
    """`image (1, 3, 256, 256) float32 NCHW in [0, 1]`."""
    shape = ", ".join(str(one) for one in spec.shape)
    between = f" in [{spec.value_range[0]:g}, {spec.value_range[1]:g}]" if spec.value_range else ""
    return f"{spec.name} ({shape}) {spec.dtype} {spec.layout}{between}"


def recipe(one: Recipe | None) -> str:
    """The recipe's name and what it says of itself."""
    return "" if one is None else f"{one.name}: {one.summary}"


def row_name(step_id: str) -> str:
    """`onnx/int8` of `image/onnx/int8`."""
    return step_id.partition("/")[2]


def anchor(step_id: str) -> str:
    """A name for links inside the page, made of letters, digits and lines only."""
    return "file-" + "".join(one if one.isascii() and one.isalnum() else "-" for one in step_id)


def signed_exponent(text: str) -> str:
    """Text of pictures with hyphens for the minus sign that few fonts have."""
    return text.replace("\N{MINUS SIGN}", "-")


def headline(reported: Reported) -> str:
    """How many files passed."""
    required = [one for one in reported.files if one.entry.required]
    passed = sum(one.verdict == "PASSED" for one in required)
    total = len(required) + sum(one.required for one in reported.missing)
    return f"{passed} of {total} required files PASSED" + (f", {total - passed} did not" if passed < total else "")


def not_passed(reported: Reported) -> list[tuple[str, str, str]]:
    """(step, verdict, why) of each file that did not pass, and of each that was not made."""
    rows = []
    for one in reported.files:
        if one.verdict != "PASSED":
            why = one.changed or "; ".join(one.entry.failures) or one.entry.not_required_because
            rows.append((one.entry.step_id, _excused(one.verdict, required=one.entry.required), why))
    for missing in reported.missing:
        verdict = _excused(missing.status, required=missing.required)
        rows.append((missing.step_id, verdict, "no file was made; the log of its step says why"))
    return rows


def all_passed(reported: Reported) -> bool:
    """Whether every required file is there and passed."""
    files = all(one.verdict == "PASSED" for one in reported.files if one.entry.required)
    return files and not any(one.required for one in reported.missing)


def cautions(files: Sequence[ReportedFile]) -> dict[str, list[str]]:
    """What a verdict does not prove, with the files that share it."""
    found: dict[str, list[str]] = {}
    for one in files:
        own = one.entry.parity.cautions if one.entry.parity else ()
        for caution in (*own, *one.entry.artifact().cautions):
            names = found.setdefault(caution, [])
            if one.entry.step_id not in names:
                names.append(one.entry.step_id)
    return found


def filters() -> dict[str, Any]:
    """By the names that templates use."""
    return {
        "size": size_words, "ms": three_figures, "cosine": cosine, "db": decibels, "share": share, "tensor": tensor,
        "recipe": recipe, "row_name": row_name, "sizes": sizes, "anchor": anchor, "percent": percent,
    }  # fmt: skip


def _excused(verdict: str, *, required: bool) -> str:
    return verdict if required else f"{verdict} (not required)"
