"""Split 7x7 depthwise kernels into small ones, which XNNPACK computes many times as fast.

    before: x -> DEPTHWISE_CONV_2D 7x7, b
    after:  x -> DEPTHWISE_CONV_2D 5x5, b                   -> ADD -> ADD -> ADD -> ADD
            x -> DEPTHWISE_CONV_2D 2x4, dilated 6x2         -^      ^      ^      ^
            x -> DEPTHWISE_CONV_2D 2x3, dilated 6x2         --------'      |      |
            x -> DEPTHWISE_CONV_2D 3x2, dilated 2x6         ---------------'      |
            x -> DEPTHWISE_CONV_2D 2x2, dilated 2x6         ----------------------'

        1 2 1 2 1 2 1      which part computes which tap
        4 0 0 0 0 0 4
        3 0 0 0 0 0 3      (rows and columns 3 to either side of the middle)
        ...

Rules:

1. XNNPACK has depthwise kernels for up to 25 taps (LiteRT 2.1.2: 3, 4, 9 and 25). A larger one falls back to a grouped
   convolution of one channel a group: 7x7 on (32, 32, 128) took 1.26 ms where 5x5 takes 0.04 (Zen 5, two threads),
   which made two thirds of the S1 image tower's time. All kinds of CPU share that list of kernels.
2. The parts lie evenly around the middle, so that the padding SAME places them: no slice and no pad is needed. Every
   tap is in one part. One part has 25 taps, the others at most 9; three parts of 7x3, 7x2 and 7x2 would all be computed
   by the kernel for 25.
3. The sum is the same but for the order of additions.
4. What is computed on the way has names that speak of no module: half a sum must not be taken for what the module
   gives. The whole sum keeps the name of the convolution's output, and the bias, which the first part adds, its own.
5. Kernels of another size, strided, dilated or explicitly padded ones, and those with several outputs a channel are
   left alone.

It can go when XNNPACK has a kernel of its own for 49 taps.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import numpy.typing as npt

from converter.stages.tflite_tidying import prune
from converter.tflite_graph import Graph

type Offsets = tuple[int, ...]

SIZE = 7
PARTS: tuple[tuple[Offsets, Offsets], ...] = (
    ((-2, -1, 0, 1, 2), (-2, -1, 0, 1, 2)),
    ((-3, 3), (-3, -1, 1, 3)),
    ((-3, 3), (-2, 0, 2)),
    ((-2, 0, 2), (-3, 3)),
    ((-1, 1), (-3, 3)),
)
"""Rule 2: rows and columns of each part, counted from the kernel's middle."""


def split_depthwise(graph: Graph) -> int:
    """Split every kernel that rules 1 and 5 leave, in place; returns how many."""
    large = [op for op in graph.ops("DEPTHWISE_CONV_2D") if _is_large(graph, op)]
    for number, op in enumerate(large):
        _split(graph, op, b"split_depthwise_%d" % number)
    if large:
        prune(graph)
    return len(large)


def part_of(weights: npt.NDArray[np.float32], rows: Offsets, columns: Offsets) -> npt.NDArray[np.float32]:
    """Of a kernel (1, 7, 7, channels) the taps of one part, (1, rows, columns, channels)."""
    middle = SIZE // 2
    taken = np.ix_([0], [middle + row for row in rows], [middle + column for column in columns])
    return np.ascontiguousarray(weights[taken])


def _is_large(graph: Graph, op: Any) -> bool:
    """Rules 1 and 5."""
    options, weights = op.builtinOptions, graph.constant(int(op.inputs[1]))
    if weights is None or weights.shape[1:3] != (SIZE, SIZE) or len(op.inputs) < 3 or int(op.inputs[2]) < 0:
        return False
    plain = (options.strideH, options.strideW, options.dilationHFactor, options.dilationWFactor) == (1, 1, 1, 1)
    same = options.padding == graph.schema.Padding.SAME and not options.fusedActivationFunction
    return plain and same and weights.shape[3] == graph.shape(int(op.inputs[0]))[-1]


def _split(graph: Graph, op: Any, name: bytes) -> None:
    """Rules 2 to 4."""
    source, kernel, bias = (int(index) for index in op.inputs)
    output, weights = int(op.outputs[0]), graph.constant(kernel)
    assert weights is not None
    nothing = graph.new_constant(name + b"_no_bias", np.zeros(weights.shape[-1], np.float32))
    parts: list[Any] = []
    total = -1
    for number, (rows, columns) in enumerate(PARTS):
        part = graph.new_constant(name + b"_kernel_%d" % number, part_of(weights, rows, columns))
        result = _like(graph, output, name + b"_part_%d" % number)
        inputs = [source, part, nothing if number else bias]
        parts.append(graph.new_op("DEPTHWISE_CONV_2D", inputs, result, _dilated(op, rows, columns)))
        if number:
            added = output if number == len(PARTS) - 1 else _like(graph, output, name + b"_sum_%d" % number)
            parts.append(graph.new_op("ADD", [total, result], added, graph.schema.AddOptionsT()))
            result = added
        total = result
    graph.replace([op], parts)


def _dilated(op: Any, rows: Offsets, columns: Offsets) -> Any:
    options = copy.copy(op.builtinOptions)
    options.dilationHFactor, options.dilationWFactor = rows[1] - rows[0], columns[1] - columns[0]
    return options


def _like(graph: Graph, index: int, name: bytes) -> int:
    return graph.new_tensor(name, graph.schema.TensorType.FLOAT32, graph.shape(index))
