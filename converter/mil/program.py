"""Read an `.mlpackage` back from disk: what it declares, its operations, its constants.

Only what coremltools itself parses is believed: the specification through its reader. `constants` reads the values;
what the program means is left to others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from converter.coreml_package import IMAGE_LAYOUT, SPEC_PATH, import_coremltools
from converter.errors import ConversionError
from converter.mil.constants import BlobFiles, Constant, read_constant, type_name
from converter.records import TensorSpec


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation that computes. Inputs and outputs are names of values; constants are values too."""

    kind: str
    inputs: Mapping[str, tuple[str, ...]]
    outputs: tuple[str, ...]
    types: tuple[str, ...]
    """Element types of the outputs, as MIL calls them: FLOAT16, INT32 ..."""
    shapes: tuple[tuple[int | None, ...] | None, ...]
    """Declared shapes of the outputs; None where a size, or the whole shape, is left open."""
    blocks: tuple[Block, ...] = ()
    """Bodies of `cond` and `while_loop`."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """A body with a scope of its own; it sees the values around it."""

    inputs: tuple[str, ...]
    operations: tuple[Operation, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Program:
    """A reloaded package. `declared_*` is the model's interface, `inputs` and `outputs` the main function's."""

    specification_version: int
    opset: str
    metadata: Mapping[str, str]
    declared_inputs: tuple[TensorSpec, ...]
    declared_outputs: tuple[TensorSpec, ...]
    inputs: tuple[str, ...]
    input_types: tuple[str, ...]
    """Element types of the main function's inputs: an image's pixels are floats inside."""
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
    reading = _Reading(BlobFiles((package / SPEC_PATH).parent))
    operations = tuple(_operations(block, reading))
    return Program(
        specification_version=spec.specificationVersion,
        opset=function.opset,
        metadata=dict(spec.description.metadata.userDefined),
        declared_inputs=tuple(_declared(one) for one in spec.description.input),
        declared_outputs=tuple(_declared(one) for one in spec.description.output),
        inputs=tuple(one.name for one in function.inputs),
        input_types=tuple(type_name(one.type.tensorType.dataType) for one in function.inputs),
        outputs=tuple(block.outputs),
        operations=operations,
        constants=reading.constants,
        weights=tuple(reading.weights),
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


@dataclass(frozen=True)
class _Reading:
    """What is gathered on the way: constants of all blocks, whose names MIL keeps apart, and which are weights."""

    blob: BlobFiles
    constants: dict[str, Constant] = field(default_factory=dict)
    weights: list[str] = field(default_factory=list)

    def keep(self, name: str, value: Any) -> None:
        self.constants[name] = read_constant(value, self.blob, name)
        if value.WhichOneof("value") == "blobFileValue":
            self.weights.append(name)


def _operations(block: Any, reading: _Reading) -> Iterator[Operation]:
    for operation in block.operations:
        if operation.type == "const":
            reading.keep(operation.outputs[0].name, operation.attributes["val"])
        else:
            yield _operation(operation, reading)


def _operation(operation: Any, reading: _Reading) -> Operation:
    """An operation whose arguments are all named; `constexpr_*` of iOS16 keep theirs among the attributes."""
    inputs = {key: tuple(_arguments(key, one, operation, reading)) for key, one in operation.inputs.items()}
    for key, value in operation.attributes.items():
        if key != "name" and key not in inputs:
            name = f"{operation.outputs[0].name}/{key}"
            reading.keep(name, value)
            inputs[key] = (name,)
    return Operation(
        kind=operation.type,
        inputs=inputs,
        outputs=tuple(one.name for one in operation.outputs),
        types=tuple(type_name(one.type.tensorType.dataType) for one in operation.outputs),
        shapes=tuple(_declared_shape(one.type) for one in operation.outputs),
        blocks=tuple(_block(one, reading) for one in operation.blocks),
    )


def _block(block: Any, reading: _Reading) -> Block:
    return Block(
        inputs=tuple(one.name for one in block.inputs),
        operations=tuple(_operations(block, reading)),
        outputs=tuple(block.outputs),
    )


def _declared_shape(value_type: Any) -> tuple[int | None, ...] | None:
    tensor = value_type.tensorType
    if value_type.WhichOneof("type") != "tensorType" or tensor.rank != len(tensor.dimensions):
        return None
    return tuple(
        int(one.constant.size) if one.WhichOneof("dimension") == "constant" else None for one in tensor.dimensions
    )


def _arguments(key: str, argument: Any, operation: Any, reading: _Reading) -> Iterator[str]:
    """Names of an operation's arguments; a value written in place gets a name of its own among the constants."""
    for index, binding in enumerate(argument.arguments):
        if binding.WhichOneof("binding") == "name":
            yield binding.name
        else:
            name = f"{operation.outputs[0].name}/{key}{index or ''}"
            reading.keep(name, binding.value)
            yield name


def _declared(feature: Any) -> TensorSpec:
    if feature.type.WhichOneof("Type") == "imageType":
        return _declared_image(feature)
    array = feature.type.multiArrayType
    kinds = import_coremltools().proto.FeatureTypes_pb2.ArrayFeatureType.ArrayDataType
    return TensorSpec(
        name=feature.name,
        shape=tuple(int(size) for size in array.shape),
        dtype=_known(kinds, array.dataType, feature.name).lower(),
        layout="",
    )


def _declared_image(feature: Any) -> TensorSpec:
    """As the tensor that the program sees; colours in another order, or none, show in the layout."""
    image = feature.type.imageType
    kinds = import_coremltools().proto.FeatureTypes_pb2.ImageFeatureType.ColorSpace
    kind = _known(kinds, image.colorSpace, feature.name)
    layout = IMAGE_LAYOUT if kind == "RGB" else f"{kind} image"
    return TensorSpec(name=feature.name, shape=(1, 3, image.height, image.width), dtype="uint8", layout=layout)


def _known(kinds: Any, value: int, feature: str) -> str:
    """The name of an enumeration's value; a file may hold any number in its place."""
    names = {number: name for name, number in kinds.items()}
    if value not in names:
        message = f"'{feature}' is declared of kind {value}, expected one of {', '.join(kinds.keys())}"
        raise ConversionError(message)
    return str(names[value])
