"""YAML from anyone: plain values only, and never more of them than a configuration can have.

PyYAML's safe loader makes no objects, but it follows nesting with the C stack, and its aliases make a text of ten lines
stand for a billion values. Rules:

1. At most `MOST_BYTES`, nested at most `DEEPEST` levels; this is counted before anything is built.
2. An alias counts as all that it stands for: at most `MOST_VALUES`, and nothing holds itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

MOST_BYTES = 2**20
"""The longest configuration that ships has 20 kB."""
DEEPEST = 50
MOST_VALUES = 50_000
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_OPEN = (yaml.MappingStartEvent, yaml.SequenceStartEvent)
_CLOSE = (yaml.MappingEndEvent, yaml.SequenceEndEvent)


def load_yaml(text: str | bytes) -> Any:
    """The value of one YAML document.

    Raises:
        ValueError: this is not YAML, has tags of its own, or is more than rules 1 and 2 allow; the message says which.
    """
    if len(text) > MOST_BYTES:
        message = f"it has {len(text):,} bytes; a configuration has at most {MOST_BYTES:,}"
        raise ValueError(message)
    try:
        _refuse_deep(text)
        value = yaml.load(text, Loader=_LOADER)
    except (yaml.YAMLError, TypeError, AttributeError, KeyError, IndexError, OverflowError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split())) from error  # bad scalars raise what their constructors raise
    _count(value, {}, ())
    return value


def _refuse_deep(text: str | bytes) -> None:
    """Rule 1."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        depth += isinstance(event, _OPEN) - isinstance(event, _CLOSE)
        if depth > DEEPEST:
            message = f"it is nested more than {DEEPEST} levels deep"
            raise ValueError(message)


def _count(value: object, known: dict[int, int], above: tuple[int, ...]) -> int:
    """Rule 2: how many values there are below, aliases followed."""
    if id(value) in above:
        message = "a value holds itself, by an alias (*name) inside its own anchor (&name)"
        raise ValueError(message)
    if id(value) not in known:
        below = (*above, id(value))
        known[id(value)] = 1 + sum(_count(one, known, below) for one in _inside(value))
    if known[id(value)] > MOST_VALUES:
        message = f"its aliases make more than {MOST_VALUES:,} values of it"
        raise ValueError(message)
    return known[id(value)]


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list | tuple | set) else ()
