"""Constants are read as they were written, of every type, in the specification and beside it; the rest is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converter.coreml_package import SPEC_PATH, WEIGHTS_PATH, import_coremltools
from converter.errors import ConversionError
from converter.mil.constants import BlobFiles, read_constant
from converter.mil.program import read_program
from tests.mil.building import saved

pytest.importorskip("coremltools", reason="needs the extra mcconvert[coreml]")

QUICK = settings(max_examples=20, deadline=None)
NARROW = {"INT4": (-8, 7), "UINT1": (0, 1), "UINT2": (0, 3), "UINT3": (0, 7), "UINT4": (0, 15), "UINT6": (0, 63)}
WIDE = {
    "INT8": np.int8, "UINT8": np.uint8, "INT16": np.int16, "UINT16": np.uint16, "INT32": np.int32, "UINT32": np.uint32,
    "FLOAT16": np.float16, "FLOAT32": np.float32,
}  # fmt: skip
FIELDS = {"INT64": "longInts", "UINT64": "longInts", "FLOAT64": "doubles", "FLOAT32": "floats", "INT32": "ints",
          "INT16": "ints", "UINT16": "ints", "BOOL": "bools", "STRING": "strings"}  # fmt: skip
NOWHERE = BlobFiles(Path("nowhere"))


def _value(kind: str, shape: tuple[int, ...], data: Any) -> Any:
    """A value in place, as the specification has it."""
    proto = import_coremltools().proto.MIL_pb2
    value = proto.Value()
    value.type.tensorType.dataType = proto.DataType.Value(kind)
    value.type.tensorType.rank = len(shape)
    for size in shape:
        value.type.tensorType.dimensions.add().constant.size = size
    held = value.immediateValue.tensor
    if isinstance(data, bytes):
        held.bytes.values = data
    else:
        getattr(held, FIELDS[kind]).values.extend(data)
    return value


def _packed(values: list[int], bits: int) -> bytes:
    """One number after the other, the lowest bit first."""
    number = sum((one % 2**bits) << (bits * place) for place, one in enumerate(values))
    return number.to_bytes(-(-bits * len(values) // 8), "little")


@QUICK
@given(st.sampled_from(sorted(NARROW)), st.data())
def test_narrow_numbers_are_unpacked(kind: str, data: Any) -> None:
    """Written in place they share bytes; negative ones keep their sign."""
    values = data.draw(st.lists(st.integers(*NARROW[kind]), min_size=1, max_size=20))
    packed = _packed(values, int(kind.removeprefix("U").removeprefix("INT")))

    found = read_constant(_value(kind, (len(values),), packed), NOWHERE, "one")

    assert isinstance(found, np.ndarray)
    assert found.tolist() == values


@pytest.mark.parametrize("kind", ["INT64", "UINT64", "FLOAT64", "FLOAT32", "INT32", "INT16", "UINT16", "BOOL"])
def test_numbers_in_place_have_their_type_and_shape(kind: str) -> None:
    """Each kind in the field that MIL keeps it in."""
    found = read_constant(_value(kind, (3, 1), [1, 0, 1]), NOWHERE, "one")

    assert isinstance(found, np.ndarray)
    assert (found.shape, str(found.dtype).upper()) == ((3, 1), kind)
    assert found.reshape(-1).tolist() == [1, 0, 1]


def test_texts_are_a_text_or_several() -> None:
    """Without a shape one, with a shape as many as it says; a list of them likewise."""
    proto = import_coremltools().proto.MIL_pb2
    listed = proto.Value()
    listed.type.listType.SetInParent()
    for text in ("a", "b"):
        listed.immediateValue.list.values.add().CopyFrom(_value("STRING", (), [text]))

    assert read_constant(_value("STRING", (), ["valid"]), NOWHERE, "one") == "valid"
    assert read_constant(_value("STRING", (2,), ["a", "b"]), NOWHERE, "one") == ("a", "b")
    assert read_constant(listed, NOWHERE, "one") == ("a", "b")


@pytest.mark.parametrize(
    ("kind", "shape", "data", "says"),
    [
        ("INT4", (5,), b"\x01\x02", "2 bytes for 5 numbers"),
        ("FLOAT16", (2,), b"\x01\x02\x03", "FLOAT16"),
        ("FLOAT32", (3,), [1.0, 2.0], r"2 values.*\[3\]"),
        ("INT16", (1,), [70000], "INT16"),
        ("BFLOAT16", (1,), b"\x01\x02", "BFLOAT16; known are"),
    ],
)
def test_a_constant_that_is_not_as_its_type_says_is_an_error(kind: str, shape: Any, data: Any, says: str) -> None:
    """Bytes too few or too many, a number too large, a type that nothing here computes with."""
    with pytest.raises(ConversionError, match=f"constant 'one'.*{says}"):
        read_constant(_value(kind, shape, data), NOWHERE, "one")


def test_a_dictionary_is_refused() -> None:
    """By its kind, before anything is read."""
    proto = import_coremltools().proto.MIL_pb2
    value = proto.Value()
    value.type.dictionaryType.SetInParent()
    value.immediateValue.dictionary.SetInParent()

    with pytest.raises(ConversionError, match="dictionary"):
        read_constant(value, NOWHERE, "one")


def _blob(kind: str, count: int, offset: int, file_name: str = "@model_path/weights/weight.bin") -> Any:
    value = _value(kind, (count,), b"")
    value.ClearField("immediateValue")
    value.blobFileValue.fileName = file_name
    value.blobFileValue.offset = offset
    return value


def _writers() -> dict[str, tuple[str, Callable[[Any], Any]]]:
    """For each type coremltools' own method of writing it, and what that wants to be given."""
    from coremltools.converters.mil.mil import types

    names = {"FLOAT16": "fp16", "FLOAT32": "float"}
    plain = {kind: (names.get(kind, kind.lower()), dtype) for kind, dtype in WIDE.items()}
    narrow = {kind: (kind.lower(), getattr(types, f"np_{kind.lower()}_dtype")) for kind in NARROW}
    return {
        kind: (f"write_{name}_data", lambda values, dtype=dtype: np.asarray(values).astype(dtype))
        for kind, (name, dtype) in (plain | narrow).items()
    }


def test_a_file_of_constants_gives_back_every_type(tmp_path: Path) -> None:
    """As coremltools writes them, one after the other into one file."""
    from coremltools.libmilstoragepython import _BlobStorageWriter

    values = {kind: np.arange(*NARROW[kind]) for kind in NARROW} | {kind: np.arange(11) for kind in WIDE}
    values["UINT1"] = np.array([1, 0, 0, 1, 1, 0, 1, 0, 1])
    path = tmp_path / "weights" / "weight.bin"
    path.parent.mkdir()
    writer = _BlobStorageWriter(str(path))
    offsets = {}
    for kind, (method, prepared) in _writers().items():
        data = prepared(values[kind])
        offsets[kind] = getattr(writer, method)(data.view(np.uint16) if kind == "FLOAT16" else data)
    del writer  # writes what it still holds

    files = BlobFiles(tmp_path)

    for kind, offset in offsets.items():
        found = read_constant(_blob(kind, len(values[kind]), offset), files, kind)
        assert isinstance(found, np.ndarray)
        assert found.tolist() == values[kind].tolist(), kind


@pytest.mark.parametrize("name", ["/etc/weight.bin", "@model_path/../../weight.bin", "weight.bin"])
def test_a_file_outside_of_the_package_is_refused(name: str) -> None:
    """A package is read alone."""
    with pytest.raises(ConversionError, match="not in the package"):
        read_constant(_blob("FLOAT32", 1, 64, name), NOWHERE, "one")


def test_a_type_that_no_file_holds_is_refused(tmp_path: Path) -> None:
    """By name, with what is known."""
    with pytest.raises(ConversionError, match="FLOAT64; known are"):
        read_constant(_blob("FLOAT64", 1, 64), BlobFiles(tmp_path), "one")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linear layer whose weight lies in the file."""
    weight = np.arange(12, dtype=np.float32).reshape(3, 4)
    path = tmp_path_factory.mktemp("package") / "one.mlpackage"
    return saved(lambda mb, x: mb.linear(x=x, weight=weight, name="layer"), {"x": np.zeros((2, 4), np.float32)}, path)


def test_a_program_has_its_operations_constants_and_interface(package: Path) -> None:
    """Names, types and shapes as they were declared; which constants lie in the file."""
    program = read_program(package)

    (layer,) = program.operations
    weight = program.constants[layer.inputs["weight"][0]]
    assert (layer.kind, layer.types, layer.shapes) == ("linear", ("FLOAT32",), ((2, 3),))
    assert layer.inputs["weight"] == program.weights
    assert isinstance(weight, np.ndarray)
    assert weight.tolist() == np.arange(12).reshape(3, 4).tolist()
    assert (program.inputs, program.outputs) == (("x",), layer.outputs)
    assert [(one.name, one.shape, one.dtype) for one in program.declared_inputs] == [("x", (2, 4), "float32")]


def _copied(package: Path, folder: Path) -> Path:
    from shutil import copytree

    return Path(copytree(package, folder / "copy.mlpackage"))


@pytest.mark.parametrize(
    ("part", "says"),
    [(WEIGHTS_PATH, "no such file"), (SPEC_PATH, "cannot read"), (Path("Manifest.json"), "cannot read")],
)
def test_a_package_without_a_part_is_an_error(package: Path, tmp_path: Path, part: Path, says: str) -> None:
    """Constants, specification, manifest: each is named."""
    copy = _copied(package, tmp_path)
    (copy / part).unlink()

    with pytest.raises(ConversionError, match=says):
        read_program(copy)


def test_another_kind_of_model_is_an_error(package: Path, tmp_path: Path) -> None:
    """A neural network of the older kind is no program; a program needs its main function."""
    proto = import_coremltools().proto
    copy = _copied(package, tmp_path)
    spec = proto.Model_pb2.Model.FromString((copy / SPEC_PATH).read_bytes())
    spec.mlProgram.functions["other"].CopyFrom(spec.mlProgram.functions.pop("main"))
    (copy / SPEC_PATH).write_bytes(spec.SerializeToString())

    with pytest.raises(ConversionError, match="no function 'main'"):
        read_program(copy)

    spec.neuralNetwork.SetInParent()
    (copy / SPEC_PATH).write_bytes(spec.SerializeToString())
    with pytest.raises(ConversionError, match="holds a neuralNetwork"):
        read_program(copy)


@pytest.mark.parametrize("kind", ["multiArrayType", "imageType"])
def test_a_declared_kind_that_nothing_has_is_an_error(package: Path, tmp_path: Path, kind: str) -> None:
    """A number in the place of an element type or a colour space is looked up before it is believed."""
    proto = import_coremltools().proto
    copy = _copied(package, tmp_path)
    spec = proto.Model_pb2.Model.FromString((copy / SPEC_PATH).read_bytes())
    declared = spec.description.input[0].type
    if kind == "imageType":
        declared.imageType.colorSpace = 255
    else:
        declared.multiArrayType.dataType = 255
    (copy / SPEC_PATH).write_bytes(spec.SerializeToString())

    with pytest.raises(ConversionError, match="'x' is declared of kind 255, expected one of .*(FLOAT32|RGB)"):
        read_program(copy)
