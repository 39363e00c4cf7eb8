"""Frozen records as pages: a table with a line a field, from the dataclass itself and the docstrings of its fields."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
import types
import typing
from collections.abc import Iterator, Mapping

NONE = type(None)
WORDS = {str: "text", int: "integer", float: "number", bool: "true or false", NONE: "null", typing.Any: "anything"}


def record_section(kind: type, title: str, *, level: int = 2) -> Iterator[str]:
    """A heading, the record's docstring, and its table."""
    yield from [f"{'#' * level} {title}", "", inspect.getdoc(kind) or "", "", *field_table(kind), ""]


def field_table(kind: type) -> Iterator[str]:
    """The lines of a Markdown table with a line a field; the last column only where a field has a docstring."""
    documented = field_docs(kind)
    hints = typing.get_type_hints(kind)
    last = (" meaning |", "---|") if documented else ("", "")
    yield f"| key | type | default |{last[0]}"
    yield f"|---|---|---|{last[1]}"
    for field in dataclasses.fields(kind):
        meaning = f" {_cell(documented.get(field.name, ''))} |" if documented else ""
        yield f"| `{field.name}` | {_cell(type_words(hints[field.name]))} | {_default(field)} |{meaning}"


def field_docs(kind: type) -> dict[str, str]:
    """The string that stands below each field, on one line."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    found, last = {}, ""
    for node in typing.cast("ast.ClassDef", definition).body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            last = node.target.id
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and last:
            found[last], last = " ".join(str(node.value.value).split()), ""
    return found


def type_words(kind: typing.Any) -> str:
    """A type in the words of YAML and JSON; a record by its name, linked to its section."""
    if dataclasses.is_dataclass(kind):
        name = typing.cast("type", kind).__name__
        return f"[{name}](#{name.lower()})"
    kind = getattr(kind, "__value__", kind)  # what `type Name = ...` stands for
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return ", ".join(f"`{one}`" for one in inner)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(type_words(one) for one in inner)
    if origin is tuple:
        several = len(inner) == 2 and inner[1] is Ellipsis
        return f"list of {type_words(inner[0])}" if several else f"list of {len(inner)}: {type_words(inner[0])}"
    if origin is not None and issubclass(origin, Mapping):
        return f"mapping of names to {type_words(inner[1])}"
    return WORDS.get(kind, f"`{kind}`")


def _default(field: dataclasses.Field[typing.Any]) -> str:
    if field.default is not dataclasses.MISSING:
        return _value_words(field.default)
    return "required" if field.default_factory is dataclasses.MISSING else _value_words(field.default_factory())


def _value_words(value: object) -> str:
    if value is None or value in ("", (), {}):
        return "-"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    return "as below" if dataclasses.is_dataclass(value) else f"`{value}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
