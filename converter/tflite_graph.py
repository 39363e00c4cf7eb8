"""The graph inside a .tflite file: look things up in it, and exchange parts of it.

It serves the stages and the quantization room, which decide what to exchange; reading and writing the file is
`converter.tflite_file`. Ops are named as in LiteRT's schema: CONV_2D, FULLY_CONNECTED, EMBEDDING_LOOKUP ...
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


class Graph:
    """A model's one subgraph, with the look-ups that rewriting needs. Tensors are known by their index."""

    def __init__(self, model: Any) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self.schema = schema
        self.model = model
        self.subgraph = model.subgraphs[0]
        self._kinds: dict[int, str] = {
            code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)
        }

    def kind(self, op: Any) -> str:
        """The op's name, such as CONV_2D; `CUSTOM <name>` for a custom op, `UNKNOWN <number>` for one of no schema."""
        code = self.model.operatorCodes[op.opcodeIndex]
        if code.customCode:
            return f"CUSTOM {bytes(code.customCode).decode(errors='replace')}"
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        return self._kinds.get(number, f"UNKNOWN {number}")

    def ops(self, kind: str) -> list[Any]:
        """All ops of that kind, in order of execution."""
        return [op for op in self.subgraph.operators if self.kind(op) == kind]

    def constant(self, index: int) -> npt.NDArray[np.float32] | None:
        """The tensor's stored float32 value; None where it is computed or of another type."""
        tensor = self.subgraph.tensors[index]
        data = self.model.buffers[tensor.buffer].data
        if tensor.type != self.schema.TensorType.FLOAT32 or data is None or len(data) == 0:
            return None
        return np.asarray(data).view(np.float32).reshape(self.shape(index))

    def name(self, index: int) -> bytes:
        """The tensor's name."""
        return bytes(self.subgraph.tensors[index].name)

    def shape(self, index: int) -> tuple[int, ...]:
        """The tensor's declared shape."""
        return tuple(int(size) for size in self.subgraph.tensors[index].shape)

    def producer(self, index: int) -> Any | None:
        """The op that computes the tensor."""
        return next((op for op in self.subgraph.operators if index in op.outputs), None)

    def consumers(self, index: int) -> list[Any]:
        """The ops that read the tensor; the graph's own output counts as none of them."""
        return [op for op in self.subgraph.operators if index in op.inputs]

    def new_op(self, kind: str, inputs: Sequence[int], output: int, options: Any = None) -> Any:
        """An op that is not yet in the graph."""
        op = self.schema.OperatorT()
        op.opcodeIndex = self._opcode(kind)
        op.inputs, op.outputs = list(inputs), [output]
        if options is not None:
            op.builtinOptionsType = getattr(self.schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
            op.builtinOptions = options
        return op

    def new_tensor(self, name: bytes, kind: int, shape: Sequence[int]) -> int:
        """A computed tensor of a type of the schema's `TensorType`."""
        tensor = self.schema.TensorT()
        tensor.name, tensor.type, tensor.shape = name, kind, list(shape)
        tensor.buffer = 0  # by the schema, buffer 0 is the empty one
        self.subgraph.tensors.append(tensor)
        return len(self.subgraph.tensors) - 1

    def new_constant(self, name: bytes, value: npt.NDArray[Any]) -> int:
        """A constant tensor of float32 or int32."""
        index = self.new_tensor(name, 0, value.shape)
        self.store(index, value)
        return index

    def store(self, index: int, value: npt.NDArray[Any]) -> None:
        """Make the tensor a constant of this float16, float32 or int32 value."""
        kinds = self.schema.TensorType
        tensor = self.subgraph.tensors[index]
        tensor.type = {"float16": kinds.FLOAT16, "float32": kinds.FLOAT32, "int32": kinds.INT32}[str(value.dtype)]
        if tensor.buffer == 0 or sum(other.buffer == tensor.buffer for other in self.subgraph.tensors) > 1:
            self.model.buffers.append(self.schema.BufferT())
            tensor.buffer = len(self.model.buffers) - 1
        self.model.buffers[tensor.buffer].data = np.frombuffer(value.tobytes(), np.uint8)

    def replace(self, old: Sequence[Any], new: Sequence[Any]) -> None:
        """Put the new ops where the last of the old ones stood: all that they read is computed there."""
        at = max(self.subgraph.operators.index(op) for op in old)
        before = [op for op in self.subgraph.operators[:at] if op not in old]
        self.subgraph.operators = [*before, *new, *self.subgraph.operators[at + 1 :]]

    def insert_before(self, op: Any, new: Any) -> None:
        """Put a new op in front of another."""
        self.subgraph.operators.insert(self.subgraph.operators.index(op), new)

    def _opcode(self, kind: str) -> int:
        wanted = getattr(self.schema.BuiltinOperator, kind)
        for index, code in enumerate(self.model.operatorCodes):
            if max(code.builtinCode, code.deprecatedBuiltinCode) == wanted:
                return index
        code = self.schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode, code.version = wanted, min(wanted, 127), 1
        self.model.operatorCodes.append(code)
        return len(self.model.operatorCodes) - 1


def count_ops(model: Any) -> Counter[str]:
    """How often each kind of op occurs."""
    graph = Graph(model)
    return Counter(graph.kind(op) for op in graph.subgraph.operators)


def foreign_ops(model: Any) -> list[str]:
    """The kinds of op that a plain LiteRT interpreter lacks: unknown and custom ones, Flex (TensorFlow) among them."""
    return sorted(kind for kind in count_ops(model) if kind.startswith(("CUSTOM", "UNKNOWN")))
