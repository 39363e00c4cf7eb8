"""Layers that stay in float together or not at all.

A layer left in float alone costs a dequantization before it and a quantization after it, and may split a delegate's
part of the graph in two. So the unit is what lies between two residual sums: the attention or the MLP of a block, or
the token mixer of a convolutional one; outside of blocks the stem, one downsampling, the head.

Rules:

1. Inside `blocks.N` (or `layers.N`, `resblocks.N`, whatever stands for N) a group is the part below it. A part of one
   layer, such as a token mixer that was folded into one convolution, goes with the next part of its block.
2. A stem, a downsampling, a closing convolution and a patch embedding are one group each.
3. Elsewhere a group is the module that holds the layer; a layer at the top is a group by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from converter.errors import UsageError, nearest
from converter.searched import Group

_IN_BLOCK = re.compile(r"^(.*\b(?:blocks|resblocks|layers)\.\w+\.\w+)\b")
_WHOLE = re.compile(r"^(.*?\b(?:stem|downsample|final_conv|pos_emb|patch_embed))\b")


def groups_of_layers(layers: Iterable[str]) -> tuple[Group, ...]:
    """The groups, in the order of their first layers."""
    known = tuple(dict.fromkeys(layers))
    members: dict[str, list[str]] = {}
    for layer in known:
        members.setdefault(_group_name(layer), []).append(layer)
    return tuple(
        Group(name=name, layers=tuple(found), patterns=_patterns(name, found, known))
        for name, found in _with_lone_parts(members).items()
    )


def only_these(groups: Sequence[Group], patterns: Sequence[str]) -> tuple[Group, ...]:
    """The groups whose name, or one of whose layers, fits a pattern; all of them where there is no pattern.

    Raises:
        UsageError: a pattern fits nothing; the nearest name is offered.
    """
    for pattern in patterns:
        if not any(_fits(group, pattern) for group in groups):
            message = f"no group of layers fits '{pattern}'; {nearest(pattern, [group.name for group in groups])}"
            raise UsageError(message)
    return tuple(one for one in groups if not patterns or any(_fits(one, pattern) for pattern in patterns))


def _fits(group: Group, pattern: str) -> bool:
    return any(fnmatchcase(name, pattern) for name in (group.name, *group.layers))


def _group_name(layer: str) -> str:
    found = _IN_BLOCK.match(layer) or _WHOLE.match(layer)
    return found[1] if found else layer.rpartition(".")[0] or layer


def _with_lone_parts(members: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """The second half of rule 1."""
    joined: dict[str, list[str]] = {}
    waiting: tuple[str, list[str]] = ("", [])
    for name, found in members.items():
        block, lone = name.rpartition(".")[0], waiting[1]
        if lone and block != waiting[0]:
            joined[_group_name(lone[0])], lone = lone, []
        together, waiting = [*lone, *found], ("", [])
        if len(together) == 1 and _IN_BLOCK.match(together[0]):
            waiting = (block, together)
        else:
            joined[block if lone else name] = together
    if waiting[1]:
        joined[_group_name(waiting[1][0])] = waiting[1]
    return joined


def _patterns(name: str, layers: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """As few as name these layers and no other."""
    for pattern in (f"{name}.*", f"{name}*"):
        if [layer for layer in known if fnmatchcase(layer, pattern)] == list(layers):
            return (pattern,) if len(layers) > 1 else tuple(layers)
    return tuple(layers)
