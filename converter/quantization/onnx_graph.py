"""An ONNX graph on the workbench: nodes in order, constants by name, shapes; edits keep it whole."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from converter.errors import ConversionError

type Array = npt.NDArray[Any]
type Shape = tuple[int | str, ...]

_LARGE_BYTES = 1024
"""Constants above this are weights; smaller ones may be shapes, whose values inference needs."""


class Graph:
    """The graph of a model in memory. Shapes are those that it had when it was opened."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.shapes = _shapes(model)
        self.outputs = {value.name for value in model.graph.output}
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}

    @property
    def nodes(self) -> list[Any]:
        """The nodes, each behind those that it reads."""
        return list(self.model.graph.node)

    def readers(self) -> dict[str, list[Any]]:
        """Nodes by the values that they read."""
        found: dict[str, list[Any]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.input):
                found.setdefault(name, []).append(node)
        return found

    def is_float(self, name: str) -> bool:
        """Whether `name` is a float32 constant."""
        import onnx

        return name in self._constants and self._constants[name].data_type == onnx.TensorProto.FLOAT

    def array(self, name: str) -> Array:
        """The values of a constant."""
        import onnx

        return np.asarray(onnx.numpy_helper.to_array(self._constants[name]))

    def dims(self, name: str) -> tuple[int, ...]:
        """The shape of a constant."""
        return tuple(self._constants[name].dims)

    def store(self, name: str, value: Array) -> str:
        """Set a constant, a new one or one that there is."""
        import onnx

        tensor = onnx.numpy_helper.from_array(np.ascontiguousarray(value).reshape(np.shape(value)), name)
        if name in self._constants:
            self._constants[name].CopyFrom(tensor)
        else:
            self.model.graph.initializer.append(tensor)
            self._constants[name] = self.model.graph.initializer[-1]
        return name

    def replace(self, nodes: Iterable[Any]) -> None:
        """Set the nodes; constants that none of them reads go, and so do shapes, which readers infer again."""
        kept = list(nodes)
        read = {name for node in kept for name in node.input} | self.outputs
        graph = self.model.graph
        del graph.node[:]
        graph.node.extend(kept)
        constants = [tensor for tensor in graph.initializer if tensor.name in read]
        del graph.initializer[:]
        graph.initializer.extend(constants)
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        del graph.value_info[:]


def new_node(kind: str, inputs: Iterable[str], output: str, name: str = "", **attributes: Any) -> Any:
    """A node with one output, named after it unless told."""
    import onnx

    return onnx.helper.make_node(kind, list(inputs), [output], name=name or output, **attributes)


def attributes_of(node: Any) -> dict[str, Any]:
    """Attributes by name."""
    import onnx

    return {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}


def inferred(model: Any) -> Any:
    """The model's values with type and shape, inferred without the weights, whose copying would take most time.

    Raises:
        ConversionError: the graph contradicts itself.
    """
    import onnx

    light = onnx.ModelProto()
    light.CopyFrom(model)
    for tensor in light.graph.initializer:
        if len(tensor.raw_data) > _LARGE_BYTES:
            tensor.ClearField("raw_data")
    try:
        return onnx.shape_inference.infer_shapes(light, data_prop=True).graph.value_info
    except onnx.shape_inference.InferenceError as error:
        message = f"the shapes of the float32 graph contradict each other: {error}; run the step that writes it again"
        raise ConversionError(message) from error


def _shapes(model: Any) -> dict[str, Shape]:
    values = [*model.graph.input, *model.graph.output, *inferred(model)]
    return {
        value.name: tuple(dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in _dims(value))
        for value in values
    }


def _dims(value: Any) -> Any:
    return value.type.tensor_type.shape.dim
