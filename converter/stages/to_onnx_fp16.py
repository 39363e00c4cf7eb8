"""ONNX float32 -> ONNX float16: half the bytes, the same inputs and outputs.

    before: image (float32) -> Conv ... LayerNormalization ... MatMul -> unit length -> embedding (float32)
    after:  image (float32) -> Cast -> float16 Conv ... -> Cast -> float32 unit length -> embedding (float32)

Rules:

1. Weights and arithmetic become float16; inputs and outputs keep their types, so that callers change nothing.
2. The kinds of op in `keep_float32` stay in float32, between casts: the sum of squares in a layer norm and the
   exponentials of a softmax can leave float16's range (65504) on real activations.
3. Everything after the last layer with weights stays in float32, too: it brings the embedding to unit length, and a
   length rounded to 11 bits would spoil every score.
4. ONNX Runtime's converter (1.26) casts a tensor once for each of its readers, under one name, and appends casts at the
   end: doubles are dropped, a cast down that only serves a cast up is dropped with it, and nodes are put in order.
   This can go when the converter writes graphs that pass ONNX's own check.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converter.errors import ConversionError
from converter.onnx_file import load_model, save_model
from converter.records import Artifact, Recipe

FORMAT = "onnx"
ACCEPTS = ("onnx",)
REQUIRES = ("onnx", "onnxruntime")

_LAYERS = ("Conv", "Gemm", "MatMul")
_LARGE_BYTES = 1024
"""Initializers above this are weights; smaller ones may be shapes, whose values inference needs."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What stays in float32."""

    keep_float32: tuple[str, ...] = ("LayerNormalization", "Softmax")
    """Kinds of op that are computed in float32. Fewer are faster on a GPU; more are closer to the float32 file."""


def convert(parent: Artifact, options: Options, recipe: Recipe | None, out_dir: Path) -> Artifact:
    """Write `<tower>.onnx` into `out_dir`.

    Raises:
        ConversionError: the recipe is not one of float16, or the parent does not load or has no float32 layer.
    """
    _refuse_other_recipes(recipe)
    model = load_model(parent.path)
    _refuse_without_float32(model, parent)
    model = _to_float16(model, options.keep_float32)
    path = out_dir / f"{parent.tower}.onnx"
    save_model(model, path)
    return Artifact(
        path=str(path.resolve()),
        format=FORMAT,
        target="onnx",
        tower=parent.tower,
        precision="fp16",
        inputs=parent.inputs,
        outputs=parent.outputs,
        notes=(
            "float16 weights and arithmetic, float32 inputs and outputs",
            f"in float32: {', '.join((*options.keep_float32, 'unit length'))}",
        ),
    )


def _refuse_other_recipes(recipe: Recipe | None) -> None:
    if recipe is not None and (recipe.precision != "fp16" or recipe.weight_bits != 16):
        message = (
            f"recipe '{recipe.name}' asks for {recipe.precision} with {recipe.weight_bits}-bit weights, "
            "but to_onnx_fp16 writes float16; take recipe fp16, or a stage that quantizes"
        )
        raise ConversionError(message)


def _refuse_without_float32(model: Any, parent: Artifact) -> None:
    import onnx

    if not any(tensor.data_type == onnx.TensorProto.FLOAT for tensor in model.graph.initializer):
        message = f"{parent.path}: it holds no float32 weight to convert; give a file of to_onnx as parent"
        raise ConversionError(message)


def _to_float16(model: Any, keep_float32: Iterable[str]) -> Any:
    """Rules 1 to 4."""
    from onnxruntime.transformers import float16

    model.graph.value_info.extend(_inferred(model))
    converted = float16.convert_float_to_float16(
        model,
        keep_io_types=True,
        disable_shape_infer=True,
        op_block_list=[*float16.DEFAULT_OP_BLOCK_LIST, *keep_float32],
        node_block_list=_after_last_layer(model.graph.node),
    )
    graph = converted.graph
    nodes = _without_round_trips(_without_doubles(graph.node), [output.name for output in graph.output])
    ordered = _in_order(nodes, {tensor.name for tensor in (*graph.input, *graph.initializer)})
    del graph.node[:]
    graph.node.extend(ordered)
    del graph.value_info[:]  # it names casts that are gone; readers infer it
    return converted


def _inferred(model: Any) -> list[Any]:
    """Type and shape of every tensor, inferred without the weights, whose copying would take most of the time."""
    import onnx

    light = onnx.ModelProto()
    light.CopyFrom(model)
    for tensor in light.graph.initializer:
        if len(tensor.raw_data) > _LARGE_BYTES:
            tensor.ClearField("raw_data")
    return list(onnx.shape_inference.infer_shapes(light).graph.value_info)


def _after_last_layer(nodes: Any) -> list[str]:
    """Rule 3."""
    last = max((place for place, node in enumerate(nodes) if node.op_type in _LAYERS), default=len(nodes))
    return [node.name for node in nodes[last + 1 :]]


def _without_doubles(nodes: Iterable[Any]) -> list[Any]:
    """Rule 4: the first of the nodes that compute the same name."""
    by_output: dict[str, Any] = {}
    for node in nodes:
        by_output.setdefault(node.output[0], node)
    return list(by_output.values())


def _without_round_trips(nodes: list[Any], graph_outputs: list[str]) -> list[Any]:
    """Rule 4: float32 -> Cast -> float16 -> Cast -> float32 is the first tensor, unrounded."""
    import onnx

    down = {node.output[0]: node.input[0] for node in nodes if _casts_to(node, onnx.TensorProto.FLOAT16)}
    up = {node.output[0]: down[node.input[0]] for node in nodes if _is_up(node) and node.input[0] in down}
    renamed = {source: name for name, source in up.items() if name in graph_outputs}
    kept = [node for node in nodes if node.output[0] not in up]
    for node in kept:
        sources = [up.get(name, name) for name in node.input]
        node.input[:] = [renamed.get(name, name) for name in sources]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    read = {name for node in kept for name in node.input} | set(graph_outputs)
    return [node for node in kept if node.output[0] in read]


def _is_up(node: Any) -> bool:
    import onnx

    return _casts_to(node, onnx.TensorProto.FLOAT)


def _casts_to(node: Any, kind: int) -> bool:
    return node.op_type == "Cast" and any(entry.name == "to" and entry.i == kind for entry in node.attribute)


def _in_order(nodes: list[Any], known: set[str]) -> list[Any]:
    """Each node after those whose results it reads, otherwise as they were."""
    ordered: list[Any] = []
    waiting = nodes
    available = {"", *known}
    while waiting:
        later = []
        for node in waiting:
            if available.issuperset(node.input):
                ordered.append(node)
                available.update(node.output)
            else:
                later.append(node)
        if len(later) == len(waiting):
            message = f"the float16 graph reads names that nothing computes, first at {later[0].name}; please report it"
            raise ConversionError(message)
        waiting = later
    return ordered
