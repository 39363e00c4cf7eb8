"""Which PyTorch modules the names inside a file speak of.

Converters keep paths of modules, each spelled in its own way: `/tower/trunk/0/blocks/0/mlp/fc1/Conv_output_0` (the
container `stages` was left out), `tower_trunk_stem_0_reparam_conv_weight_to_fp16`, `.../fc1/Conv_conv_filter`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

_SEPARATORS = re.compile(r"[^0-9A-Za-z]+")
Hints = Mapping[str, float]


class Modules:
    """The paths of the reference's modules, ready to be found in names."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._by_end: dict[str, list[tuple[str, tuple[str, ...]]]] = defaultdict(list)
        for path in dict.fromkeys(paths):
            words = _words(path)
            if words:
                self._by_end[words[-1]].append((path, words))
        self._known: dict[tuple[str, ...], Hints] = {}

    def hints(self, names: Iterable[str]) -> Hints:
        """Modules that the names speak of with how much of the path they spell, in (0, 1].

        A name speaks of a module if it begins with the words of the module's path, some of them perhaps left out, the
        first and the last one never. Of several modules those count that use up most of the name.
        """
        found: dict[str, float] = {}
        for name in names:
            for path, share in self._of(_words(name)).items():
                found[path] = max(share, found.get(path, 0.0))
        return found

    def _of(self, words: tuple[str, ...]) -> Hints:
        if words not in self._known:
            self._known[words] = self._search(words)
        return self._known[words]

    def _search(self, words: tuple[str, ...]) -> Hints:
        best = 0
        found: dict[str, float] = {}
        for end in dict.fromkeys(words):
            for path, module in self._by_end.get(end, ()):
                used = _spelled(words, module)
                if used > best:
                    best, found = used, {}
                if used and used == best:
                    found[path] = used / len(module)
        top = max(found.values(), default=0.0)
        return {path: share for path, share in found.items() if share == top}


def _spelled(words: tuple[str, ...], module: tuple[str, ...]) -> int:
    """How many of the first words run through the module's path to its very end; 0 if they do not get there."""
    at, used, last = 0, 0, 0
    if words[:1] != module[:1]:
        return 0
    for word in words:
        while at < len(module) and module[at] != word:
            at += 1
        if at == len(module):
            break
        at, used = at + 1, used + 1
        if at == len(module):
            last = used
    return last


def _words(name: str) -> tuple[str, ...]:
    return tuple(word.lower() for word in _SEPARATORS.split(name) if word)
