"""Turn YAML values into frozen dataclasses: every mistake is collected with its breadcrumb, none stops the others."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from converter.errors import nearest

SHOWN = 200
"""How many characters of a wrong value a message shows."""
INVALID: Any = object()
"""What a value becomes when it cannot be read; the mistake is in the list."""


def parse[T](kind: type[T], value: object, crumb: str, mistakes: list[str]) -> T:
    """Read `value` as `kind`. Mistakes are appended to `mistakes`; the result is then `INVALID`."""
    return typing.cast("T", _parse(kind, value, crumb, mistakes))


def _parse(kind: Any, value: object, crumb: str, mistakes: list[str]) -> Any:
    origin = get_origin(kind)
    if kind is Any or kind is object:
        return value
    if is_dataclass(kind):
        return _dataclass(kind, value, crumb, mistakes)
    if origin is Literal:
        return _choice(get_args(kind), value, crumb, mistakes)
    if origin in (types.UnionType, typing.Union):
        return _optional(kind, value, crumb, mistakes)
    if origin is tuple:
        return _tuple(get_args(kind), value, crumb, mistakes)
    if origin is not None and issubclass(origin, Mapping):
        return _mapping(get_args(kind)[1], value, crumb, mistakes)
    return _scalar(kind, value, crumb, mistakes)


def _dataclass(kind: Any, value: object, crumb: str, mistakes: list[str]) -> Any:
    if not isinstance(value, Mapping):
        return _mistake(mistakes, crumb, "a mapping of names to values", value)
    before = len(mistakes)
    hints = get_type_hints(kind)
    known = {f.name: f for f in fields(kind)}
    for name in value:
        if name not in known:
            mistakes.append(f"{_join(crumb, name)}: unknown key; {nearest(str(name), known)}")
    read = {name: _parse(hints[name], value[name], _join(crumb, name), mistakes) for name in known if name in value}
    for name, spec in known.items():
        if name not in value and spec.default is MISSING and spec.default_factory is MISSING:
            mistakes.append(f"{_join(crumb, name)}: missing; it has no default")
    return kind(**read) if len(mistakes) == before else INVALID


def _choice(choices: tuple[Any, ...], value: object, crumb: str, mistakes: list[str]) -> Any:
    if value in choices and not isinstance(value, bool):
        return value
    hint = nearest(str(value)[:SHOWN], [str(choice) for choice in choices])
    mistakes.append(f"{crumb}: {_short(value)} is not one of {', '.join(map(str, choices))}; {hint}")
    return INVALID


def _optional(kind: Any, value: object, crumb: str, mistakes: list[str]) -> Any:
    choices = get_args(kind)
    if value is None and type(None) in choices:
        return None
    kinds = [choice for choice in choices if choice is not type(None)]
    for choice in kinds:
        trial: list[str] = []
        read = _parse(choice, value, crumb, trial)
        if not trial:
            return read
    mistakes.extend(trial)
    return INVALID


def _tuple(kinds: tuple[Any, ...], value: object, crumb: str, mistakes: list[str]) -> Any:
    if isinstance(value, str) or not isinstance(value, list | tuple):
        return _mistake(mistakes, crumb, "a list", value)
    if kinds[-1] is Ellipsis:
        kinds = (kinds[0],) * len(value)
    if len(kinds) != len(value):
        return _mistake(mistakes, crumb, f"a list of {len(kinds)}", value)
    return tuple(
        _parse(kind, one, f"{crumb}[{i}]", mistakes) for i, (kind, one) in enumerate(zip(kinds, value, strict=True))
    )


def _mapping(kind: Any, value: object, crumb: str, mistakes: list[str]) -> Any:
    if not isinstance(value, Mapping):
        return _mistake(mistakes, crumb, "a mapping of names to values", value)
    return {str(name): _parse(kind, one, _join(crumb, name), mistakes) for name, one in value.items()}


def _scalar(kind: Any, value: object, crumb: str, mistakes: list[str]) -> Any:
    if kind is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:  # YAML 1.1 reads 1e-5 (without a dot) as a string
            return float(value)
        except ValueError:
            return _mistake(mistakes, crumb, "a number", value)
    if kind is int and isinstance(value, bool):
        return _mistake(mistakes, crumb, "a whole number", value)
    if not isinstance(value, kind):
        words = {int: "a whole number", str: "text", bool: "true or false", float: "a number"}
        return _mistake(mistakes, crumb, words.get(kind, getattr(kind, "__name__", str(kind))), value)
    return value


def _mistake(mistakes: list[str], crumb: str, expected: str, value: object) -> Any:
    mistakes.append(f"{crumb}: expected {expected}, found {_short(value)}")
    return INVALID


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _join(crumb: str, name: object) -> str:
    return f"{crumb}.{name}" if crumb else str(name)
