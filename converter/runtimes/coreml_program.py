"""Read an `.mlpackage` back from disk: what it declares, its operations, its constants.

Only what coremltools itself parses is believed: the specification through its reader, each weight through its reader
of `weight.bin`. What the program means is left to others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from converter.coreml_package import IMAGE_LAYOUT, SPEC_PATH, WEIGHTS_PATH, import_coremltools
from converter.errors import ConversionError
from converter.records import TensorSpec

Constant = np.ndarray[Any, Any] | str | bool
_BLOB_READERS = {
    "FLOAT16": ("read_fp16_data", np.float16),
    "FLOAT32": ("read_float_data", np.float32),
    "INT8": ("read_int8_data", np.int8),
    "UINT8": ("read_uint8_data", np.uint8),
    "INT16": ("read_int16_data", np.int16),
    "UINT16": ("read_uint16_data", np.uint16),
    "INT32": ("read_int32_data", np.int32),
    "UINT32": ("read_uint32_data", np.uint32),
}
_TYPES = {name: dtype for name, (_, dtype) in _BLOB_READERS.items()} | {"BOOL": np.bool_, "INT64": np.int64}


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation that computes. Inputs and outputs are names of values; constants are values too."""

    kind: str
    inputs: Mapping[str, tuple[str, ...]]
    outputs: tuple[str, ...]
    types: tuple[str, ...]
    """Element types of the outputs, as MIL calls them: FLOAT16, INT32 ..."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """A reloaded package. `declared_*` is the model's interface, `inputs` and `outputs` the main function's."""

    specification_version: int
    opset: str
    metadata: Mapping[str, str]
    declared_inputs: tuple[TensorSpec, ...]
    declared_outputs: tuple[TensorSpec, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    operations: tuple[Operation, ...]
    constants: Mapping[str, Constant]
    weights: tuple[str, ...]
    """Names of the constants that lie in `weight.bin`."""


def read_program(package: Path) -> Program:
    """Reload a package.

    Raises:
        ConversionError: a part is missing, cut off or does not parse; the message names it.
    """
    spec = _read_spec(package)
    if spec.WhichOneof("Type") != "mlProgram":
        message = f"{package}: holds a {spec.WhichOneof('Type')}, expected an mlProgram"
        raise ConversionError(message)
    function = _main_function(package, spec)
    block = function.block_specializations[function.opset]
    constants, weights, operations = _read_block(block, _BlobFile(package / WEIGHTS_PATH))
    return Program(
        specification_version=spec.specificationVersion,
        opset=function.opset,
        metadata=dict(spec.description.metadata.userDefined),
        declared_inputs=tuple(_declared(one) for one in spec.description.input),
        declared_outputs=tuple(_declared(one) for one in spec.description.output),
        inputs=tuple(one.name for one in function.inputs),
        outputs=tuple(block.outputs),
        operations=operations,
        constants=constants,
        weights=weights,
    )


def _read_spec(package: Path) -> Any:
    ct = import_coremltools()
    try:
        return ct.utils.load_spec(str(package))
    except Exception as error:  # protobuf, libmodelpackage and OS errors have no common class
        message = f"{package}: coremltools cannot read the package ({error}); expected {SPEC_PATH} and Manifest.json"
        raise ConversionError(message) from error


def _main_function(package: Path, spec: Any) -> Any:
    functions = spec.mlProgram.functions
    if "main" not in functions or functions["main"].opset not in functions["main"].block_specializations:
        message = f"{package}: the program has no function 'main' with a block of its own set of operations"
        raise ConversionError(message)
    return functions["main"]


def _read_block(block: Any, blob: _BlobFile) -> tuple[dict[str, Constant], tuple[str, ...], tuple[Operation, ...]]:
    constants: dict[str, Constant] = {}
    weights, operations = [], []
    for operation in block.operations:
        if operation.type == "const":
            name = operation.outputs[0].name
            value = operation.attributes["val"]
            constants[name] = _constant(value, blob, name)
            if value.WhichOneof("value") == "blobFileValue":
                weights.append(name)
        else:
            inputs = {
                key: tuple(_arguments(key, one, operation, constants, blob)) for key, one in operation.inputs.items()
            }
            names = tuple(one.name for one in operation.outputs)
            types = tuple(_type_name(one.type.tensorType.dataType) for one in operation.outputs)
            operations.append(Operation(kind=operation.type, inputs=inputs, outputs=names, types=types))
    return constants, tuple(weights), tuple(operations)


def _arguments(
    key: str, argument: Any, operation: Any, constants: dict[str, Constant], blob: _BlobFile
) -> Iterator[str]:
    """Names of an operation's arguments; a value written in place gets a name of its own among the constants."""
    for binding in argument.arguments:
        if binding.WhichOneof("binding") == "name":
            yield binding.name
        else:
            name = f"{operation.outputs[0].name}/{key}"
            constants[name] = _constant(binding.value, blob, name)
            yield name


def _constant(value: Any, blob: _BlobFile, name: str) -> Constant:
    tensor = value.type.tensorType
    kind = _type_name(tensor.dataType)
    shape = tuple(one.constant.size for one in tensor.dimensions)
    if value.WhichOneof("value") == "blobFileValue":
        return _shaped(blob.read(name, kind, value.blobFileValue.offset), shape, name)
    held = value.immediateValue.tensor
    data = getattr(held, held.WhichOneof("value")).values
    if kind == "STRING":
        return str(data[0])
    if isinstance(data, bytes):
        return _shaped(np.frombuffer(data, _TYPES[kind]), shape, name)
    return _shaped(np.array(data, _TYPES[kind]), shape, name)


def _shaped(values: np.ndarray[Any, Any], shape: tuple[int, ...], name: str) -> np.ndarray[Any, Any]:
    if values.size != np.prod(shape, dtype=np.int64):
        message = f"constant '{name}' has {values.size} values, its type {list(shape)} says otherwise"
        raise ConversionError(message)
    return values.reshape(shape)


def _type_name(code: int) -> str:
    return str(import_coremltools().proto.MIL_pb2.DataType.Name(code))


def _declared(feature: Any) -> TensorSpec:
    if feature.type.WhichOneof("Type") == "imageType":
        return _declared_image(feature)
    array = feature.type.multiArrayType
    kinds = import_coremltools().proto.FeatureTypes_pb2.ArrayFeatureType.ArrayDataType
    return TensorSpec(
        name=feature.name,
        shape=tuple(int(size) for size in array.shape),
        dtype=str(kinds.Name(array.dataType)).lower(),
        layout="",
    )


def _declared_image(feature: Any) -> TensorSpec:
    """As the tensor that the program sees; colours in another order, or none, show in the layout."""
    image = feature.type.imageType
    kind = import_coremltools().proto.FeatureTypes_pb2.ImageFeatureType.ColorSpace.Name(image.colorSpace)
    layout = IMAGE_LAYOUT if kind == "RGB" else f"{kind} image"
    return TensorSpec(name=feature.name, shape=(1, 3, image.height, image.width), dtype="uint8", layout=layout)


class _BlobFile:
    """The package's `weight.bin`, opened when the first constant needs it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reader: Any = None

    def read(self, name: str, kind: str, offset: int) -> np.ndarray[Any, Any]:
        """The values of the blob at `offset`, in one dimension."""
        if kind not in _BLOB_READERS:
            message = f"{self._path}: constant '{name}' is of type {kind}; known are {', '.join(_BLOB_READERS)}"
            raise ConversionError(message)
        method, dtype = _BLOB_READERS[kind]
        try:
            values = getattr(self._open(), method)(offset)
        except (RuntimeError, ValueError, IndexError) as error:
            message = f"{self._path}: constant '{name}' at byte {offset} cannot be read ({error})"
            raise ConversionError(message) from error
        return np.frombuffer(values.tobytes(), dtype)

    def _open(self) -> Any:
        if self._reader is None:
            from coremltools.libmilstoragepython import _BlobStorageReader

            if not self._path.is_file():
                message = f"{self._path}: no such file, but the program's constants lie in it"
                raise ConversionError(message)
            self._reader = _BlobStorageReader(str(self._path))
        return self._reader
