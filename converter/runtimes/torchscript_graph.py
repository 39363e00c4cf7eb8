"""The graph of a TorchScript method as plain records: its nodes in order of execution, and where each value ends.

It serves `converter.runtimes.torchscript_walk`, which executes the records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

CONSTANT = "prim::Constant"
NAMED = ("prim::GetAttr", "prim::CallMethod")


@dataclass(frozen=True, kw_only=True)
class Node:
    """One node. `done` lists the values that nothing reads after it, `called` the attribute or method that it names."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    called: str = ""
    constant: Any = None
    operator: Callable[..., Any] | None = None
    blocks: tuple[Block, ...] = ()
    done: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Block:
    """A method's graph, or one branch or loop body inside it. Values go by the names that the graph gives them."""

    inputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]

    def reads(self) -> set[str]:
        """Every value that is read in here, those of the graph around it among them."""
        return {*self.outputs, *(name for node in self.nodes for name in _reads(node))}


def read_block(graph: Any) -> Block:
    """Records of a `torch._C.Graph`, or of a `torch._C.Block` inside one."""
    inputs, outputs = _names(graph.inputs()), _names(graph.outputs())
    nodes = [_node(node) for node in graph.nodes()]
    return Block(inputs=inputs, nodes=_with_done(nodes, inputs, outputs), outputs=outputs)


def _node(node: Any) -> Node:
    kind = node.kind()
    return Node(
        kind=kind,
        inputs=_names(node.inputs()),
        outputs=_names(node.outputs()),
        called=node.s("name") if kind in NAMED else "",
        constant=node.output().toIValue() if kind == CONSTANT else None,
        operator=_operator(kind, node.schema()),
        blocks=tuple(read_block(block) for block in node.blocks()),
    )


def _operator(kind: str, schema: str) -> Callable[..., Any] | None:
    """The registered operator, taking its arguments by position; None for what the graph itself does (prim::If)."""
    import torch

    if not schema.startswith(kind):
        return None
    parsed = torch._C.parse_schema(schema)
    operator, _names = torch._C._jit_get_operation(kind)
    overload = torch._C._get_operation_overload(kind, parsed.overload_name)
    chosen = overload[0] if overload is not None else operator
    by_name = [argument.name for argument in parsed.arguments if argument.kwarg_only]
    if not by_name:
        return chosen  # type: ignore[no-any-return]
    positional = len(parsed.arguments) - len(by_name)

    def call(*arguments: Any) -> Any:
        return chosen(*arguments[:positional], **dict(zip(by_name, arguments[positional:], strict=True)))

    return call


def _names(values: Iterable[Any]) -> tuple[str, ...]:
    return tuple(value.debugName() for value in values)


def _reads(node: Node) -> set[str]:
    return {*node.inputs, *(name for block in node.blocks for name in block.reads())}


def _with_done(nodes: Sequence[Node], inputs: Sequence[str], outputs: Sequence[str]) -> tuple[Node, ...]:
    """Values of this very block are done with at the node that reads them last; at the one that makes them, if none."""
    last = dict.fromkeys(inputs, 0)
    for index, node in enumerate(nodes):
        last |= {name: index for name in _reads(node) if name in last}
        last |= dict.fromkeys(node.outputs, index)
    done: list[list[str]] = [[] for _ in nodes]
    for name, index in last.items():
        if name not in outputs and nodes:
            done[index].append(name)
    return tuple(replace(node, done=tuple(names)) for node, names in zip(nodes, done, strict=True))
