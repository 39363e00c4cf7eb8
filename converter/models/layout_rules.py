"""The rules by which tensors are renamed, read both ways: theirs to ours and ours to theirs.

A rule's templates hold `{n}` for numbers and `{rest}` for the end of a name, both in the same order. The tables of
rules are in `layouts`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from converter.errors import WeightsError

if TYPE_CHECKING:
    import torch

PLACEHOLDER = re.compile(r"\{n\}|\{rest\}")

type State = Mapping[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One kind of tensor in both layouts. Theirs has `leading` dimensions of size 1 more in front, or is transposed.

    Without `ours`, the tensor is no weight and is dropped. Without `theirs`, it is a bias that they lack: zeros, as
    many as `zeros_like` (one of our names) has rows.
    """

    theirs: str = ""
    ours: str = ""
    leading: int = 0
    transposed: bool = False
    zeros_like: str = ""


@dataclass(frozen=True, kw_only=True)
class Joint:
    """Tensors that are several in theirs and one in ours, stacked in this order.

    `parts` and `whole` are the pieces in the middle of a name by which they differ; rules see the whole.
    """

    parts: tuple[str, ...]
    whole: str


@dataclass(frozen=True, kw_only=True)
class Layout:
    """All names of one kind of checkpoint. `owner` says in messages whose they are."""

    owner: str
    rules: tuple[Rule, ...]
    joints: tuple[Joint, ...] = ()


def to_ours(layout: Layout, state: State) -> dict[str, torch.Tensor]:
    """Their state under our names and in our shapes; what no rule knows keeps its name."""
    import torch

    ours: dict[str, torch.Tensor] = {}
    for name, tensor in _joined(layout, state).items():
        rule, new = _translate(layout, name, theirs=True)
        if rule is None or rule.ours:
            ours[new] = tensor if rule is None else _our_shape(rule, tensor)
    for rule in layout.rules:
        if rule.zeros_like in ours:
            weight = ours[rule.zeros_like]
            ours[rule.ours] = torch.zeros(len(weight), dtype=weight.dtype, device=weight.device)
    return ours


def to_theirs(layout: Layout, state: State) -> dict[str, torch.Tensor]:
    """Our state under their names and in their shapes, the reverse of `to_ours`.

    Raises:
        WeightsError: a bias that they lack is not zero, so that theirs would be another model.
    """
    theirs: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        rule, new = _translate(layout, name, theirs=False)
        if rule is None or rule.theirs:
            theirs[new] = tensor if rule is None else _their_shape(rule, tensor)
        elif not tensor.is_meta and bool(tensor.any()):
            message = f"{name} is not zero, and the checkpoints of {layout.owner} have no place for it"
            raise WeightsError(message)
    return _parted(layout, theirs)


def fit(layout: Layout, names: Iterable[str]) -> int:
    """How many more of these names the layout's rules rename than it leaves unknown."""
    renamed = unknown = 0
    for name in names:
        for joint in layout.joints:
            name = next((name.replace(part, joint.whole) for part in joint.parts if part in name), name)
        rule, new = _translate(layout, name, theirs=True)
        renamed += rule is not None and new != name
        unknown += rule is None
    return renamed - unknown


def _joined(layout: Layout, state: State) -> dict[str, torch.Tensor]:
    import torch

    joined = dict(state)
    for joint in layout.joints:
        first = joint.parts[0]
        for name in [name for name in joined if first in name]:
            names = [name.replace(first, part) for part in joint.parts]
            if all(one in joined for one in names):
                joined[name.replace(first, joint.whole)] = torch.cat([joined.pop(one) for one in names])
    return joined


def _parted(layout: Layout, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    parted = dict(state)
    for joint in layout.joints:
        for name in [name for name in parted if joint.whole in name]:
            rows = parted.pop(name).chunk(len(joint.parts))
            parted |= {name.replace(joint.whole, part): row for part, row in zip(joint.parts, rows, strict=True)}
    return parted


def _translate(layout: Layout, name: str, theirs: bool) -> tuple[Rule | None, str]:
    """The first rule that fits `name`, and the name in the other layout."""
    for rule in layout.rules:
        template, other = (rule.theirs, rule.ours) if theirs else (rule.ours, rule.theirs)
        match = _pattern(template).fullmatch(name) if template else None
        if match:
            return rule, _filled(other, match.groups())
    return None, name


def _filled(template: str, values: Iterable[str]) -> str:
    left = iter(values)
    return PLACEHOLDER.sub(lambda _: next(left), template)


@cache
def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.escape(template).replace(r"\{n\}", r"(\d+)").replace(r"\{rest\}", "(.+)"))


def _our_shape(rule: Rule, tensor: torch.Tensor) -> torch.Tensor:
    if tensor.ndim < rule.leading or any(size != 1 for size in tensor.shape[: rule.leading]):
        return tensor  # of no shape that the rule knows; whoever loads it will say so
    tensor = tensor.reshape(tensor.shape[rule.leading :])
    return tensor.T.contiguous() if rule.transposed and tensor.ndim == 2 else tensor


def _their_shape(rule: Rule, tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor.T.contiguous() if rule.transposed else tensor
    return tensor.reshape((*[1] * rule.leading, *tensor.shape))


def below(theirs: str, ours: str, rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """The same rules further down in both trees."""
    return tuple(
        Rule(theirs=theirs + rule.theirs, ours=ours + rule.ours, leading=rule.leading, transposed=rule.transposed)
        for rule in rules
    )


def renamed(**pairs: str) -> tuple[Rule, ...]:
    """`theirs="ours"` for whole modules."""
    return tuple(Rule(theirs=f"{theirs}.{{rest}}", ours=f"{ours}.{{rest}}") for theirs, ours in pairs.items())
