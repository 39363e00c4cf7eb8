"""What differs between two files that should be one and the same, in words that lead to the cause.

    first_difference(a, b)  ->  "" for equal bytes, else the first place in the terms of the format

Rules:

1. A folder: the first file that only one has, or that differs, then by that file's own rule.
2. An archive (`.pt`, `.ptl`, `.npz`): members, their order, their contents, then their dates.
3. An array (`.npy`, a member of an `.npz`): how many values differ, and by how much at most.
4. ONNX: the first initializer that differs, else the first node. TFLite: the first tensor whose values differ.
5. Anything else, and what rules 2 to 4 cannot read: the first byte that differs.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from converter.onnx_file import load_model
from converter.tflite_file import read_model

ALIKE = "the same values, written in another way"


def first_difference(first: Path, second: Path) -> str:
    """Where two files or folders part; empty when they hold the same bytes."""
    if first.is_dir() or second.is_dir():
        return _in_folder(first, second)
    one, other = first.read_bytes(), second.read_bytes()
    if one == other:
        return ""
    return _in_words(first, second) or _in_bytes(one, other)


def _in_folder(first: Path, second: Path) -> str:
    """Rule 1."""
    ours, theirs = _members(first), _members(second)
    for name in sorted(set(ours) ^ set(theirs)):
        return f"{name} is in one of the two alone"
    for name in sorted(ours):
        found = first_difference(first / name, second / name)
        if found:
            return f"{name}: {found}"
    return ""


def _members(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]


def _in_words(first: Path, second: Path) -> str:
    """Rules 2 and 4; empty for another format, or where the format's own reader refuses either file."""
    by_format: dict[str, Callable[[Path, Path], str]] = {".onnx": _in_onnx, ".tflite": _in_tflite}
    compare = by_format.get(first.suffix)
    if compare is None and zipfile.is_zipfile(first) and zipfile.is_zipfile(second):
        compare = _in_archive
    try:
        return compare(first, second) if compare else ""
    except Exception:  # a damaged file may break any reader in any way; its first differing byte is said instead
        return ""


def _in_archive(first: Path, second: Path) -> str:
    """Rule 2."""
    with zipfile.ZipFile(first) as one, zipfile.ZipFile(second) as other:
        for name in sorted(set(one.namelist()) ^ set(other.namelist())):
            return f"member {name} is in one of the two alone"
        if one.namelist() != other.namelist():
            return "the same members in another order"
        for name in one.namelist():
            found = _in_member(name, one.read(name), other.read(name))
            if found:
                return f"member {name}: {found}"
        for ours, theirs in zip(one.infolist(), other.infolist(), strict=True):
            if ours.date_time != theirs.date_time:
                return f"member {ours.filename}: dated {ours.date_time} and {theirs.date_time}"
    return ""


def _in_member(name: str, one: bytes, other: bytes) -> str:
    if one == other:
        return ""
    if name.endswith(".npy"):
        return _in_array(np.load(io.BytesIO(one)), np.load(io.BytesIO(other)))
    return _in_bytes(one, other)


def _in_array(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> str:
    """Rule 3; empty for equal values."""
    if (one.shape, one.dtype) != (other.shape, other.dtype):
        return f"{one.dtype}{list(one.shape)} and {other.dtype}{list(other.shape)}"
    unequal = one != other
    if not unequal.any():
        return "" if one.tobytes() == other.tobytes() else ALIKE
    count = f"{int(unequal.sum())} of {one.size} values differ"
    if one.dtype.kind not in "iuf":
        return count
    return f"{count}, by at most {float(np.abs(one.astype(np.float64) - other.astype(np.float64)).max()):.3g}"


def _in_onnx(first: Path, second: Path) -> str:
    one, other = load_model(first).graph, load_model(second).graph
    return _in_tensors(_onnx_tensors(one), _onnx_tensors(other)) or _in_nodes(one.node, other.node)


def _onnx_tensors(graph: Any) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    from onnx import numpy_helper

    return ((one.name, numpy_helper.to_array(one)) for one in graph.initializer)


def _in_nodes(ours: Iterable[Any], theirs: Iterable[Any]) -> str:
    for number, (one, other) in enumerate(zip(ours, theirs, strict=False)):
        if one != other:
            return f"node {number}: {one.op_type} '{one.name}' and {other.op_type} '{other.name}'"
    return ""


def _in_tflite(first: Path, second: Path) -> str:
    return _in_tensors(_tflite_tensors(read_model(first)), _tflite_tensors(read_model(second)))


def _tflite_tensors(model: Any) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """The bytes of each tensor, and its scales."""
    for tensor in model.subgraphs[0].tensors:
        name, data = tensor.name.decode(), model.buffers[tensor.buffer].data
        yield name, np.frombuffer(bytes(data if data is not None else b""), np.int8)
        scales = tensor.quantization.scale if tensor.quantization else None
        yield f"scale of {name}", np.asarray([] if scales is None else scales, np.float32)


def _in_tensors(
    ours: Iterable[tuple[str, np.ndarray[Any, Any]]], theirs: Iterable[tuple[str, np.ndarray[Any, Any]]]
) -> str:  # fmt: skip
    for (name, one), (other_name, other) in zip(ours, theirs, strict=False):
        if name != other_name:
            return f"tensor '{name}' stands where the other has '{other_name}'"
        found = _in_array(one, other)
        if found:
            return f"tensor '{name}': {found}"
    return ""


def _in_bytes(one: bytes, other: bytes) -> str:
    """Rule 5."""
    if one == other:
        return ""
    shorter = min(len(one), len(other))
    unequal = np.frombuffer(one, np.uint8, shorter) != np.frombuffer(other, np.uint8, shorter)
    place = int(unequal.argmax()) if unequal.any() else shorter
    return f"byte {place} is the first to differ ({int(unequal.sum())} do); {len(one)} and {len(other)} bytes"
