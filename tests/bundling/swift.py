"""What Swift sources call, name and read, by reading them: enough to hold them against a list of signatures.

No compiler: types are not inferred. A call is its name with the labels of its arguments,
`load(contentsOf:configuration:)`; a closure in braces behind a call is let pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_STRING = re.compile(r'"(?:\\.|[^"\\])*"')
_COMMENT = re.compile(r"//[^\n]*")
_CALL = re.compile(r"(?<![\w@])([A-Za-z_]\w*)\(")
_TYPED = re.compile(r"(?<![\w@.])([A-Z]\w*)<[\w, ]+>\(")
_MEMBER = re.compile(r"\.([a-zA-Z]\w*)(?!\w*[(<])")
_NAMED = re.compile(r"(?<![\w.])([A-Z]\w+|k[A-Z]\w+)")
_DECLARED = re.compile(r"\b(?:func|let|var|case|struct|class|enum|extension)\s+(\w+)")
_FUNCTION = re.compile(r"\bfunc\s+(\w+)(?:<[^>]*>)?\(")
_TYPE = re.compile(r"\b(?:struct|class|enum|extension)\s+(\w+)")
_LABEL = re.compile(r"\s*([a-z_]\w*)\s*:")
_WORDS = ("if", "guard", "switch", "for", "while", "return", "init", "in")


@dataclass(frozen=True, kw_only=True)
class Used:
    """What a source relies on. `calls` by signature, `members` that are read, `names` of types and constants."""

    calls: frozenset[str]
    members: frozenset[str]
    names: frozenset[str]


def plain(path: Path) -> str:
    """The source without comments and without what strings say."""
    return _STRING.sub('""', _COMMENT.sub("", _STRING.sub(lambda found: found[0].replace("//", ""), path.read_text())))


def used(sources: list[str]) -> Used:
    """All that the sources call, read and name, their own things left out."""
    text = "\n".join(sources)
    declared, own = set(_DECLARED.findall(text)), _own_calls(text)
    calls = {call for call in _calls(text) if call not in own}
    members = set(_MEMBER.findall(text)) - declared - {"self"}
    return Used(
        calls=frozenset(calls), members=frozenset(members), names=frozenset(set(_NAMED.findall(text)) - declared)
    )


def _calls(text: str) -> Iterator[str]:
    declared_at = {found.end() for found in _FUNCTION.finditer(text)}
    for pattern in (_CALL, _TYPED):
        for found in pattern.finditer(text):
            if found.end() not in declared_at and found[1] not in _WORDS:
                yield f"{found[1]}({''.join(_labels(_inside(text, found.end())))})"


def _own_calls(text: str) -> set[str]:
    """Signatures of the functions, initialisers, cases with values and plain structs of the sources."""
    own = {f"{found[1]}({''.join(_parameters(_inside(text, found.end())))})" for found in _FUNCTION.finditer(text)}
    own |= {f"{name}(_:)" for name in re.findall(r"\bcase (\w+)\(", text)}
    for found in _TYPE.finditer(text):
        body = _inside(text, text.index("{", found.end()) + 1)
        own |= {
            f"{found[1]}({''.join(_parameters(_inside(body, one.end())))})" for one in re.finditer(r"\binit\(", body)
        }
        own |= {f"init({''.join(_parameters(_inside(body, one.end())))})" for one in re.finditer(r"\binit\(", body)}
        fields = re.findall(r"^\s*let (\w+)", body, re.MULTILINE)
        own |= {f"{found[1]}({''.join(f'{name}:' for name in fields[:count])})" for count in (1, len(fields)) if fields}
    return own


def _parameters(inside: str) -> Iterator[str]:
    """The labels of a declaration: the first word of each parameter."""
    for part in _parts(inside):
        yield f"{part.split(':')[0].split()[0]}:"


def _labels(inside: str) -> Iterator[str]:
    """The labels of a call."""
    for part in _parts(inside):
        label = _LABEL.match(part)
        yield f"{label[1]}:" if label else "_:"


def _parts(inside: str) -> Iterator[str]:
    depth, start = 0, 0
    for at, sign in enumerate(inside):
        depth += (sign in "([{") - (sign in ")]}")
        if sign == "," and depth == 0:
            yield inside[start:at]
            start = at + 1
    if inside[start:].strip():
        yield inside[start:]


def _inside(text: str, start: int) -> str:
    """From behind an opening bracket to the one that closes it."""
    depth = 1
    for at in range(start, len(text)):
        depth += (text[at] in "([{") - (text[at] in ")]}")
        if depth == 0:
            return text[start:at]
    message = f"a bracket is not closed: {text[start - 40 : start]!r}"
    raise ValueError(message)
