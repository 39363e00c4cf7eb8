"""What a TFLite file computes on its way: every computed tensor made an output, in a copy that the observer keeps.

LiteRT has a switch that keeps all tensors, but XNNPACK takes whole parts of a graph and shows nothing of what is inside
them; without XNNPACK other kernels run. With outputs, XNNPACK itself shows its values: the final ones are bit for bit
those of the file (LiteRT 2.1.2; every MobileCLIP-S1 file, float and int8). The difference matters where activations are
int8: LiteRT's own kernels round otherwise, and their embeddings lie at a cosine of 0.990 from XNNPACK's (S1, image,
static int8; 0.995 dynamic; 0.9995 for texts), nearly as far as the reference itself does (0.983; 0.994; 0.9993).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from converter.runtimes import Observed
from converter.runtimes.lineage import Lineage, as_observed, is_shown, joined
from converter.tflite_file import write_model
from converter.tflite_graph import Graph

SHAPES = ("SHAPE", "RANK")


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A tensor to observe: its index and name, the op that computes it, and what that op reads."""

    index: int
    name: str
    kind: str
    lineage: Lineage


def list_shown(graph: Graph) -> list[Shown]:
    """Every tensor to observe, in order of execution."""
    names = _unique_names(graph)
    lineages = _given(graph, names)
    shown = []
    for op in graph.subgraph.operators:
        behind = joined(lineages.get(index, Lineage()) for index in _indexes(op.inputs))
        for index in _indexes(op.outputs):
            lineages[index] = Lineage() if graph.kind(op) in SHAPES else behind
            if is_shown(graph.shape(index), lineages[index]):
                lineages[index] = Lineage(inputs=(names[index],))
                shown.append(Shown(index=index, name=names[index], kind=graph.kind(op), lineage=behind))
    return shown


def write_copy(graph: Graph, shown: Sequence[Shown], path: Path) -> None:
    """The file with these tensors as outputs after its own. Signatures go: they name the former outputs."""
    own = _indexes(graph.subgraph.outputs)
    graph.subgraph.outputs = [*own, *(one.index for one in shown if one.index not in own)]
    graph.model.signatureDefs = []
    write_model(graph.model, path)


def read_shown(interpreter: Any, shown: Sequence[Shown]) -> Iterator[Observed]:
    """The values of the interpreter's last run."""
    details = {detail["index"]: detail for detail in interpreter.get_tensor_details()}
    for one in shown:
        parameters = details[one.index]["quantization_parameters"]
        yield Observed(
            name=one.name,
            kind=one.kind,
            inputs=one.lineage.inputs,
            constants=one.lineage.constants,
            value=dequantized(interpreter.get_tensor(one.index), parameters),
        )


def dequantized(value: npt.NDArray[Any], parameters: Any) -> npt.NDArray[Any]:
    """`scale * (steps - zero_point)` in float32, with one scale or one along an axis; without a scale, as it is."""
    scales, zero_points = parameters["scales"], parameters["zero_points"]
    if value.dtype.kind not in "iu" or not len(scales):
        return as_observed(value)
    along = [1] * value.ndim
    if len(scales) > 1:
        along[parameters["quantized_dimension"]] = len(scales)
    steps = value.astype(np.float32) - zero_points.reshape(along).astype(np.float32)
    return np.asarray(steps * scales.reshape(along).astype(np.float32))


def _given(graph: Graph, names: Sequence[str]) -> dict[int, Lineage]:
    """What no op computes: stored tensors and the file's inputs."""
    given = {
        index: Lineage(constants=(names[index],))
        for index, tensor in enumerate(graph.subgraph.tensors)
        if _is_stored(graph.model.buffers[tensor.buffer])
    }
    return given | {index: Lineage(inputs=(names[index],)) for index in _indexes(graph.subgraph.inputs)}


def _is_stored(buffer: Any) -> bool:
    """Whether it holds data, or says where beyond the tables its data lies."""
    return (buffer.data is not None and len(buffer.data) > 0) or buffer.offset > 1


def _indexes(indexes: Any) -> tuple[int, ...]:
    """-1 stands for an optional tensor that is not given."""
    return tuple(int(index) for index in indexes if index >= 0)


def _unique_names(graph: Graph) -> list[str]:
    """The tensors' names; one that occurs again, or is empty, gets the tensor's index."""
    names = [graph.name(index).decode() for index in range(len(graph.subgraph.tensors))]
    counts = Counter(names)
    return [name if name and counts[name] == 1 else f"{name}#{index}" for index, name in enumerate(names)]
