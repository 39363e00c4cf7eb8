"""Execute a TorchScript module node by node, with torch's own operators, and show every tensor on the way.

Numbers are those of the module itself, bit for bit (seen with torch 2.14 on every tower and kind of file of
MobileCLIP-S1): the same operators run in the same order. A module that kept its hierarchy is walked through it, so that
each value is known to belong to a submodule; in a frozen file everything is one graph, and constants have numbers for
names. Values are let go of after their last use. What only passes its argument on, such as dropout, is not shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from converter.errors import ConversionError
from converter.runtimes import Observed
from converter.runtimes.lineage import Lineage, as_observed, is_shown, joined
from converter.runtimes.torchscript_graph import CONSTANT, Block, Node, read_block

if TYPE_CHECKING:
    import torch

    Walk = Generator[Observed, Any, list[Any]]

Given = npt.NDArray[Any] | None
"""What may be sent back for a value that was shown, of its shape, to take its place in the rest of the walk."""

SHAPES = ("aten::size", "aten::len", "aten::dim", "aten::numel")
"""Operators that ask for a shape: rule 4 of `converter.runtimes.lineage`."""
UNPACKED = ("prim::ListUnpack", "prim::TupleUnpack")
PACKED = ("prim::ListConstruct", "prim::TupleConstruct")
SAME_VALUE = ("prim::unchecked_cast", "prim::data")
IN_PLACE = "_"
"""How operators that write into their first argument are named; any other that returns it computes nothing."""


@dataclass(frozen=True)
class _Traced:
    """A value that the graph passes on, and what it comes from. A list or tuple of tensors holds one of these each."""

    value: Any
    lineage: Lineage = field(default_factory=Lineage)


@dataclass(frozen=True)
class _Module:
    """A submodule, by the path of names that led to it."""

    script: Any
    path: str


class Walker:
    """A loaded module whose graphs are read when they are first entered."""

    def __init__(self, module: Any, file: str) -> None:
        self._root = _Module(module._c, "")
        self._is_flat = not list(module.named_children())
        self._file = file
        self._blocks: dict[tuple[str, str], Block] = {}
        self._names: Counter[str] = Counter()

    def walk(self, tensors: Mapping[str, torch.Tensor]) -> Generator[Observed, Given, None]:
        """Every tensor that `forward` computes from these named inputs, given in the order in which it takes them.

        An array that is sent back for one takes its place.

        Raises:
            ConversionError: an operator refuses its arguments, or the graph has a node that is not known here.
        """
        self._names.clear()
        given = [_Traced(tensor, Lineage(inputs=(name,))) for name, tensor in tensors.items()]
        yield from self._method(self._root, "forward", given)

    def _method(self, module: _Module, method: str, arguments: Sequence[Any]) -> Walk:
        key = (module.path, method)
        if key not in self._blocks:
            self._blocks[key] = read_block(module.script._get_method(method).graph)
        return (yield from self._block(self._blocks[key], {}, [module, *arguments], module.path))

    def _block(self, block: Block, values: dict[str, Any], arguments: Sequence[Any], path: str) -> Walk:
        if len(block.inputs) != len(arguments):
            message = f"{self._file}: '{path}' takes {len(block.inputs)} values, {len(arguments)} were given"
            raise ConversionError(message)
        values |= zip(block.inputs, arguments, strict=True)
        for node in block.nodes:
            values |= zip(node.outputs, (yield from self._node(node, values, path)), strict=True)
            for name in node.done:
                values.pop(name, None)
        return [values[name] for name in block.outputs]

    def _node(self, node: Node, values: dict[str, Any], path: str) -> Walk:
        """The node's results; values of modules and of calls into them are no observations of their own."""
        arguments = [values[name] for name in node.inputs]
        if node.kind == CONSTANT:
            return [_Traced(node.constant, Lineage(constants=node.outputs) if _is_tensor(node.constant) else Lineage())]
        if node.kind == "prim::GetAttr":
            return [_attribute(arguments[0], node.called)]
        if node.kind == "prim::CallMethod":
            return (yield from self._method(arguments[0], node.called, arguments[1:]))
        if node.kind == "prim::If":
            taken = node.blocks[0 if _plain(arguments[0]) else 1]
            return (yield from self._block(taken, values, [], path))
        if node.kind == "prim::Loop":
            return (yield from self._loop(node, values, path))
        if node.kind in PACKED:
            return [_Traced((list if node.kind == PACKED[0] else tuple)(arguments))]
        if node.kind in UNPACKED:
            return _parts(arguments[0])
        if node.kind in SAME_VALUE:
            return arguments
        if node.kind in OF_LISTS and isinstance(arguments[0].value, list | tuple):
            return OF_LISTS[node.kind](*arguments)
        return (yield from self._operator(node, arguments, path))

    def _loop(self, node: Node, values: dict[str, Any], path: str) -> Walk:
        """Inputs are the most rounds, whether to start, and what is carried; a round returns the same but the first."""
        body = node.blocks[0]
        most, goes_on, *carried = (values[name] for name in node.inputs)
        count = 0
        while count < _plain(most) and _plain(goes_on):
            goes_on, *carried = yield from self._block(body, values, [_Traced(count), *carried], path)
            count += 1
        return carried

    def _operator(self, node: Node, arguments: Sequence[Any], path: str) -> Walk:
        if node.operator is None:
            message = f"{self._file}: a graph in it has {node.kind}, which cannot be shown step by step"
            raise ConversionError(message)
        plain = [_plain(one) for one in arguments]
        result = self._computed(node, node.operator, plain, path)
        if plain and result is plain[0] and not node.kind.endswith(IN_PLACE):
            return [arguments[0]]
        lineage = Lineage() if node.kind in SHAPES else joined(_lineages(arguments))
        results = [result] if len(node.outputs) == 1 else [] if not node.outputs else list(result)
        traced = []
        for name, one in zip(node.outputs, results, strict=True):
            traced.append((yield from self._shown(node.kind, name, one, lineage, path)))
        return traced

    def _computed(self, node: Node, operator: Callable[..., Any], arguments: Sequence[Any], path: str) -> Any:
        import torch

        try:
            with torch.no_grad():
                return operator(*arguments)
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            where = f"{node.kind} ({', '.join(node.outputs)})" + (f" of '{path}'" if path else "")
            message = f"{self._file}: torch could not run {where}: {error}"
            raise ConversionError(message) from error

    def _shown(
        self, kind: str, name: str, result: Any, lineage: Lineage, path: str
    ) -> Generator[Observed, Given, _Traced]:
        """Yield the tensor, or each of a list of them, and return what the graph goes on with: the tensor itself, or
        what was sent back for it.
        """
        if isinstance(result, list | tuple) and any(_is_tensor(one) for one in result):
            parts = []
            for one in result:
                parts.append((yield from self._shown(kind, name, one, lineage, path)))
            return _Traced(type(result)(parts))
        if not _is_tensor(result) or not is_shown(result.shape, lineage):
            return _Traced(result, lineage)
        unique = self._unique(name if self._is_flat else ".".join(filter(None, (path, kind.partition("::")[2]))))
        array = as_observed(_widened(result).numpy())
        given = yield Observed(
            name=unique, kind=kind, inputs=lineage.inputs, constants=lineage.constants, module=path, value=array
        )
        return _Traced(result if given is None else _exchanged(result, given), Lineage(inputs=(unique,)))

    def _unique(self, name: str) -> str:
        """A second value of that name is called `name#2`: another operation of the module, or another round."""
        self._names[name] += 1
        return name if self._names[name] == 1 else f"{name}#{self._names[name]}"


def _attribute(module: _Module, name: str) -> _Module | _Traced:
    path = f"{module.path}.{name}" if module.path else name
    value = module.script.getattr(name)
    if hasattr(value, "_get_method"):
        return _Module(value, path)
    return _Traced(value, Lineage(constants=(path,)) if _is_tensor(value) else Lineage())


def _parts(value: _Traced) -> list[_Traced]:
    """The parts of a list or tuple; sizes, which an operator gives as numbers, come from nothing."""
    return [part if isinstance(part, _Traced) else _Traced(part) for part in value.value]


def _appended(to: _Traced, part: _Traced) -> list[_Traced]:
    to.value.append(part)
    return [to]


OF_LISTS: Mapping[str, Callable[..., list[_Traced]]] = {
    "aten::__getitem__": lambda of, index: [_parts(of)[index.value]],
    "aten::append": _appended,
    "aten::len": lambda of: [_Traced(len(of.value))],
}
"""Operators on lists of anything, whose types torch's own ones cannot tell when called from Python."""


def _plain(value: Any) -> Any:
    """What an operator takes."""
    if isinstance(value, _Module):
        return value.script
    inner = value.value
    if isinstance(inner, list | tuple):
        return type(inner)(_plain(one) if isinstance(one, _Traced) else one for one in inner)
    return inner


def _lineages(arguments: Sequence[Any]) -> Iterator[Lineage]:
    for one in arguments:
        if isinstance(one, _Traced):
            yield one.lineage
            if isinstance(one.value, list | tuple):
                yield from _lineages([part for part in one.value if isinstance(part, _Traced)])


def _is_tensor(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor)


def _widened(tensor: torch.Tensor) -> torch.Tensor:
    """As it is, but bfloat16, which numpy lacks, as float32."""
    import torch

    return tensor.detach().to(torch.float32) if tensor.dtype == torch.bfloat16 else tensor.detach()


def _exchanged(result: torch.Tensor, given: npt.NDArray[Any]) -> torch.Tensor:
    import torch

    return torch.from_numpy(np.ascontiguousarray(given)).to(result.dtype).reshape(result.shape)
