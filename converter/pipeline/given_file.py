"""An image model that is given as a file: what it takes and gives, and a copy whose input has the name stages expect.

Rules:

1. One input: float32 images of three channels, NCHW in ONNX and NHWC in TFLite, as the formats' exporters write them.
   One float32 output of any meaning.
2. The copy calls its input "image", as calibration samples do, and has a batch of 1; `restore` gives a file that was
   made from it the given input name back.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converter.errors import ConversionError, McconvertError, UsageError
from converter.judged import FileFormat
from converter.records import Artifact, TensorSpec

IMAGE = "image"
SUFFIXES: dict[str, FileFormat] = {".onnx": "onnx", ".tflite": "tflite"}


@dataclass(frozen=True, kw_only=True)
class Given:
    """The file, its input's own name, and its copy as an artifact."""

    path: Path
    format: FileFormat
    input_name: str
    size: int
    copy: Artifact


def open_given(path: Path, folder: Path, size: int | None = None) -> Given:
    """Read the file and write its copy into `folder`. `size` settles what an ONNX file leaves open.

    Raises:
        UsageError: it is no .onnx or .tflite file, or not an image model of rule 1.
        ConversionError: the file is foreign or cut off.
    """
    fmt = SUFFIXES.get(path.suffix.lower())
    if fmt is None or not path.is_file():
        message = f"{path}: expected a file that ends in {' or '.join(SUFFIXES)}"
        raise UsageError(message)
    with _whole(path):
        return _open_onnx(path, folder, size) if fmt == "onnx" else _open_tflite(path, folder, size)


def restore(path: Path, given: Given) -> None:
    """Rule 2, the way back."""
    if given.input_name == IMAGE:
        return
    if path.suffix == ".onnx":
        from converter.onnx_file import load_model, save_model

        model = load_model(path)
        _rename_onnx(model, IMAGE, given.input_name)
        save_model(model, path)
        return
    from converter.tflite_file import read_model, write_model

    tflite = read_model(path)
    _rename_tflite(tflite, IMAGE, given.input_name)
    write_model(tflite, path)


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    """What parses may still name what is not there, or not be text: that shows where it is looked up."""
    try:
        yield
    except McconvertError:
        raise
    except Exception as error:  # onnx's inference and the two formats' own classes raise errors with no common class
        message = f"{path}: its graph cannot be followed ({' '.join(str(error).split())[:300]}); export it again"
        raise ConversionError(message) from error


def _open_onnx(path: Path, folder: Path, size: int | None) -> Given:
    import onnx

    from converter.onnx_file import load_model, save_model

    model = load_model(path)
    stored = {one.name for one in model.graph.initializer}
    inputs = [one for one in model.graph.input if one.name not in stored]
    specs = [_onnx_spec(one, "") for one in inputs], [_onnx_spec(one, "") for one in model.graph.output]
    entry, output = _single(path, *specs)
    side = _square(path, (entry.shape[1], entry.shape[2:]), entry, size)
    for dimension, value in zip(inputs[0].type.tensor_type.shape.dim, (1, 3, side, side), strict=True):
        dimension.dim_value = value
    _rename_onnx(model, entry.name, IMAGE)
    del model.graph.value_info[:]
    model.graph.output[0].type.tensor_type.ClearField("shape")
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    output = _onnx_spec(model.graph.output[0], "NC")
    folder.mkdir(parents=True, exist_ok=True)
    save_model(model, folder / "given.onnx")
    return _given(path, "onnx", entry.name, side, folder / "given.onnx", output)


def _open_tflite(path: Path, folder: Path, size: int | None) -> Given:
    from converter.tflite_file import read_model, write_model
    from converter.tflite_graph import Graph

    model = read_model(path)
    graph = Graph(model)
    entry, output = _single(path, *([_tflite_spec(graph, int(i)) for i in indices]
                                    for indices in (graph.subgraph.inputs, graph.subgraph.outputs)))  # fmt: skip
    side = _square(path, (entry.shape[3], entry.shape[1:3]), entry, size)
    folder.mkdir(parents=True, exist_ok=True)
    if entry.name == IMAGE:
        shutil.copyfile(path, folder / "given.tflite")
    else:
        _rename_tflite(model, entry.name, IMAGE)
        write_model(model, folder / "given.tflite")
    return _given(path, "tflite", entry.name, side, folder / "given.tflite", output)


def _given(path: Path, fmt: FileFormat, name: str, side: int, copy: Path, output: TensorSpec) -> Given:
    shape, layout = ((1, 3, side, side), "NCHW") if fmt == "onnx" else ((1, side, side, 3), "NHWC")
    image = TensorSpec(name=IMAGE, shape=shape, dtype="float32", layout=layout)
    artifact = Artifact(
        path=str(copy.resolve()), format=fmt, target=fmt, tower="image", precision="fp32", inputs=(image,),
        outputs=(output,),
    )  # fmt: skip
    return Given(path=path, format=fmt, input_name=name, size=side, copy=artifact)


def _single(path: Path, inputs: list[TensorSpec], outputs: list[TensorSpec]) -> tuple[TensorSpec, TensorSpec]:
    """Rule 1, but for the sizes."""
    fits = len(inputs) == 1 and len(inputs[0].shape) == 4 and inputs[0].dtype == "float32"
    if not fits or len(outputs) != 1 or outputs[0].dtype != "float32":
        message = (
            f"{path}: it takes {_words(inputs)} and gives {_words(outputs)}; expected one input of float32 images and "
            "one float32 output: export it so, before quantizing"
        )
        raise UsageError(message)
    return inputs[0], outputs[0]


def _square(path: Path, seen: tuple[Any, tuple[Any, ...]], entry: TensorSpec, size: int | None) -> int:
    """The side of the images that the file takes, or that it is to take where it leaves that open."""
    channels, sides = seen
    fixed = {side for side in sides if isinstance(side, int) and side > 0}
    open_ = [side for side in sides if not isinstance(side, int) or side < 1]
    wanted = fixed | ({size} if open_ or size else set())
    if channels != 3 or len(wanted) != 1 or None in wanted:
        layout = "NCHW, 3 channels" if path.suffix.lower() == ".onnx" else "NHWC, 3 channels"
        message = (
            f"{path}: its input '{entry.name}' is {list(entry.shape)}, --size is {size or 'not given'}; expected "
            f"{layout}, one square size: give --size where the file leaves it open, and export images in that layout"
        )
        raise UsageError(message)
    return int(next(iter(wanted)) or 0)


def _onnx_spec(value: Any, layout: str) -> TensorSpec:
    import onnx

    kind = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    sizes = tuple(one.dim_value or one.dim_param or "?" for one in value.type.tensor_type.shape.dim)
    return TensorSpec(name=value.name, shape=sizes, dtype=str(kind), layout=layout)


def _tflite_spec(graph: Any, index: int) -> TensorSpec:
    names = {code: name.lower() for name, code in vars(graph.schema.TensorType).items() if isinstance(code, int)}
    dtype = names[graph.subgraph.tensors[index].type]
    return TensorSpec(name=graph.name(index).decode(), shape=graph.shape(index), dtype=dtype, layout="NC")


def _rename_onnx(model: Any, old: str, new: str) -> None:
    """The value itself, and wherever a node of the main graph reads it; another value of the new name makes way."""
    names = {old: new, new: f"{new}_{old}"}
    for value in model.graph.input:
        value.name = names.get(value.name, value.name)
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]


def _rename_tflite(model: Any, old: str, new: str) -> None:
    """The tensor, and the signature's map where the file has one."""
    graph = model.subgraphs[0]
    for index in graph.inputs:
        tensor = graph.tensors[int(index)]
        tensor.name = new.encode() if bytes(tensor.name).decode() == old else tensor.name
    for signature in model.signatureDefs or ():
        for entry in signature.inputs or ():
            entry.name = new.encode() if bytes(entry.name).decode() == old else entry.name


def _words(specs: list[TensorSpec]) -> str:
    return ", ".join(f"'{one.name}' {one.dtype} {list(one.shape)}" for one in specs) or "nothing"
