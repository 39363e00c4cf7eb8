"""Copies of Core ML packages, and ways to damage them: bits of the weights, bytes of a part, the program itself."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from converter.coreml_package import SPEC_PATH, WEIGHTS_PATH, import_coremltools
from converter.mil.program import read_program
from converter.records import Artifact

EXPONENT_BIT = 0x40
"""In the last byte of a little-endian float, 16 or 32 bits wide."""


def copied(artifact: Artifact, folder: Path) -> Artifact:
    """A copy that a test may damage."""
    path = folder / "copy.mlpackage"
    shutil.copytree(artifact.path, path)
    return replace(artifact, path=str(path))


def flip(artifact: Artifact, bit: int | None, generator: np.random.Generator, byte: int) -> str:
    """Flip a bit of a random nonzero value of a random weight in `weight.bin`, or make it NaN; returns its name."""
    program = read_program(Path(artifact.path))
    name = str(generator.choice([name for name in program.weights if np.any(program.constants[name])]))
    values = program.constants[name]
    assert isinstance(values, np.ndarray)
    index = int(generator.choice(np.flatnonzero(values.reshape(-1))))

    def damaged(whole: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        data = bytearray(whole.tobytes())
        place = index * whole.itemsize
        if bit is None:
            data[place : place + whole.itemsize] = np.array(np.nan, whole.dtype).tobytes()
        else:
            data[place + byte % whole.itemsize] ^= bit
        return np.frombuffer(bytes(data), whole.dtype).reshape(whole.shape)

    rewrite_weight(artifact, name, damaged)
    return name


def rewrite_weight(
    artifact: Artifact, name: str, change: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]
) -> None:
    """Write a weight's changed values where its own lie in `weight.bin`."""
    package = Path(artifact.path)
    values = read_program(package).constants[name]
    assert isinstance(values, np.ndarray)
    data = (package / WEIGHTS_PATH).read_bytes()
    place = data.index(values.tobytes())
    changed = np.ascontiguousarray(change(values)).tobytes()
    (package / WEIGHTS_PATH).write_bytes(data[:place] + changed + data[place + len(changed) :])


def cut(package: Path, part: Path, share: float = 0.5) -> None:
    """Leave only the beginning of a part."""
    whole = (package / part).read_bytes()
    (package / part).write_bytes(whole[: int(len(whole) * share)])


def edit_spec(artifact: Artifact, edit: Callable[[Any], None]) -> None:
    """Change the specification and write it back."""
    path = Path(artifact.path) / SPEC_PATH
    spec = import_coremltools().proto.Model_pb2.Model.FromString(path.read_bytes())
    edit(spec)
    path.write_bytes(spec.SerializeToString())


def edit_block(artifact: Artifact, edit: Callable[[Any], None]) -> None:
    """Change the operations of the main function."""

    def edited(spec: Any) -> None:
        function = spec.mlProgram.functions["main"]
        edit(function.block_specializations[function.opset])

    edit_spec(artifact, edited)


def first(block: Any, kind: str) -> Any:
    """The first operation of a kind."""
    return next(one for one in block.operations if one.type == kind)


def constant(block: Any, operation: Any, key: str) -> Any:
    """The tensor in the specification that holds a constant argument."""
    name = operation.inputs[key].arguments[0].name
    holder = next(one for one in block.operations if one.outputs[0].name == name)
    return holder.attributes["val"].immediateValue.tensor


def exchange(operation: Any, one: str, other: str) -> None:
    """Two arguments trade places."""
    held = operation.inputs[one].SerializeToString()
    operation.inputs[one].CopyFrom(operation.inputs[other])
    operation.inputs[other].ParseFromString(held)
