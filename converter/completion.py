"""Tab completion of names that come from YAML. A broken configuration completes to nothing rather than to an error."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import click
from click.shell_completion import CompletionItem

from converter.errors import McconvertError


def complete_models(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Model ids with their titles."""
    from converter.config import load_models

    return _items(lambda: ((spec.id, spec.title) for spec in load_models().values()), incomplete)


def complete_targets(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Target names with their summaries, and all."""
    from converter.config import load_config

    return _items(
        lambda: [("all", "every target"), *((name, one.summary) for name, one in load_config().targets.items())],
        incomplete,
    )


def complete_quants(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Precisions, recipes and row names, and all; a path completes to recipe files."""
    from converter.config import load_config
    from converter.pipeline.steps import quant_names

    if _is_path(incomplete):
        return [CompletionItem(incomplete, type="file")]
    return _items(lambda: ((name, "") for name in ["all", *quant_names(load_config())]), incomplete)


def complete_recipes(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Recipes that ship, with what they do; a path completes to recipe files."""
    from converter.config import load_config

    if _is_path(incomplete):
        return [CompletionItem(incomplete, type="file")]
    return _items(lambda: ((name, recipe.summary) for name, recipe in load_config().recipes.items()), incomplete)


def _is_path(incomplete: str) -> bool:
    return "/" in incomplete or incomplete.startswith((".", "~"))


def _items(names: Callable[[], Iterable[tuple[str, str]]], incomplete: str) -> list[CompletionItem]:
    try:
        return [CompletionItem(name, help=text) for name, text in names() if name.startswith(incomplete)]
    except McconvertError:
        return []
