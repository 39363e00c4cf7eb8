"""Where a TFLite file's time goes: `python -m converter.bench.tflite_ops FILE [FILE...]`.

Every op is cut out into a file of its own and timed there, as LiteRT runs it (XNNPACK included); ops that are alike in
kind, types, shapes and options are timed once. Beside the sum stands the whole file's time from the same run: in the
graph an op may find its input in the cache, wait for memory, or be split from the delegate by what stands before it.

Rules:

1. A weight that the file unpacks when it is loaded (DEQUANTIZE of a constant) goes with the op that reads it, and
   counts for nothing itself.
2. DEQUANTIZE, a function of one number such as GELU, and QUANTIZE behind each other are timed as one: XNNPACK makes one
   int8 table of the three (`xnn_subgraph_fuse_unary_quantized_into_lut`), which takes a fifth of what they take alone.
3. Inputs are noise; whole numbers are 0, which every table and every shape has.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from converter.tflite_file import read_model, write_model
from converter.tflite_graph import Graph

TABLED = ("GELU", "LOGISTIC", "TANH")
"""Rule 2."""
WARM_UP = 2
REPEATS = 15
WHOLE_FILE_REPEATS = 20
TOP = 12


type Chain = tuple[Any, ...]
"""One op, or those that rule 2 times as one."""


@dataclass(frozen=True, kw_only=True)
class OpTime:
    """All ops of a file that are alike, or chains of them, whose `kind` names each.

    `delegated` says whether XNNPACK takes one that stands alone.
    """

    kind: str
    types: str
    shapes: str
    count: int
    milliseconds: float
    delegated: bool

    @property
    def total(self) -> float:
        """Of all of them."""
        return self.count * self.milliseconds


@dataclass(frozen=True, kw_only=True)
class Profile:
    """One file: the whole, and its ops, the costly ones first. `partitions` counts the pieces that XNNPACK takes."""

    path: str
    milliseconds: float
    partitions: int
    ops: tuple[OpTime, ...]
    untimed: tuple[str, ...] = ()


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m converter.bench.tflite_ops", description=__doc__)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--top", type=int, default=TOP, help="kinds and shapes that are printed")
    parser.add_argument("--json", action="store_true", help="every op, for programs")
    options = parser.parse_args(arguments)
    profiles = [profile(path, options.threads) for path in options.files]
    if options.json:
        print(json.dumps([asdict(one) for one in profiles], indent=2))
        return 0
    for one in profiles:
        print("\n".join(lines(one, options.top)))
    return 0


def profile(path: Path, threads: int) -> Profile:
    """Time the file, then each of its ops alone."""
    model = read_model(path)
    graph = Graph(model)
    alike: dict[str, list[Chain]] = {}
    for chain in _chains(graph):
        alike.setdefault(" ".join(_likeness(graph, op) for op in chain), []).append(chain)
    times, untimed = [], []
    with tempfile.TemporaryDirectory(prefix="mcconvert-ops-") as scratch:
        for chains in alike.values():
            try:
                times.append(_timed(graph, chains[0], len(chains), Path(scratch) / "op.tflite", threads))
            except (RuntimeError, ValueError) as error:
                untimed.append(f"{len(chains)} {_kind(graph, chains[0])}: {' '.join(str(error).split())[:100]}")
        milliseconds, delegated, _ = _run(path, threads, WHOLE_FILE_REPEATS)
    ordered = tuple(sorted(times, key=lambda one: -one.total))
    return Profile(
        path=str(path), milliseconds=milliseconds, partitions=delegated, ops=ordered, untimed=tuple(untimed)
    )  # fmt: skip


def lines(found: Profile, top: int) -> Iterator[str]:
    """The costly kinds, then the costly shapes."""
    alone = sum(one.total for one in found.ops)
    yield (
        f"{found.path}: {found.milliseconds:.2f} ms whole, {alone:.2f} ms as the sum of its ops, "
        f"{found.partitions} delegate partitions"
    )
    kinds: dict[str, list[OpTime]] = {}
    for one in found.ops:
        kinds.setdefault(f"{one.kind} {one.types}" + ("" if one.delegated else ", not XNNPACK"), []).append(one)
    totals = {kind: sum(one.total for one in ops) for kind, ops in kinds.items()}
    for kind in sorted(totals, key=lambda kind: -totals[kind])[:top]:
        count = sum(one.count for one in kinds[kind])
        yield f"  {totals[kind]:8.2f} ms {totals[kind] / alone:4.0%} {count:4d} x {kind}"
    yield "  the costliest alone:"
    for one in found.ops[:top]:
        yield f"  {one.total:8.2f} ms {one.count:4d} x {one.milliseconds:.3f} {one.kind} {one.types} {one.shapes}"
    yield from (f"  not timed: {what}" for what in found.untimed)


def _chains(graph: Graph) -> list[Chain]:
    """Rules 1 and 2."""
    found: dict[int, Chain] = {}
    for op in graph.subgraph.operators:
        if not _unpacks_a_constant(graph, op):
            found[id(op)] = (op,)
    for kind in TABLED:
        for op in graph.ops(kind):
            before, behind = graph.producer(int(op.inputs[0])), _only_reader(graph, op)
            if before is None or graph.kind(before) != "DEQUANTIZE" or _only_reader(graph, before) is not op:
                continue
            if behind is not None and graph.kind(behind) == "QUANTIZE":
                found[id(before)] = (before, op, behind)
                del found[id(op)], found[id(behind)]
    return list(found.values())


def _only_reader(graph: Graph, op: Any) -> Any | None:
    readers = graph.consumers(int(op.outputs[0]))
    return readers[0] if len(readers) == 1 and int(op.outputs[0]) not in graph.subgraph.outputs else None


def _kind(graph: Graph, chain: Chain) -> str:
    return "+".join(graph.kind(op) for op in chain)


def _timed(graph: Graph, chain: Chain, count: int, path: Path, threads: int) -> OpTime:
    write_model(_alone(graph, chain), path)
    milliseconds, delegated, left = _run(path, threads, REPEATS)
    return OpTime(
        kind=_kind(graph, chain), types=_types(graph, chain[0]), shapes=_shapes(graph, chain[0]), count=count,
        milliseconds=milliseconds, delegated=delegated > 0 and left == 0,
    )  # fmt: skip


def _run(path: Path, threads: int, repeats: int) -> tuple[float, int, int]:
    """Median milliseconds, delegate partitions, and how many ops no delegate took."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=threads)
    interpreter.allocate_tensors()
    generator = np.random.default_rng(0)
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], _noise(detail, generator))
    for _ in range(WARM_UP):
        interpreter.invoke()
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        interpreter.invoke()
        seconds.append(time.perf_counter() - begun)
    taken = [detail for detail in interpreter._get_ops_details() if detail["op_name"] == "DELEGATE"]
    ops = len(interpreter._get_ops_details()) - len(taken)
    return 1e3 * statistics.median(seconds), len(taken), 0 if taken else ops


def _noise(detail: Any, generator: np.random.Generator) -> Any:
    """Rule 3."""
    shape, dtype = tuple(detail["shape"]), np.dtype(detail["dtype"])
    if dtype.kind == "f":
        return generator.standard_normal(shape).astype(dtype)
    if dtype == np.int8:
        return generator.integers(-128, 128, shape).astype(dtype)
    return np.zeros(shape, dtype)


def _alone(graph: Graph, chain: Chain) -> Any:
    """A model of these ops, with the DEQUANTIZE ops of their weights in front (rule 1)."""
    schema = graph.schema
    model, part = schema.ModelT(), schema.SubGraphT()
    model.version, model.buffers, model.subgraphs = 3, [schema.BufferT()], [part]
    model.operatorCodes, part.tensors, part.operators, part.inputs = [], [], [], []
    made: dict[int, int] = {}
    for one in [*(unpacking for op in chain for unpacking in _unpacking(graph, op)), *chain]:
        part.operators.append(_moved(graph, one, model, made))
    computed = {index for one in part.operators for index in one.outputs}
    read = {index for one in part.operators for index in one.inputs if index >= 0}
    part.inputs = [index for index in sorted(read - computed) if part.tensors[index].buffer == 0]
    part.outputs = list(part.operators[-1].outputs)
    return model


def _moved(graph: Graph, op: Any, model: Any, made: dict[int, int]) -> Any:
    """A copy of the op whose tensors are those of the new model; `made` tells which are there already."""
    for index in (*op.inputs, *op.outputs):
        if index >= 0 and int(index) not in made:
            made[int(index)] = _move_tensor(graph, int(index), model)
    new = copy.copy(op)
    new.opcodeIndex = len(model.operatorCodes)
    model.operatorCodes.append(graph.model.operatorCodes[op.opcodeIndex])
    new.inputs, new.outputs = ([made.get(int(i), -1) for i in indices] for indices in (op.inputs, op.outputs))
    return new


def _move_tensor(graph: Graph, index: int, model: Any) -> int:
    tensor = copy.copy(graph.subgraph.tensors[index])
    data = graph.model.buffers[tensor.buffer].data
    tensor.buffer = 0
    if data is not None and len(data):
        buffer = graph.schema.BufferT()
        buffer.data = data
        model.buffers.append(buffer)
        tensor.buffer = len(model.buffers) - 1
    model.subgraphs[0].tensors.append(tensor)
    return len(model.subgraphs[0].tensors) - 1


def _unpacking(graph: Graph, op: Any) -> list[Any]:
    producers = [graph.producer(int(index)) for index in op.inputs if index >= 0]
    return [one for one in producers if one is not None and _unpacks_a_constant(graph, one)]


def _unpacks_a_constant(graph: Graph, op: Any) -> bool:
    if graph.kind(op) != "DEQUANTIZE":
        return False
    data = graph.model.buffers[graph.subgraph.tensors[int(op.inputs[0])].buffer].data
    return data is not None and len(data) > 0


def _likeness(graph: Graph, op: Any) -> str:
    """Equal for ops that must take the same time."""
    unpacked = [_types(graph, one) for one in _unpacking(graph, op)]
    options = sorted(vars(op.builtinOptions).items()) if op.builtinOptions is not None else []
    return f"{graph.kind(op)} {_types(graph, op)} {_shapes(graph, op)} {options} {unpacked}"


def _types(graph: Graph, op: Any) -> str:
    """Of the first input, of the second where it is another (weights), and of the output where it is another."""
    names = {code: name.lower() for name, code in vars(graph.schema.TensorType).items() if isinstance(code, int)}
    found = [names[graph.subgraph.tensors[int(i)].type] for i in (*op.inputs[:2], op.outputs[0]) if i >= 0]
    return " ".join(dict.fromkeys(found))


def _shapes(graph: Graph, op: Any) -> str:
    sizes = ["x".join(map(str, graph.shape(int(i)))) or "1" for i in (*op.inputs[:2], op.outputs[0]) if i >= 0]
    return " ".join(sizes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
