"""What a search for a recipe found: the points tried, what each group of layers gains and costs, and the end."""

from __future__ import annotations

from rich.console import Group as Lines
from rich.table import Table
from rich.text import Text

from converter.searched import COSTS, Budget, Figures, Found, Tried, misses, value_of

GROUPS_SHOWN = 12
COLUMNS = ("cosine mean", "least", "top-5", "top-1", "tau", "SQNR dB", "size", "latency", "parts")


def search_view(found: Found, title: str) -> Lines:
    """Tables and verdict."""
    groups = [groups_table(found)] if any(group.gained is not None for group in found.groups) else []
    return Lines(points_table(found, title), *groups, Text(verdict(found)))


def points_table(found: Found, title: str) -> Table:
    """Every recipe that was tried, in order; the chosen one marked."""
    table = Table(title=title, title_justify="left", caption=f"judged on {found.judged_on}", caption_justify="left")
    table.add_column("tried")
    for name in COLUMNS:
        table.add_column(name, justify="right")
    table.add_column("budget")
    for tried in found.tried:
        chosen = found.chosen is not None and tried.recipe == found.chosen.recipe
        cells = _cells(tried.figures) if tried.figures else [""] * len(COLUMNS)
        table.add_row(
            f"{'> ' if chosen else ''}{tried.label}", *cells, _state(found.budget, tried, chosen=chosen),
            style="bold" if chosen else None,
        )  # fmt: skip
    return table


def groups_table(found: Found) -> Table:
    """The groups that gain most when they alone stay in float."""
    table = Table(title="noise gone, and cost, when a group alone stays in float", title_justify="left")
    for name, justify in (("group of layers", "left"), ("layers", "right"), ("noise gone", "right"), ("cost", "right")):
        table.add_column(name, justify="right" if justify == "right" else "left")
    measured = [group for group in found.groups if group.gained is not None]
    for group in sorted(measured, key=lambda one: -(one.gained or 0.0))[:GROUPS_SHOWN]:
        table.add_row(group.name, str(len(group.layers)), f"{group.gained:.1%}", f"{group.costs:+.3f}")
    if len(measured) > GROUPS_SHOWN:
        table.caption = f"and {len(measured) - GROUPS_SHOWN} more that gain less"
    return table


def verdict(found: Found) -> str:
    """The end of the search in a sentence or two."""
    early = "; it was stopped before it had tried all" if found.stopped_early else ""
    recipes = "1 recipe" if len(found.tried) == 1 else f"{len(found.tried)} recipes"
    points = f"{recipes} tried in {found.seconds:.0f} s, {found.reused} of them stored before{early}"
    if found.chosen is not None:
        number = len(found.chosen.groups)
        what = f"{number} of {len(found.groups)} groups in float" if number else "no layer has to stay in float"
        return f"budget met ({found.budget}): {found.chosen.label}; {what}. {points}."
    if found.best is None or found.best.figures is None:
        reason = found.tried[0].failed if found.tried else "nothing was tried"
        return f"no file could be made: {reason}. {points}."
    missed = ", ".join(
        f"{bound} ({value_of(found.best.figures, bound.metric):.4f}, missed by {by:.4f})"
        for bound, by in misses(found.budget, found.best.figures)
    )
    return f"no recipe meets the budget. Best found: {found.best.label}; it misses {missed}. {points}."


def _cells(figures: Figures) -> list[str]:
    return [
        f"{figures.centred_cosine_mean:.4f}", f"{figures.centred_cosine_min:.4f}", f"{figures.top_k:.3f}",
        f"{figures.top1:.3f}", f"{figures.kendall_tau:.3f}", f"{figures.sqnr_db:.1f}", f"{figures.size_ratio:.3f}",
        f"{figures.latency_ratio:.3f}", str(figures.parts or ""),
    ]  # fmt: skip


def _state(budget: Budget, tried: Tried, *, chosen: bool) -> Text:
    if tried.figures is None:
        return Text(tried.failed, style="yellow")
    missed = misses(budget, tried.figures)
    if not missed:
        return Text("chosen" if chosen else "met", style="green")
    return Text(", ".join(f"{bound.metric} {'+' if bound.metric in COSTS else '-'}{by:.3f}" for bound, by in missed))
