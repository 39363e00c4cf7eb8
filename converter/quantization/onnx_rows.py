"""Every layer without a spatial kernel as one Gemm on rows, the form in which ONNX Runtime multiplies integers best.

    before: x (batch, c, h, w) -> Conv 1x1 -> Gelu -> Conv 1x1 -> Add y
    after:  x -> Transpose -> Flatten (batch * h * w, c) -> Gemm -> Gelu -> Gemm -> Add y -> Reshape -> Transpose

Rules:

1. A 1x1 convolution (one group, no stride, no padding) reads rows and leaves rows: channels last, one row a pixel.
2. What works on single numbers (GELU, sums) stays on rows where what it reads is there already, so that
   no value is turned twice between two layers.
3. Whatever else reads such a value gets it back in its place and under its own name.
4. MatMul with a constant matrix, and the bias added to it, is a Gemm too: ONNX Runtime fuses the two into one and then
   no longer sees that the matrix was quantized.
5. Flatten, not Reshape: ONNX Runtime (1.26) moves a QuantizeLinear up through Reshape and Transpose. It then turns
   bytes by themselves instead of turning floats while it leaves its own blocked layout; that cost 6 % of the S1 image
   tower's time.
6. A convolution of one pixel (squeeze-excite) stays: there is no time to be won, and much accuracy to be lost.
7. A grouped convolution of one channel a group with several results each gets its channels repeated, so that it is a
   depthwise one: ONNX Runtime (1.26) has a blocked kernel for that alone. Three such convolutions of the S1 image
   tower took a third of the time, 3 % of the file's.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from converter.quantization.onnx_graph import Graph, attributes_of, new_node

_ON_NUMBERS = ("Gelu", "Relu", "Sigmoid", "Erf", "Tanh", "HardSwish", "LeakyRelu")
_OF_TWO = ("Add", "Mul")
CHANNELS_LAST, CHANNELS_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


def put_on_rows(graph: Graph) -> None:
    """Rewrite the graph; it computes what it did."""
    writer = _Writer(graph)
    for node in graph.nodes:
        writer.take(node)
    writer.finish()


class _Writer:
    """Takes nodes in order and writes their successors. `_rows` names the values that are there as rows."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._readers = graph.readers()
        self._nodes: list[Any] = []
        self._rows: dict[str, str] = {}
        self._rows_only: set[str] = set()
        self._absorbed: set[str] = set()

    def take(self, node: Any) -> None:
        if node.output[0] in self._absorbed:
            return
        if self._is_pointwise(node):
            self._convolution(node)
        elif self._repeats(node) > 1:
            self._depthwise(node)
        elif self._is_matmul(node):
            self._matmul(node)
        elif self._can_stay(node):
            self._stay(node)
        else:
            self._plain(node)

    def finish(self) -> None:
        for name in self._graph.outputs & self._rows_only:
            self._bring_back(name)
        self._graph.replace(self._nodes)

    def _is_pointwise(self, node: Any) -> bool:
        """Rules 1 and 6."""
        if node.op_type != "Conv" or not self._graph.is_float(node.input[1]):
            return False
        sizes = self._graph.shapes.get(node.output[0], ())[2:]
        given = attributes_of(node)
        return (
            self._graph.dims(node.input[1])[2:] == (1, 1)
            and given.get("group", 1) == 1
            and set(given.get("strides", [1])) == {1}
            and not any(given.get("pads", [0]))
            and all(isinstance(size, int) and size > 0 for size in sizes)
            and sizes != (1, 1)
        )

    def _convolution(self, node: Any) -> None:
        weight = node.input[1]
        self._graph.store(weight, self._graph.array(weight).reshape(self._graph.dims(weight)[:2]))
        rows = self._new_rows(node.output[0])
        inputs = [self._as_rows(node.input[0]), *node.input[1:]]
        self._nodes.append(new_node("Gemm", inputs, rows, node.name, transB=1))

    def _repeats(self, node: Any) -> int:
        """Rule 7: results of each channel, 1 where it is not such a convolution."""
        if node.op_type != "Conv" or not self._graph.is_float(node.input[1]):
            return 1
        outputs, inputs_of_one = self._graph.dims(node.input[1])[:2]
        group = int(attributes_of(node).get("group", 1))
        return outputs // group if group > 1 and inputs_of_one == 1 else 1

    def _depthwise(self, node: Any) -> None:
        self._restore(node.input[0])
        outputs, repeats = self._graph.dims(node.input[1])[0], self._repeats(node)
        places = self._graph.store(f"{node.name}_channels", np.repeat(np.arange(outputs // repeats), repeats))
        repeated = f"{node.name}_repeated"
        self._nodes.append(new_node("Gather", [node.input[0], places], repeated, axis=1))
        given = attributes_of(node) | {"group": outputs}
        self._nodes.append(new_node("Conv", [repeated, *node.input[1:]], node.output[0], node.name, **given))

    def _is_matmul(self, node: Any) -> bool:
        """Rule 4; a mask is no layer."""
        if node.op_type != "MatMul" or not self._graph.is_float(node.input[1]):
            return False
        shape = self._graph.shapes.get(node.output[0], ())
        known = all(isinstance(size, int) for size in shape[1:])
        return len(self._graph.dims(node.input[1])) == 2 and len(shape) > 1 and known

    def _matmul(self, node: Any) -> None:
        self._restore(node.input[0])
        output, bias = self._with_bias(node)
        rank = len(self._graph.shapes[output])
        rows, inputs = output, [node.input[0], node.input[1], *bias]
        if rank > 2:
            rows, inputs[0] = f"{output}_rows", f"{node.name}_input_rows"
            self._nodes.append(new_node("Flatten", [node.input[0]], inputs[0], axis=rank - 1))
        self._nodes.append(new_node("Gemm", inputs, rows, node.name))
        if rank > 2:
            self._nodes.append(new_node("Reshape", [rows, self._sizes(output, self._graph.shapes[output])], output))

    def _with_bias(self, node: Any) -> tuple[str, list[str]]:
        """The name of the result, and the bias where one is added to it and nothing else reads it."""
        readers = self._readers.get(node.output[0], [])
        if len(readers) == 1 and readers[0].op_type == "Add" and node.output[0] not in self._graph.outputs:
            (other,) = (name for name in readers[0].input if name != node.output[0])
            if self._graph.is_float(other) and self._graph.dims(other) == self._graph.dims(node.input[1])[1:]:
                self._absorbed.add(readers[0].output[0])
                return readers[0].output[0], [other]
        return node.output[0], []

    def _can_stay(self, node: Any) -> bool:
        """Rule 2."""
        if node.op_type in _ON_NUMBERS:
            return node.input[0] in self._rows_only
        shapes = [self._graph.shapes.get(name) for name in node.input]
        same = len(shapes) == 2 and shapes[0] == shapes[1] == self._graph.shapes.get(node.output[0])
        return node.op_type in _OF_TWO and same and not self._rows_only.isdisjoint(node.input)

    def _stay(self, node: Any) -> None:
        inputs = [self._as_rows(name) for name in node.input]
        moved = new_node(node.op_type, inputs, self._new_rows(node.output[0]), node.name)
        moved.attribute.extend(node.attribute)
        self._nodes.append(moved)

    def _plain(self, node: Any) -> None:
        for name in node.input:
            self._restore(name)
        self._nodes.append(node)

    def _new_rows(self, name: str) -> str:
        self._rows[name] = f"{name}_rows"
        self._rows_only.add(name)
        return self._rows[name]

    def _as_rows(self, name: str) -> str:
        """Rule 5."""
        if name not in self._rows:
            self._rows[name] = f"{name}_rows"
            self._nodes.append(new_node("Transpose", [name], f"{name}_nhwc", perm=CHANNELS_LAST))
            self._nodes.append(new_node("Flatten", [f"{name}_nhwc"], self._rows[name], axis=3))
        return self._rows[name]

    def _restore(self, name: str) -> None:
        if name in self._rows_only:
            self._bring_back(name)

    def _bring_back(self, name: str) -> None:
        """Rule 3."""
        batch, channels, height, width = self._graph.shapes[name]
        sizes = self._sizes(name, (batch, height, width, channels))
        self._nodes.append(new_node("Reshape", [self._rows[name], sizes], f"{name}_nhwc"))
        self._nodes.append(new_node("Transpose", [f"{name}_nhwc"], name, perm=CHANNELS_FIRST))
        self._rows_only.discard(name)

    def _sizes(self, name: str, shape: tuple[int | str, ...]) -> str:
        """A constant with these sizes, the first left open."""
        return self._graph.store(f"{name}_sizes", np.array([-1, *shape[1:]], np.int64))
