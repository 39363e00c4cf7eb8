"""Tables of what is known: plans, models, targets, and what the doctor found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.table import Table
from rich.text import Text

from converter.config import Config
from converter.listed import Listed, Proven
from converter.records import Finding, ModelSpec, PlannedStep

ACTION_STYLES = {"run": "cyan", "verify": "blue", "reuse": "green", "blocked": "yellow"}


def plan_table(planned: Sequence[PlannedStep]) -> Table:
    """A row a step: what happens to it, and why."""
    table = Table("step", "action", "reason", title=_counts(planned), title_justify="left")
    for one in planned:
        table.add_row(one.step.id, Text(one.action, style=ACTION_STYLES[one.action]), one.reason)
    return table


def models_table(models: Iterable[Listed]) -> Table:
    """A row a model, with what --model takes in the first column."""
    table = Table("model", "towers, M parameters", "image", "preprocessing", "weights", "licence", "proven")
    for one in models:
        table.add_row(
            one.name, _towers(one), str(one.size), one.preprocessing or "-", one.weights, one.license, one.proven or "-"
        )
    return table


def model_table(spec: ModelSpec, why_no_text: str, proven: Proven | None) -> Table:
    """All facts of one model, a row each."""
    pixels, count = spec.preprocessing, spec.parameters
    resized = f"{pixels.resize} to {pixels.resize_size or pixels.size}, {pixels.interpolation}, {pixels.crop} crop"
    weights = f"{spec.hub_repo}/{spec.hub_file} at {spec.revision}" if spec.hub_repo else spec.bundled or "none known"
    facts = {
        "title": spec.title,
        "source": spec.source,
        "aliases": ", ".join(spec.aliases) or "-",
        "towers": ", ".join(spec.towers) + (f" ({why_no_text})" if why_no_text else ""),
        "parameters": ", ".join(f"{tower} {count[tower] / 1e6:.1f} M" for tower in spec.towers if tower in count),
        "embedding": f"{spec.embed_dim} numbers, unit length",
        "image": f"{pixels.size} x {pixels.size}, {resized}",
        "mean / std": f"{_numbers(pixels.mean)} / {_numbers(pixels.std)}",
        "text": f"{spec.context_length} tokens" if "text" in spec.towers else "-",
        "weights": weights,
        "licence": f"{spec.license}, {spec.license_url}",
        "targets proven": "; ".join(_proven(proven)) or "none yet",
    }
    table = Table(show_header=False, title=spec.id, title_justify="left")
    for name, value in facts.items():
        table.add_row(name, Text(value or "-"))
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


def _numbers(values: Iterable[float]) -> str:
    return ", ".join(f"{value:.6g}" for value in values)


def _towers(one: Listed) -> str:
    return ", ".join(f"{tower} {one.parameters[tower]:g}" if tower in one.parameters else tower for tower in one.towers)


def _proven(proven: Proven | None) -> Iterable[str]:
    """A phrase a target: how many of its files passed; then on which weights."""
    if proven is None:
        return
    for target, (passed, total) in proven.targets().items():
        yield f"{target} {passed} of {total}"
    yield f"on {proven.weights} weights"


def _counts(planned: Sequence[PlannedStep]) -> str:
    actions = [one.action for one in planned]
    return ", ".join(f"{actions.count(action)} to {action}" for action in ACTION_STYLES if action in actions)
