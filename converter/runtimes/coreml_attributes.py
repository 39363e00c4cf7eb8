"""Hold what the operations of a Core ML program are told against what the TorchScript graph tells its own.

An epsilon of 1e-6 for 1e-5, one GELU of its tanh form among fifty exact ones, a floor under a division that is never
reached: figures over samples are blind to these. Operations keep neither name nor place in the conversion, so each
family is compared as a bag of settings, and only where both sides have as many operations. Where they have not,
`coreml_counts` says so of what must be there, and of the rest coremltools has merged some.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from converter.mil.program import Operation, Program

type Setting = tuple[tuple[str, Any], ...]
"""What one operation is told, by name: (("axes", (-1,)), ("epsilon", 1e-05))."""
AXES = ("axis", "axes", "perm")
"""Settings that name axes: -1 and 3 are the same where there are four."""
UNBOUNDED = float(np.finfo(np.float32).max)
"""What coremltools writes where a clamp has no bound; infinite in float16."""
GELU_MODES = {"EXACT": "none", "TANH_APPROXIMATION": "tanh"}


@dataclass(frozen=True, kw_only=True)
class Family:
    """Operations that mean the same in both graphs, and how either is read."""

    name: str
    torch: Mapping[str, Callable[[Sequence[Any]], Setting]]
    """By kind of node: a setting from its inputs, None where one is computed."""
    mil: str
    read: Callable[[_Told], Setting]


@dataclass(frozen=True, kw_only=True)
class _Found:
    """One operation of the program: its setting, and how many axes its result has."""

    setting: Setting
    axes: int

    @property
    def rank(self) -> int:
        """Axes of what it works on: those of its result, and those that it does away with."""
        told = dict(self.setting)
        return self.axes + (len(told["axes"]) if told.get("axes") and not told.get("keep_dims", True) else 0)


class _Told:
    """Arguments of an operation of the program that are constants, in plain Python values."""

    def __init__(self, operation: Operation, program: Program) -> None:
        self._operation = operation
        self._program = program

    @property
    def axes(self) -> int:
        """Of the result; 0 where the program leaves it open."""
        return len(self._operation.shapes[0] or ())

    def of(self, key: str, default: Any) -> Any:
        """The argument; the default that MIL's specification gives it where it is left out; None if computed."""
        names = self._operation.inputs.get(key)
        if names is None:
            return default
        value = self._program.constants.get(names[0])
        return _plain(value) if isinstance(value, np.ndarray) else value

    def small(self, key: str, default: float) -> Any:
        """A number with the type that it is stored in: that says how the parent's was rounded."""
        names = self._operation.inputs.get(key)
        if names is None:
            return np.float32(default)
        value = self._program.constants.get(names[0])
        return value.reshape(-1)[0] if isinstance(value, np.ndarray) else None


def attribute_problems(program: Program, graph: Any) -> Iterator[str]:
    """Settings that operations of the program have and the torch graph's have not, and the other way round."""
    for family in FAMILIES:
        operations = [one for one in program.operations if one.kind == family.mil]
        theirs = [family.torch[node.kind()](_inputs(node)) for node in graph.nodes() if node.kind() in family.torch]
        if len(operations) == len(theirs):
            told = [_Told(one, program) for one in operations]
            ours = [_Found(setting=family.read(one), axes=one.axes) for one in told]
            yield from _unlike(family.name, ours, theirs)


def _unlike(name: str, ours: list[_Found], theirs: list[Setting]) -> Iterator[str]:
    """Those written alike are paired first, then those that mean the same."""
    left = list(theirs)
    for by_rank in (False, True):
        ours = [one for one in ours if not _paired(one, left, by_rank=by_rank)]
    extra, lacking = Counter(_words(one.setting) for one in ours), Counter(map(_words, left))
    for words, count in extra.items():
        yield f"{name}: {count} of the program with {words}; the parent has instead {_listed(lacking)}"


def _paired(one: _Found, left: list[Setting], *, by_rank: bool) -> bool:
    """Whether it is one of those left, which then is left no more."""
    for index, other in enumerate(left):
        if _same(one, other, by_rank=by_rank):
            del left[index]
            return True
    return False


def _same(ours: _Found, theirs: Setting, *, by_rank: bool) -> bool:
    rank = ours.rank if by_rank else 0
    return all(
        _equal(key, value, expected, rank) for (key, value), (_, expected) in zip(ours.setting, theirs, strict=True)
    )


def _equal(key: str, value: Any, expected: Any, rank: int) -> bool:
    if value is None or expected is None:
        return value is expected
    if key in AXES and rank:
        return _counted(key, value, rank) == _counted(key, expected, rank)
    if isinstance(value, np.floating):
        return bool(value == _stored(expected, value.dtype))
    return bool(value == expected)


def _counted(key: str, axes: Any, rank: int) -> tuple[int, ...]:
    """Axes from the front; their order matters in a permutation only."""
    if key == "perm" and isinstance(axes[0], tuple):  # two axes that torch exchanges
        first, second = (axis % rank for axis in axes[0])
        order = list(range(rank))
        order[first], order[second] = second, first
        return tuple(order)
    counted = [axis % rank for axis in (axes if isinstance(axes, tuple) else (axes,))]
    return tuple(counted if key == "perm" else sorted(counted))


def _stored(value: float, dtype: np.dtype[Any]) -> Any:
    """As coremltools stores a number: rounded, and for what would become 0 the smallest that does not."""
    with np.errstate(over="ignore", under="ignore"):
        rounded = dtype.type(value)
    smallest: Any = np.nextafter(dtype.type(0), dtype.type(1))
    return smallest if value > 0 and abs(rounded) <= smallest else rounded


def _inputs(node: Any) -> list[Any]:
    """What each input of a torch node is, in plain values; None where it is computed or a tensor of several."""
    return [_constant(one) for one in node.inputs()]


def _constant(value: Any) -> Any:
    if value.node().kind() != "prim::Constant":
        return None
    held = value.toIValue()
    if hasattr(held, "numel"):
        return held.item() if held.numel() == 1 else None
    return tuple(held) if isinstance(held, list) else held


def _plain(value: np.ndarray[Any, Any]) -> Any:
    return tuple(value.tolist()) if value.ndim else value.item()


def _words(setting: Setting) -> str:
    return ", ".join(
        f"{key} {value:g}" if isinstance(value, float | np.floating) else f"{key} {value}" for key, value in setting
    )


def _listed(counts: Counter[str]) -> str:
    return "; ".join(f"{count} with {words}" for words, count in counts.items()) or "none"


def _torch_convolution(inputs: Sequence[Any], groups: int) -> Setting:
    strides, pads, dilations = inputs[3:6]
    told = tuple((size, size) for size in pads) if isinstance(pads, tuple) else pads
    return (("strides", strides), ("pads", told), ("dilations", dilations), ("groups", inputs[groups]))


def _convolution(told: _Told) -> Setting:
    once = (1,) * (told.axes - 2)
    pads: Any = told.of("pad_type", "valid")
    if pads == "valid":
        pads = ((0, 0),) * len(once)
    elif pads == "custom":
        listed = told.of("pad", None)
        pads = listed and tuple(zip(listed[::2], listed[1::2], strict=True))
    return (
        ("strides", told.of("strides", once)), ("pads", pads), ("dilations", told.of("dilations", once)),
        ("groups", told.of("groups", 1)),
    )  # fmt: skip


def _torch_reduction(inputs: Sequence[Any]) -> Setting:
    if len(inputs) < 3:  # over everything
        return (("axes", None), ("keep_dims", False))
    return (("axes", inputs[1]), ("keep_dims", bool(inputs[2])))


def _reduction(told: _Told) -> Setting:
    return (("axes", told.of("axes", None)), ("keep_dims", told.of("keep_dims", False)))


def _bound(value: Any, missing: float) -> float:
    return missing if value is None else float(value)


FAMILIES = (
    Family(
        name="convolution",
        torch={
            "aten::_convolution": lambda a: _torch_convolution(a, groups=8),
            "aten::conv1d": lambda a: _torch_convolution(a, groups=6),
            "aten::conv2d": lambda a: _torch_convolution(a, groups=6),
        },
        mil="conv",
        read=_convolution,
    ),
    Family(
        name="layer norm",
        torch={"aten::layer_norm": lambda a: (("axes", tuple(range(-len(a[1]), 0))), ("epsilon", a[4]))},
        mil="layer_norm",
        read=lambda told: (("axes", told.of("axes", None)), ("epsilon", told.small("epsilon", 1e-5))),
    ),
    Family(
        name="batch norm",
        torch={"aten::batch_norm": lambda a: (("epsilon", a[7]),)},
        mil="batch_norm",
        read=lambda told: (("epsilon", told.small("epsilon", 1e-5)),),
    ),
    Family(
        name="gelu",
        torch={"aten::gelu": lambda a: (("approximate", a[1]),)},
        mil="gelu",
        read=lambda told: (("approximate", GELU_MODES.get(told.of("mode", "EXACT"))),),
    ),
    Family(
        name="softmax",
        torch={"aten::softmax": lambda a: (("axis", a[1]),)},
        mil="softmax",
        read=lambda told: (("axis", told.of("axis", -1)),),
    ),
    *(
        Family(name=name, torch={name: _torch_reduction}, mil=mil, read=_reduction)
        for name, mil in (("aten::mean", "reduce_mean"), ("aten::amax", "reduce_max"), ("aten::sum", "reduce_sum"))
    ),
    Family(
        name="transpose",
        torch={
            "aten::permute": lambda a: (("perm", a[1]),),
            "aten::transpose": lambda a: (("perm", ((a[1], a[2]),)),),
        },
        mil="transpose",
        read=lambda told: (("perm", told.of("perm", None)),),
    ),
    Family(
        name="clamp",
        torch={"aten::clamp": lambda a: (("low", _bound(a[1], -UNBOUNDED)), ("high", _bound(a[2], UNBOUNDED)))},
        mil="clip",
        read=lambda told: (("low", told.small("alpha", -UNBOUNDED)), ("high", told.small("beta", UNBOUNDED))),
    ),
)
