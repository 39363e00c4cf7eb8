"""Real files broken on purpose: one weight, one scale or one axis of a copy changed, everything else as it was.

`weights` lists what can be changed by the file's own names, `break_weight` writes the copy. Values are passed as
float32 whatever the file stores; quantized ones are stored again by the file's own scales.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from converter.coreml_package import SPEC_PATH, import_coremltools
from converter.onnx_file import load_model
from converter.tflite_file import read_model, write_model
from converter.torchscript_file import deprecation_known, load_module

Array = npt.NDArray[Any]
Change = Callable[[Array], Array]
LEAST_SIZE = 64
"""Smaller constants are shapes, scalars and tables."""
BLOB_RECORD = struct.Struct("<IIQQ")
"""Of Core ML's weight file: a mark, the type of the elements, their bytes, where they begin."""
BLOB_TYPES: dict[int, Any] = {1: np.dtype(np.float16), 2: np.dtype(np.float32)}


def noisy(strength: float, seed: int = 0) -> Change:
    """Add noise of that share of the weight's own spread."""

    def change(weight: Array) -> Array:
        noise = np.random.default_rng(seed).normal(size=weight.shape)
        return np.asarray(weight + strength * weight.std() * noise, np.float32)

    return change


def turned(weight: Array) -> Array:
    """Exchange the two equally long axes of a weight, others of size 1 aside."""
    axes = [axis for axis, size in enumerate(weight.shape) if size > 1]
    assert len(axes) == 2
    return np.swapaxes(weight, *axes).reshape(weight.shape)


def weights(path: Path) -> dict[str, Array]:
    """Every floating-point or quantized constant of some size, by the file's own name for it, as float32."""
    found = {name: value for name, value, _ in _constants(path, _opened(path))}
    return {name: value for name, value in found.items() if value.size >= LEAST_SIZE}


def break_weight(path: Path, target: Path, name: str, change: Change) -> Path:
    """A copy of the file at `target` whose weight `name` is changed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.copytree(path, target)
    opened = _opened(target if path.is_dir() else path)
    for one, value, store in _constants(target if path.is_dir() else path, opened):
        if one == name:
            store(np.asarray(change(value), np.float32).reshape(value.shape))
            _save(opened, target)
            return target
    message = f"{path} has no weight {name}"
    raise KeyError(message)


def break_scale(path: Path, target: Path, name: str, factor: float) -> Path:
    """A copy of a .tflite file in which the tensor `name` has a scale so many times as large."""
    model = read_model(path)
    tensor = next(one for one in model.subgraphs[0].tensors if one.name.decode() == name)
    assert tensor.quantization is not None and len(tensor.quantization.scale)
    tensor.quantization.scale = np.asarray(tensor.quantization.scale, np.float32) * np.float32(factor)
    write_model(model, target)
    return target


def quantized_values(path: Path) -> list[str]:
    """Names of a .tflite file's computed int8 tensors."""
    model = read_model(path)
    graph = model.subgraphs[0]
    made = {int(index) for op in graph.operators for index in op.outputs}
    return [graph.tensors[index].name.decode() for index in sorted(made) if graph.tensors[index].type == 9]


def scale_value(path: Path, target: Path, name: str, factor: float) -> Path:
    """A copy of an .onnx file in which all that reads the value `name` reads it multiplied by `factor`."""
    import onnx

    model = load_model(path)
    known = onnx.shape_inference.infer_shapes(model).graph.value_info
    kinds = {info.name: info.type.tensor_type.elem_type for info in known}
    kind = onnx.helper.tensor_dtype_to_np_dtype(kinds.get(name, onnx.TensorProto.FLOAT))
    for node in model.graph.node:
        node.input[:] = [f"{name}_broken" if one == name else one for one in node.input]
    at = next(index for index, node in enumerate(model.graph.node) if name in node.output)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(factor, kind), f"{name}_factor"))
    wrong = onnx.helper.make_node("Mul", [name, f"{name}_factor"], [f"{name}_broken"])
    model.graph.node.insert(at + 1, wrong)
    onnx.save(model, target)
    return target


def skip_sum(path: Path, target: Path, name: str) -> Path:
    """A copy of an .onnx file in which the Add that gives the value `name` passes its second input on."""
    import onnx

    model = load_model(path)
    node = next(node for node in model.graph.node if name in node.output)
    assert node.op_type == "Add"
    node.CopyFrom(onnx.helper.make_node("Identity", [node.input[1]], [name], name=node.name))
    onnx.save(model, target)
    return target


def scale_result(path: Path, target: Path, factor: float) -> Path:
    """A copy of a float32 .onnx file that gives its result multiplied by `factor`."""
    return _result_through(path, target, "Mul", np.array(factor, np.float32))


def cut_result(path: Path, target: Path, count: int) -> Path:
    """A copy of an .onnx file that gives the first `count` numbers of its (1, d) result."""
    return _result_through(path, target, "Gather", np.arange(count), axis=1)


def break_transpose(path: Path, target: Path, name: str, axes: list[int]) -> Path:
    """A copy of an .onnx file whose Transpose that gives the value `name` has other axes."""
    import onnx

    model = load_model(path)
    node = next(node for node in model.graph.node if name in node.output)
    assert node.op_type == "Transpose"
    node.attribute[0].CopyFrom(onnx.helper.make_attribute("perm", axes))
    onnx.save(model, target)
    return target


def _result_through(path: Path, target: Path, kind: str, operand: Array, **attributes: int) -> Path:
    import onnx

    model = load_model(path)
    result = model.graph.output[0]
    node = next(node for node in model.graph.node if result.name in node.output)
    node.output[0] = "right"
    model.graph.initializer.append(onnx.numpy_helper.from_array(operand, "wrong"))
    model.graph.node.append(onnx.helper.make_node(kind, ["right", "wrong"], [result.name], **attributes))
    result.type.tensor_type.ClearField("shape")
    onnx.save(model, target)
    return target


def _opened(path: Path) -> Any:
    if path.suffix == ".onnx":
        return load_model(path)
    if path.suffix == ".tflite":
        return read_model(path)
    return bytearray(_blob(path).read_bytes()) if path.is_dir() else load_module(path)


def _blob(package: Path) -> Path:
    return (package / SPEC_PATH).parent / "weights" / "weight.bin"


def _save(opened: Any, target: Path) -> None:
    if target.suffix == ".onnx":
        target.write_bytes(opened.SerializeToString())
    elif target.suffix == ".tflite":
        write_model(opened, target)
    elif target.is_dir():
        _blob(target).write_bytes(opened)
    else:
        with deprecation_known():
            opened.save(str(target))


Constants = Iterator[tuple[str, Array, Callable[[Array], None]]]


def _constants(path: Path, opened: Any) -> Constants:
    if path.suffix == ".onnx":
        return _onnx_constants(opened)
    if path.suffix == ".tflite":
        return _tflite_constants(opened)
    return _coreml_constants(path, opened) if path.is_dir() else _torch_constants(opened)


def _onnx_constants(model: Any) -> Constants:
    from onnx import numpy_helper

    for tensor in model.graph.initializer:
        stored = numpy_helper.to_array(tensor)
        if stored.dtype.kind != "f":
            continue

        def store(value: Array, tensor: Any = tensor, kind: Any = stored.dtype) -> None:
            tensor.raw_data = value.astype(kind).tobytes()

        yield tensor.name, stored.astype(np.float32), store


def _tflite_constants(model: Any) -> Constants:
    kinds: dict[int, Any] = {0: np.float32, 1: np.float16, 9: np.int8}
    for tensor in model.subgraphs[0].tensors:
        buffer = model.buffers[tensor.buffer]
        if buffer.data is None or not len(buffer.data) or tensor.type not in kinds:
            continue
        stored: Array = np.frombuffer(bytes(buffer.data), kinds[tensor.type]).reshape(tensor.shape)
        scale = _scale(tensor) if tensor.type == 9 else np.float32(1)

        def store(value: Array, buffer: Any = buffer, kind: Any = stored.dtype, scale: Any = scale) -> None:
            whole = np.clip(np.rint(value / scale), -127, 127) if kind == np.int8 else value
            buffer.data = np.frombuffer(whole.astype(kind).tobytes(), np.uint8)

        yield tensor.name.decode(), stored.astype(np.float32) * scale, store


def _scale(tensor: Any) -> Array:
    scale = np.asarray(tensor.quantization.scale, np.float32)
    shape = [1] * len(tensor.shape)
    if len(scale) > 1:
        shape[tensor.quantization.quantizedDimension] = -1
    return scale.reshape(shape)


def _coreml_constants(path: Path, blob: bytearray) -> Constants:
    function = import_coremltools().utils.load_spec(str(path)).mlProgram.functions["main"]
    for operation in function.block_specializations[function.opset].operations:
        if operation.type != "const" or operation.attributes["val"].WhichOneof("value") != "blobFileValue":
            continue
        value = operation.attributes["val"]
        _, kind, size_bytes, begin = BLOB_RECORD.unpack_from(blob, value.blobFileValue.offset)
        if kind not in BLOB_TYPES:
            continue
        shape = [one.constant.size for one in value.type.tensorType.dimensions]
        stored: Array = np.frombuffer(blob, BLOB_TYPES[kind], size_bytes // BLOB_TYPES[kind].itemsize, begin).copy()
        stored = stored.reshape(shape)

        def store(value: Array, begin: int = begin, kind: Any = stored.dtype) -> None:
            data = value.astype(kind).tobytes()
            blob[begin : begin + len(data)] = data

        yield operation.outputs[0].name, stored.astype(np.float32), store


def _torch_constants(module: Any) -> Constants:
    """Weights of a frozen graph; saving the module saves what was written into them."""
    import torch

    for node in module.graph.nodes():
        value = node.output().toIValue() if node.kind() == "prim::Constant" else None
        if isinstance(value, torch.Tensor) and value.is_floating_point():

            def store(new: Array, value: Any = value) -> None:
                value.copy_(torch.from_numpy(new))

            yield node.output().debugName(), value.numpy().copy(), store
