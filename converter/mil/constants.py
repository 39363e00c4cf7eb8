"""Constants of a program: written into its specification, or in a file beside it.

Only what coremltools itself parses is believed: files through its reader of `weight.bin`.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from converter.coreml_package import import_coremltools
from converter.errors import ConversionError

Constant = np.ndarray[Any, Any] | str | bool | tuple[str, ...]
_BLOB_READERS = {
    "FLOAT16": ("read_fp16_data", np.float16),
    "FLOAT32": ("read_float_data", np.float32),
    "INT8": ("read_int8_data", np.int8),
    "UINT8": ("read_uint8_data", np.uint8),
    "INT16": ("read_int16_data", np.int16),
    "UINT16": ("read_uint16_data", np.uint16),
    "INT32": ("read_int32_data", np.int32),
    "UINT32": ("read_uint32_data", np.uint32),
    "INT4": ("read_int4_data", np.int8),
    "UINT1": ("read_uint1_data", np.uint8),
    "UINT2": ("read_uint2_data", np.uint8),
    "UINT3": ("read_uint3_data", np.uint8),
    "UINT4": ("read_uint4_data", np.uint8),
    "UINT6": ("read_uint6_data", np.uint8),
}
_TYPES = {name: dtype for name, (_, dtype) in _BLOB_READERS.items()} | {
    "BOOL": np.bool_, "INT64": np.int64, "UINT64": np.uint64, "FLOAT64": np.float64,
}  # fmt: skip
_NARROW_BITS = {"INT4": 4, "UINT1": 1, "UINT2": 2, "UINT3": 3, "UINT4": 4, "UINT6": 6}
_MODEL_PATH = "@model_path/"
"""What a constant's file name starts with: the folder of the specification."""


def read_constant(value: Any, blob: BlobFiles, name: str) -> Constant:
    """The value of MIL's type `Value`: an array (a number has no axes), a text, or several texts.

    Raises:
        ConversionError: it is of another type, is not all there, or is not as its type says.
    """
    held = value.immediateValue.WhichOneof("value")
    if value.WhichOneof("value") != "blobFileValue" and held == "list":
        return _joined([read_constant(one, blob, name) for one in value.immediateValue.list.values], name)
    if value.type.WhichOneof("type") != "tensorType" or held not in ("tensor", None):
        message = f"constant '{name}' is a {held or value.type.WhichOneof('type')}; known are tensors and lists of them"
        raise ConversionError(message)
    tensor = value.type.tensorType
    kind = type_name(tensor.dataType)
    shape = tuple(one.constant.size for one in tensor.dimensions)
    if value.WhichOneof("value") == "blobFileValue":
        return _shaped(blob.read(name, kind, value.blobFileValue), shape, name)
    return _in_place(value.immediateValue.tensor, kind, shape, name)


def _joined(found: list[Constant], name: str) -> Constant:
    texts = tuple(one for one in found if isinstance(one, str))
    if texts and len(texts) == len(found):
        return texts
    try:
        return np.stack([np.asarray(one) for one in found])
    except ValueError as error:
        message = f"constant '{name}' is a list of {len(found)} values that are not of one shape"
        raise ConversionError(message) from error


def _in_place(tensor: Any, kind: str, shape: tuple[int, ...], name: str) -> Constant:
    """A tensor written into the specification itself; narrow types are packed there, the lowest bit first."""
    which = tensor.WhichOneof("value")
    data = getattr(tensor, which).values if which else ()
    if kind == "STRING" and data:
        return str(data[0]) if not shape else tuple(str(one) for one in data)
    if kind not in _TYPES:
        message = f"constant '{name}' is of type {kind}; known are {', '.join(_TYPES)} and STRING"
        raise ConversionError(message)
    try:
        if not isinstance(data, bytes):
            return _shaped(np.array(list(data), _TYPES[kind]), shape, name)
        if kind in _NARROW_BITS:
            return _shaped(_unpacked(data, kind, int(np.prod(shape, dtype=np.int64))), shape, name)
        return _shaped(np.frombuffer(data, _TYPES[kind]), shape, name)
    except (ValueError, OverflowError) as error:
        message = f"constant '{name}' does not hold {list(shape)} values of type {kind}: {error}"
        raise ConversionError(message) from error


def _unpacked(data: bytes, kind: str, count: int) -> np.ndarray[Any, Any]:
    """Whole numbers narrower than a byte.

    Raises:
        ValueError: the bytes are not as many as the count needs.
    """
    bits = _NARROW_BITS[kind]
    if len(data) != -(-count * bits // 8):
        message = f"{len(data)} bytes for {count} numbers of {bits} bits"
        raise ValueError(message)
    every = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[: count * bits].reshape(count, bits)
    whole = every.astype(np.int16) @ (1 << np.arange(bits, dtype=np.int16))
    signed = np.where(whole >= 1 << (bits - 1), whole - (1 << bits), whole) if kind.startswith("INT") else whole
    return signed.astype(_TYPES[kind])


def _shaped(values: np.ndarray[Any, Any], shape: tuple[int, ...], name: str) -> np.ndarray[Any, Any]:
    if values.size != np.prod(shape, dtype=np.int64):
        message = f"constant '{name}' has {values.size} values, its type {list(shape)} says otherwise"
        raise ConversionError(message)
    return values.reshape(shape)


def type_name(code: int) -> str:
    """An element type as MIL calls it: FLOAT16, UINT4 ..."""
    return str(import_coremltools().proto.MIL_pb2.DataType.Name(code))


class BlobFiles:
    """The package's files of constants, each opened when the first constant needs it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._readers: dict[Path, Any] = {}

    def read(self, name: str, kind: str, blob: Any) -> np.ndarray[Any, Any]:
        """The values of one blob, in one dimension; numbers narrower than a byte take a byte each."""
        path = self._path(name, blob.fileName)
        if kind not in _BLOB_READERS:
            message = f"{path}: constant '{name}' is of type {kind}; known are {', '.join(_BLOB_READERS)}"
            raise ConversionError(message)
        method, dtype = _BLOB_READERS[kind]
        try:
            values = getattr(self._open(path), method)(blob.offset)
        except (RuntimeError, ValueError, IndexError) as error:
            message = f"{path}: constant '{name}' at byte {blob.offset} cannot be read ({error})"
            raise ConversionError(message) from error
        return np.frombuffer(values.tobytes(), dtype)

    def _path(self, name: str, file_name: str) -> Path:
        inside = PurePosixPath(file_name.removeprefix(_MODEL_PATH))
        if not file_name.startswith(_MODEL_PATH) or inside.is_absolute() or ".." in inside.parts:
            message = f"constant '{name}' lies in '{file_name}', which is not in the package"
            raise ConversionError(message)
        return self._folder / inside

    def _open(self, path: Path) -> Any:
        if path not in self._readers:
            import_coremltools()
            from coremltools.libmilstoragepython import _BlobStorageReader

            if not path.is_file():
                message = f"{path}: no such file, but the program's constants lie in it"
                raise ConversionError(message)
            self._readers[path] = _BlobStorageReader(str(path))
        return self._readers[path]
