"""Vectors and probabilities shown: as tables for eyes, as plain mappings for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Column, Table
from rich.text import Text

from converter.inference import Space
from converter.inference.classifying import Classified
from converter.inference.embedding import Embedded

SHOWN_ROWS = 20
SHOWN_NUMBERS = 4
SHOWN_CHARACTERS = 48


def origin(spaces: Sequence[Space]) -> list[dict[str, Any]]:
    """Where vectors come from: model, weights, whether trained, and what ran it."""
    return [
        {
            "name": space.name, "model": space.model.id, "weights_sha256": space.model.weights.sha256,
            "trained": space.model.trained, "embed_dim": space.model.embed_dim,
            "executed_by": dict(space.executed_by),
        }
        for space in spaces
    ]  # fmt: skip


def embedded_json(embedded: Embedded, spaces: Sequence[Space], *, ensemble: bool, out: str | None) -> dict[str, Any]:
    """The vectors as lists, one for each space; with `out` where they were written instead."""
    facts: dict[str, Any] = {"spaces": origin(spaces), "ensemble": ensemble, "skipped": embedded.skipped}
    if out is not None:
        return facts | {"out": out, "count": len(embedded.rows)}
    rows = [
        {"name": row.name, "kind": row.kind, "embeddings": [vector.tolist() for vector in row.vectors]}
        for row in embedded.rows
    ]
    return facts | {"rows": rows}


def embedded_table(embedded: Embedded, columns: Sequence[str]) -> Table:
    """The first rows with the first numbers of each vector."""
    first = Column("input", overflow="fold")
    table = Table(first, "kind", *columns, caption=_rest(len(embedded.rows)), caption_justify="left")
    for row in embedded.rows[:SHOWN_ROWS]:
        table.add_row(_name(row.name), row.kind, *(_numbers(vector) for vector in row.vectors))
    return table


def classified_json(classified: Classified, spaces: Sequence[Space]) -> dict[str, Any]:
    """Probabilities in the order of `columns`, the most probable label first."""
    return {
        "spaces": origin(spaces), "columns": classified.columns, "images": classified.images,
        "skipped": classified.skipped,
    }  # fmt: skip


def classified_table(classified: Classified) -> Table:
    """A block an image, a row a label, a column a model."""
    table = Table(Column("image", overflow="fold"), "label")
    for column in classified.columns:
        table.add_column(column, justify="right")
    for image in classified.images:
        for place, guess in enumerate(image.guesses):
            shares = [Text(f"{share:7.1%}", style="" if place else "bold") for share in guess.probabilities]
            table.add_row(_name(image.name) if place == 0 else "", Text(guess.label), *shares)
        table.add_section()
    return table


def _name(name: str) -> Text:
    """The end of a path says more than its beginning."""
    return Text(name if len(name) <= SHOWN_CHARACTERS else f"...{name[-SHOWN_CHARACTERS:]}")


def _numbers(vector: Any) -> str:
    first = " ".join(f"{value: .4f}" for value in vector[:SHOWN_NUMBERS])
    return f"{first} ... ({len(vector)})"


def _rest(count: int) -> str | None:
    return f"and {count - SHOWN_ROWS} more; --out FILE keeps all" if count > SHOWN_ROWS else None
