"""A found recipe as YAML that a person can read, review and commit."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Sequence
from typing import Any

import yaml

from converter.records import Recipe, StageResult
from converter.searched import Figures, Found

WIDTH = 120
_NOT_WRITTEN = ("name", "calibration_path")


def recipe_yaml(found: Found, heading: Sequence[str], judged: StageResult | None = None) -> bytes:
    """The chosen recipe. `heading` is whose it is, the command that found it, and the one that uses it."""
    chosen = found.chosen
    if chosen is None or chosen.figures is None:
        message = "a search that found nothing has no recipe to write"
        raise ValueError(message)
    subject, search, use = heading
    plain = next((one.figures for one in found.tried if not one.groups and one.figures), None)
    lines = [
        *_wrapped(f"{subject}: {_what(found)}, for the budget {found.budget}."),
        "#",
        *_wrapped("Found by", search),
        *_wrapped("used by", use),
        "#",
        *_wrapped(f"Judged against the float32 file on {found.judged_on}, by {found.executed_by}: "
                  f"{_figures(chosen.figures)}."),
        *(_wrapped(f"With every layer quantized: {_figures(plain)}.") if plain and chosen.groups else []),
        *_verdict(judged),
    ]  # fmt: skip
    body = yaml.safe_dump(_fields(chosen.recipe, _what(found)), sort_keys=False, width=WIDTH, allow_unicode=True)
    return ("\n".join(lines) + "\n" + body).encode()


def _what(found: Found) -> str:
    groups = found.chosen.groups if found.chosen else ()
    if not groups:
        return "every layer quantized"
    return f"{len(groups)} of {len(found.groups)} groups of layers in float"


def _fields(recipe: Recipe, what: str) -> dict[str, Any]:
    """What differs from the defaults, in the record's order."""
    summary = f"{recipe.summary}; {what}"
    written: dict[str, Any] = {}
    for field in dataclasses.fields(recipe):
        value = summary if field.name == "summary" else getattr(recipe, field.name)
        if field.name not in _NOT_WRITTEN and value != field.default:
            written[field.name] = list(value) if isinstance(value, tuple) else value
    return written


def _figures(figures: Figures) -> str:
    return (
        f"centred cosine {figures.centred_cosine_mean:.4f} (least {figures.centred_cosine_min:.4f}), top-5 kept "
        f"{figures.top_k:.3f}, SQNR {figures.sqnr_db:.1f} dB, latency {figures.latency_ratio:.2f} and size "
        f"{figures.size_ratio:.3f} of float32's"
    )


def _verdict(judged: StageResult | None) -> list[str]:
    """What parity samples say, which the search never saw."""
    report = judged.vs_reference if judged else None
    if report is None or report.ranking is None:
        return []
    output = report.outputs[0]
    return _wrapped(
        f"Judged against PyTorch on {report.sample_set}, which the search did not look at: centred cosine "
        f"{output.centred_cosine_mean:.4f} (least {output.centred_cosine_min:.4f}), top-5 kept "
        f"{report.ranking.top_k:.3f}, SQNR {output.sqnr_db:.1f} dB."
    )


def _wrapped(text: str, command: str = "") -> list[str]:
    """Comment lines; a command stands on a line of its own, whole."""
    lines = [f"# {line}" for line in textwrap.wrap(text, WIDTH - 2)]
    return [*lines, f"#   {command}"] if command else lines
