"""What an ONNX file computes on its way: every node's results made outputs, in a copy that is only in memory.

Optimisations are off, so that no node is merged into another. The graphs inside `If` and `Loop` nodes are left alone:
such a node shows what it returns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from converter.errors import ConversionError
from converter.onnx_file import broken, model_file
from converter.records import Artifact
from converter.runtimes import Arrays, Observed
from converter.runtimes.lineage import Lineage, as_observed, is_shown, joined

WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"
"""ONNX Runtime's setting for where the weights of a model given as bytes lie."""
SHAPES = ("Shape", "Size")
BLOCKED = "com.microsoft.nchwc"
"""Operators of ONNX Runtime's own layout, in which channels lie in blocks as wide as one machine's registers."""


@dataclass(frozen=True)
class _Node:
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@contextmanager
def open_graph(artifact: Artifact, options: Any, providers: list[str]) -> Iterator[GraphObserver]:
    """Load the file, or the folder's model, with every result an output; `options` are those of the plain session.

    Raises:
        ConversionError: the file is missing, foreign or cut off, holds what ONNX Runtime cannot run, or values in a
            layout of one machine.
    """
    import onnxruntime

    file = model_file(artifact.path)
    model = _graph_of(file)
    nodes = _in_order(_Node(one.op_type, _read(one), tuple(filter(None, one.output))) for one in model.graph.node)
    constants = {one.name for one in model.graph.initializer}
    constants |= {one.values.name for one in model.graph.sparse_initializer}
    _show_all(model, nodes)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry(WEIGHTS_FOLDER, str(file.parent))
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=providers)
    except Exception as error:  # ONNX Runtime raises a class for each of its status codes, with no common one
        raise ConversionError(broken(file, error)) from error
    del model
    said = f"ONNX Runtime {onnxruntime.__version__}, CPU, without graph optimisations"
    yield GraphObserver(session, nodes, constants, artifact.path, said)


class GraphObserver:
    """A session that returns every node's results. All of a run's values are in memory at once, until read."""

    def __init__(self, session: Any, nodes: list[_Node], constants: set[str], path: str, executed_by: str) -> None:
        self.executed_by = executed_by
        self._session = session
        self._nodes = nodes
        self._constants = constants
        self._path = path

    def observe(self, arrays: Arrays) -> Iterator[Observed]:
        """Run once, then every value in order of execution.

        Raises:
            ConversionError: an input is missing, or of a type or shape that the file does not take.
        """
        values = self._run(arrays)
        lineages = {name: Lineage(constants=(name,)) for name in self._constants}
        lineages |= {entry.name: Lineage(inputs=(entry.name,)) for entry in self._session.get_inputs()}
        for node in self._nodes:
            behind = joined(lineages.get(name, Lineage()) for name in node.inputs)
            for name in node.outputs:
                value = values.pop(name)
                lineages[name] = _lineage(node, name, behind)
                if not isinstance(value, np.ndarray) or not is_shown(value.shape, lineages[name]):
                    continue
                lineages[name] = Lineage(inputs=(name,))
                seen = as_observed(value)
                yield Observed(name=name, kind=node.kind, inputs=behind.inputs, constants=behind.constants, value=seen)

    def _run(self, arrays: Arrays) -> dict[str, Any]:
        names = [name for node in self._nodes for name in node.outputs]
        try:
            return dict(zip(names, self._session.run(names, dict(arrays)), strict=True))
        except Exception as error:  # as above; ValueError for a missing input
            given = ", ".join(f"{name} {value.dtype}{list(value.shape)}" for name, value in arrays.items())
            message = f"{self._path}: ONNX Runtime could not run it on {given or 'no input'}: {error}"
            raise ConversionError(message) from error


def _graph_of(file: Any) -> Any:
    """The model, its weights left in the file beside it where there is one."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(file, load_external_data=False)
    except (DecodeError, ValueError, OSError) as error:
        raise ConversionError(broken(file, error)) from error
    if not model.graph.node or not model.graph.output:
        raise ConversionError(broken(file, "it holds no graph"))
    if any(node.domain == BLOCKED for node in model.graph.node):
        message = (
            f"{file}: ONNX Runtime optimised it for one machine ({BLOCKED}), and its values cannot be told apart from "
            "wrong ones; give the file as it was before, or one saved with ORT_ENABLE_EXTENDED at most"
        )
        raise ConversionError(message)
    return model


def _in_order(nodes: Iterable[_Node]) -> list[_Node]:
    """Each node behind those that it reads, else as in the file: ONNX Runtime runs a file whose nodes are not sorted.

    Converters to float16 append the casts of the inputs at the end.
    """
    waiting, done = list(nodes), list[_Node]()
    missing = {name for node in waiting for name in node.outputs}
    while waiting:
        later = []
        for node in waiting:
            if missing.isdisjoint(node.inputs):
                done.append(node)
                missing.difference_update(node.outputs)
            else:
                later.append(node)
        if len(later) == len(waiting):  # a cycle, which ONNX Runtime refuses by itself
            return done + later
        waiting = later
    return done


def _read(node: Any) -> tuple[str, ...]:
    """What the node reads; of the graphs inside it, what they read of this one."""
    inner = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
    inner += [graph for attribute in node.attribute for graph in attribute.graphs]
    deeper = [name for graph in inner for one in graph.node for name in _read(one)]
    return tuple(filter(None, (*node.input, *deeper)))


def _show_all(model: Any, nodes: list[_Node]) -> None:
    """Add outputs without a type: ONNX Runtime infers it."""
    from onnx import ValueInfoProto

    declared = {output.name for output in model.graph.output}
    names = [name for node in nodes for name in node.outputs if name not in declared]
    model.graph.output.extend(ValueInfoProto(name=name) for name in names)


def _lineage(node: _Node, name: str, behind: Lineage) -> Lineage:
    if node.kind == "Constant":
        return Lineage(constants=(name,))
    return Lineage() if node.kind in SHAPES else behind
