"""TFLite files: tell one from a foreign or cut-off file, read it into objects, write it with aligned buffers.

Stages, the quantization room and the runtime share these. What is done with the objects is theirs; their classes are
those of LiteRT's own schema (`ModelT`, `SubGraphT`, `OperatorT`, `TensorT`, `BufferT`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from converter.errors import ConversionError

FILE_IDENTIFIER = b"TFL3"
"""Bytes 4 to 8 of every .tflite file: the schema's `file_identifier`."""
BUFFER_ALIGNMENT = 16
"""The schema's `force_align` for the data of a buffer. flatbuffers' Python classes ignore it (25.12)."""


def read_model(path: str | Path) -> Any:
    """The file as a `ModelT`.

    Raises:
        ConversionError: there is no such file, or it is not a whole .tflite file.
    """
    require_tflite(path)
    return read_model_bytes(Path(path).read_bytes(), path)


def read_model_bytes(data: bytes, path: str | Path) -> Any:
    """The bytes of a file as a `ModelT`; `path` is where they come from.

    Raises:
        ConversionError: these are not the bytes of a whole .tflite file.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    try:
        model = flatbuffer_utils.read_model_from_bytearray(bytearray(data))
        dangling = next(_dangling(model), "")
    except (struct.error, ValueError, TypeError, IndexError, AttributeError) as error:
        raise ConversionError(_broken(path, f"its tables cannot be followed ({error})")) from error
    if dangling:
        raise ConversionError(_broken(path, dangling))
    return model


def write_model(model: Any, path: str | Path) -> None:
    """Write a `ModelT`, the data of every buffer aligned as the schema asks.

    Scales and zero points that occur more than once are written once: zero points are 8 bytes a channel, nearly all of
    them zero, which made 1 % of an int8 file.
    """
    import flatbuffers

    data_bytes = sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None)
    for buffer in model.buffers:
        _align_when_packed(buffer)
    written: dict[bytes, Any] = {}
    for tensor in (tensor for subgraph in model.subgraphs for tensor in subgraph.tensors or ()):
        if tensor.quantization is not None and tensor.quantization.details is None:
            _share_when_packed(tensor.quantization, written)
    builder = flatbuffers.Builder(data_bytes + data_bytes // 8 + 2**20)
    builder.Finish(model.Pack(builder), file_identifier=FILE_IDENTIFIER)
    Path(path).write_bytes(builder.Output())


def require_tflite(path: str | Path) -> None:
    """Look at the head and the root table of the file, which LiteRT does not do before it follows them.

    Raises:
        ConversionError: there is no such file, it is foreign, empty or cut off.
    """
    if not Path(path).is_file():
        message = f"{path}: there is no such file; run the step that writes it again"
        raise ConversionError(message)
    with Path(path).open("rb") as file:
        head = file.read(8)
    if head[4:8] != FILE_IDENTIFIER:
        raise ConversionError(_broken(path, f"bytes 4 to 8 are {head[4:8]!r}, expected {FILE_IDENTIFIER!r}"))
    end, size = _follow(path), Path(path).stat().st_size
    if end > size:
        raise ConversionError(_broken(path, f"it has {size} bytes, its tables point {end} bytes in"))


def _follow(path: str | Path) -> int:
    """Read every table but the data of the buffers; returns how far into the file that data reaches."""
    from ai_edge_litert import schema_py_generated as schema

    try:
        model = schema.Model.GetRootAs(np.memmap(path, np.uint8, mode="r"), 0)
        for index in range(model.OperatorCodesLength()):
            schema.OperatorCodeT.InitFromObj(model.OperatorCodes(index))
        for index in range(model.SubgraphsLength()):
            schema.SubGraphT.InitFromObj(model.Subgraphs(index))
        for index in range(model.SignatureDefsLength()):
            schema.SignatureDefT.InitFromObj(model.SignatureDefs(index))
        ends = [_end_of(model.Buffers(index)) for index in range(model.BuffersLength())]
    except (struct.error, ValueError, TypeError, IndexError, AttributeError) as error:
        raise ConversionError(_broken(path, f"its tables cannot be followed ({error})")) from error
    if model.SubgraphsLength() == 0:
        raise ConversionError(_broken(path, "it holds no graph"))
    return max(ends, default=0)


def _dangling(model: Any) -> Iterator[str]:
    """References to what the file does not hold, in words: whoever follows them later would leave its lists."""
    codes, buffers = len(model.operatorCodes or ()), len(model.buffers or ())
    for graph in model.subgraphs:
        tensors = len(graph.tensors if graph.tensors is not None else ())
        for tensor in graph.tensors or ():
            yield from _outside("a tensor has its data in buffer", [tensor.buffer], 0, buffers)
        yield from _outside("the graph takes tensor", graph.inputs, 0, tensors)
        yield from _outside("the graph gives tensor", graph.outputs, 0, tensors)
        for op in graph.operators or ():
            yield from _outside("an op is of kind", [op.opcodeIndex], 0, codes)
            yield from _outside("an op reads tensor", op.inputs, -1, tensors)  # -1: an input that is left out
            yield from _outside("an op writes tensor", op.outputs, 0, tensors)


def _outside(what: str, indices: Iterable[int] | None, least: int, end: int) -> Iterator[str]:
    for index in indices if indices is not None else ():
        if not least <= int(index) < end:
            yield f"{what} {int(index)} of {end}"


def _end_of(buffer: Any) -> int:
    field = buffer._tab.Offset(4)  # BufferT's first field: its data
    start = buffer._tab.Vector(field) if field else 0
    return int(max(start + buffer.DataLength(), buffer.Offset() + buffer.Size()))


def _align_when_packed(buffer: Any) -> None:
    from ai_edge_litert import schema_py_generated as schema

    def pack(builder: Any) -> Any:
        start = _create_aligned_vector(builder, buffer.data) if buffer.data is not None else None
        schema.BufferStart(builder)
        if start is not None:
            schema.BufferAddData(builder, start)
        return schema.BufferEnd(builder)

    buffer.Pack = pack


def _share_when_packed(quantization: Any, written: dict[bytes, Any]) -> None:
    """`written` holds the vectors that are in the file already, by type and content."""
    from ai_edge_litert import schema_py_generated as schema

    def pack(builder: Any) -> Any:
        ends = {name: _shared_vector(builder, getattr(quantization, name), "<f4", written) for name in ("min", "max")}
        scale = _shared_vector(builder, quantization.scale, "<f4", written)
        zero_point = _shared_vector(builder, quantization.zeroPoint, "<i8", written)
        schema.QuantizationParametersStart(builder)
        for offset, add in (
            (ends["min"], schema.QuantizationParametersAddMin),
            (ends["max"], schema.QuantizationParametersAddMax),
            (scale, schema.QuantizationParametersAddScale),
            (zero_point, schema.QuantizationParametersAddZeroPoint),
        ):
            if offset is not None:
                add(builder, offset)
        schema.QuantizationParametersAddQuantizedDimension(builder, quantization.quantizedDimension)
        return schema.QuantizationParametersEnd(builder)

    quantization.Pack = pack


def _shared_vector(builder: Any, values: Any, kind: str, written: dict[bytes, Any]) -> Any:
    if values is None:
        return None
    vector = np.ascontiguousarray(values, np.dtype(kind))
    key = kind.encode() + vector.tobytes()
    if key not in written:
        written[key] = builder.CreateNumpyVector(vector)
    return written[key]


def _create_aligned_vector(builder: Any, data: Any) -> Any:
    values = np.asarray(data, np.uint8)
    builder.StartVector(1, len(values), BUFFER_ALIGNMENT)
    builder.head -= len(values)
    builder.Bytes[builder.head : builder.head + len(values)] = values.tobytes()
    return builder.EndVector()


def _broken(path: str | Path, why: str) -> str:
    return f"{path}: not a whole TFLite file: {why}; run the step that writes it again"
