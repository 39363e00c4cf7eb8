"""Tables of what is known: plans, models, targets, and what the doctor found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.table import Table
from rich.text import Text

from converter.config import Config
from converter.records import Finding, ModelSpec, PlannedStep

ACTION_STYLES = {"run": "cyan", "verify": "blue", "reuse": "green", "blocked": "yellow"}


def plan_table(planned: Sequence[PlannedStep]) -> Table:
    """A row a step: what happens to it, and why."""
    table = Table("step", "action", "reason", title=_counts(planned), title_justify="left")
    for one in planned:
        table.add_row(one.step.id, Text(one.action, style=ACTION_STYLES[one.action]), one.reason)
    return table


def models_table(specs: Iterable[ModelSpec]) -> Table:
    """A row a model."""
    table = Table("model", "title", "towers", "image", "resize", "mean / std", "embedding", "licence")
    for spec in specs:
        pixels = spec.preprocessing
        plain = pixels.mean == (0.0, 0.0, 0.0) and pixels.std == (1.0, 1.0, 1.0)
        table.add_row(
            spec.id, spec.title, ", ".join(spec.towers), str(pixels.size), pixels.interpolation,
            "0 / 1" if plain else "OpenAI's", str(spec.embed_dim), spec.license,
        )  # fmt: skip
    return table


def targets_table(config: Config) -> Table:
    """A row a kind of file."""
    table = Table("target", "row", "precision", "recipe", "file", "what it is")
    for name, target in config.targets.items():
        for row_name, row in target.rows.items():
            words = row.summary or target.summary
            table.add_row(name, row_name, row.precision, row.recipe or "-", row.file, words)
    return table


def findings_table(findings: Iterable[Finding]) -> Table:
    """A row a finding; what needs mending says how."""
    table = Table("what", "seen", "to do")
    for one in findings:
        table.add_row(one.name, one.seen, Text(one.advice or "-", style="yellow" if one.advice else "green"))
    return table


def _counts(planned: Sequence[PlannedStep]) -> str:
    actions = [one.action for one in planned]
    return ", ".join(f"{actions.count(action)} to {action}" for action in ACTION_STYLES if action in actions)
