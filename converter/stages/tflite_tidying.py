"""Tidy the graph that onnx2tf writes, so that it runs fast, quantizes well and computes in float32 where it should.

Three rules about how onnx2tf 2.6.9 spells things; no number changes beyond rounding:

1. A multiplication with a constant becomes a layer with weights. Runtimes have their fastest kernels for it, and
   quantizers and float16 casting know only it.

       x (1, n, k) -> BATCH_MATMUL w (k, m) -> ADD b (m)    =>    x -> FULLY_CONNECTED w' (m, k), b, keep_num_dims

2. Reading rows of a constant table becomes an embedding, which may carry a scale for each row. The guard for negative
   ids before it goes: tokens are never negative, and LiteRT refuses an id outside of the table.

       ids (1, n) -> LESS, ADD, SELECT -> GATHER t (v, k)    =>    ids -> RESHAPE (n,) -> EMBEDDING_LOOKUP t -> RESHAPE

3. The permission to compute in float16 goes (metadata `reduced_precision_support`): LiteRT takes it as leave to run a
   float32 file in float16 on ARM, where LayerNorm and softmax overflow.

Each can go when onnx2tf writes the right-hand side itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from converter.tflite_graph import Graph

REDUCED_PRECISION = b"reduced_precision_support"


def tidy(model: Any) -> None:
    """Apply the three rules of this module to a `ModelT`, in place."""
    graph = Graph(model)
    for matmul in graph.ops("BATCH_MATMUL"):
        _to_fully_connected(graph, matmul)
    for gather in graph.ops("GATHER"):
        _to_embedding_lookup(graph, gather)
    model.metadata = [entry for entry in model.metadata or [] if entry.name != REDUCED_PRECISION]
    prune(graph)


def prune(graph: Graph) -> None:
    """Drop ops that nothing reads, then tensors, buffers and op codes that nothing names."""
    _drop_unread_ops(graph)
    _drop_unnamed_tensors(graph)
    _prune_tables(graph)


def _to_fully_connected(graph: Graph, matmul: Any) -> None:
    """Rule 1."""
    source, factor = (int(index) for index in matmul.inputs)
    weights = graph.constant(factor)
    if weights is None or weights.ndim != 2 or matmul.builtinOptions.adjX:
        return
    if not matmul.builtinOptions.adjY:
        weights = weights.T
    add, bias = _bias_after(graph, int(matmul.outputs[0]), len(weights))
    options = graph.schema.FullyConnectedOptionsT()
    options.keepNumDims = True
    if add is not None:
        options.fusedActivationFunction = add.builtinOptions.fusedActivationFunction
    inputs = [source, graph.new_constant(graph.name(factor), np.ascontiguousarray(weights)), bias]
    old = [matmul] if add is None else [matmul, add]
    graph.replace(old, [graph.new_op("FULLY_CONNECTED", inputs, int(old[-1].outputs[0]), options)])


def _bias_after(graph: Graph, product: int, width: int) -> tuple[Any | None, int]:
    """(the ADD, its constant) where a vector is added to the product and nothing else reads it; else (None, -1)."""
    readers = graph.consumers(product)
    if len(readers) != 1 or graph.kind(readers[0]) != "ADD" or product in graph.subgraph.outputs:
        return None, -1
    other = next((int(index) for index in readers[0].inputs if index != product), product)
    value = graph.constant(other)
    if value is None or value.shape != (width,):
        return None, -1
    return readers[0], other


def _to_embedding_lookup(graph: Graph, gather: Any) -> None:
    """Rule 2."""
    table, ids = (int(index) for index in gather.inputs)
    options = gather.builtinOptions
    if graph.constant(table) is None or len(graph.shape(table)) != 2 or options.axis != 0 or options.batchDims != 0:
        return
    ids = _without_guard(graph, ids)
    output = int(gather.outputs[0])
    shape = graph.shape(output)
    name = graph.name(output)
    count = int(np.prod(shape[:-1]))
    flat = graph.new_tensor(name + b"_ids", graph.schema.TensorType.INT32, (count,))
    rows = graph.new_tensor(name + b"_rows", graph.schema.TensorType.FLOAT32, (count, shape[-1]))
    new = [
        _reshape(graph, ids, flat, (count,)),
        graph.new_op("EMBEDDING_LOOKUP", [flat, table], rows),
        _reshape(graph, rows, output, shape),
    ]
    graph.replace([gather], new)


def _without_guard(graph: Graph, ids: int) -> int:
    """The ids before `select(ids < 0, ids + size, ids)`."""
    select = graph.producer(ids)
    if select is None or graph.kind(select) not in ("SELECT", "SELECT_V2"):
        return ids
    less = graph.producer(int(select.inputs[0]))
    plain = int(select.inputs[2])
    return plain if less is not None and graph.kind(less) == "LESS" and int(less.inputs[0]) == plain else ids


def _reshape(graph: Graph, source: int, output: int, shape: Sequence[int]) -> Any:
    options = graph.schema.ReshapeOptionsT()
    options.newShape = list(shape)
    target = graph.new_constant(graph.name(output) + b"_shape", np.asarray(shape, np.int32))
    return graph.new_op("RESHAPE", [source, target], output, options)


def _drop_unnamed_tensors(graph: Graph) -> None:
    subgraph, model = graph.subgraph, graph.model
    named = {int(i) for op in subgraph.operators for i in (*op.inputs, *op.outputs) if i >= 0}
    tensors = _kept(len(subgraph.tensors), named | {int(i) for i in (*subgraph.inputs, *subgraph.outputs)})
    subgraph.tensors = [subgraph.tensors[i] for i in tensors]
    for op in subgraph.operators:
        op.inputs = [tensors.get(int(i), -1) for i in op.inputs]
        op.outputs = [tensors[int(i)] for i in op.outputs]
    subgraph.inputs = [tensors[int(i)] for i in subgraph.inputs]
    subgraph.outputs = [tensors[int(i)] for i in subgraph.outputs]
    for signature in model.signatureDefs or []:
        for entry in (*signature.inputs, *signature.outputs):
            entry.tensorIndex = tensors[entry.tensorIndex]


def _drop_unread_ops(graph: Graph) -> None:
    while True:
        read = {int(i) for op in graph.subgraph.operators for i in op.inputs} | {int(i) for i in graph.subgraph.outputs}
        live = [op for op in graph.subgraph.operators if any(int(i) in read for i in op.outputs)]
        if len(live) == len(graph.subgraph.operators):
            return
        graph.subgraph.operators = live


def _prune_tables(graph: Graph) -> None:
    model, subgraph = graph.model, graph.subgraph
    used = {0, *(tensor.buffer for tensor in subgraph.tensors), *(entry.buffer for entry in model.metadata)}
    buffers = _kept(len(model.buffers), used)
    model.buffers = [model.buffers[i] for i in buffers]
    for owner in (*subgraph.tensors, *model.metadata):
        owner.buffer = buffers[owner.buffer]
    codes = _kept(len(model.operatorCodes), {op.opcodeIndex for op in subgraph.operators})
    model.operatorCodes = [model.operatorCodes[i] for i in codes]
    for op in subgraph.operators:
        op.opcodeIndex = codes[op.opcodeIndex]


def _kept(count: int, used: set[int]) -> dict[int, int]:
    """Old index to new index of what is used, in order."""
    return {old: new for new, old in enumerate(i for i in range(count) if i in used)}
