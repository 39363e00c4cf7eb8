"""GitHub's `${{ }}` expressions, as far as our files use them: paths, strings, operators, fromJSON, status."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

TOKEN = re.compile(r"\s*(?:('(?:[^']|'')*')|(==|!=|&&|\|\||!|\(|\)|\.)|([A-Za-z_][\w-]*))")
EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
STATUS = ("always", "success", "failure", "cancelled")


def evaluate(text: str, context: Mapping[str, Any]) -> Any:
    """The value of one expression, without its braces."""
    parser = _Parser(_tokens(text), context)
    value = parser.either()
    assert parser.rest == [], f"not understood: {text!r} from {parser.rest}"
    return value


def fill(value: Any, context: Mapping[str, Any]) -> Any:
    """A YAML value with its expressions replaced; a value that is one expression keeps its type."""
    if not isinstance(value, str):
        return value
    whole = EXPRESSION.fullmatch(value.strip())
    if whole and "}}" not in whole[1]:
        return evaluate(whole[1], context)
    return EXPRESSION.sub(lambda found: text_of(evaluate(found[1], context)), value)


def holds(condition: Any, context: Mapping[str, Any], *, succeeded: bool) -> bool:
    """Whether an `if:` lets its step or job run; without a status check in it, only after success."""
    if condition is None:
        return succeeded
    text = str(condition).strip()
    inner = text[3:-2] if text.startswith("${{") else text
    checked = any(f"{name}(" in inner for name in STATUS)
    states = {"always": True, "success": succeeded, "failure": not succeeded, "cancelled": False}
    return truth(evaluate(inner, {**context, "status": states})) and (checked or succeeded)


def truth(value: Any) -> bool:
    """What counts as true."""
    return bool(value)


def text_of(value: Any) -> str:
    """A value as it is written into a text."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def _tokens(text: str) -> list[str]:
    found, at = [], 0
    while text[at:].strip():
        match = TOKEN.match(text, at)
        assert match, f"not understood: {text[at:]!r}"
        found.append(match[0].strip())
        at = match.end()
    return found


class _Parser:
    """Recursive descent, weakest operator first."""

    def __init__(self, tokens: list[str], context: Mapping[str, Any]) -> None:
        self.rest, self.context = tokens, context

    def either(self) -> Any:
        value = self._both()
        while self._take("||"):
            other = self._both()
            value = value if truth(value) else other
        return value

    def _both(self) -> Any:
        value = self._compared()
        while self._take("&&"):
            other = self._compared()
            value = other if truth(value) else value
        return value

    def _compared(self) -> Any:
        value = self._single()
        for sign in ("==", "!="):
            if self._take(sign):
                return (text_of(value).lower() == text_of(self._single()).lower()) == (sign == "==")
        return value

    def _single(self) -> Any:
        if self._take("!"):
            return not truth(self._single())
        if self._take("("):
            value = self.either()
            assert self._take(")")
            return value
        token = self.rest.pop(0)
        if token.startswith("'"):
            return token[1:-1].replace("''", "'")
        return self._called(token) if self._take("(") else self._path(token)

    def _called(self, name: str) -> Any:
        argument = None if self.rest[0] == ")" else self.either()
        assert self._take(")")
        return json.loads(argument) if name == "fromJSON" else self.context["status"][name]

    def _path(self, name: str) -> Any:
        assert name in self.context, f"no context '{name}'"
        value = self.context[name]
        while self._take("."):
            value = (value or {}).get(self.rest.pop(0))
        return value

    def _take(self, token: str) -> bool:
        if self.rest[:1] == [token]:
            self.rest.pop(0)
            return True
        return False
