"""Equal files are equal, and of two that are not it is said where they part, in the terms of their format."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from converter.bench.file_differences import first_difference

JANUARY, JUNE = (2024, 1, 1, 0, 0, 0), (2024, 6, 1, 0, 0, 0)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Two folders to put one file each into."""
    folders = (tmp_path / "first", tmp_path / "second")
    for folder in folders:
        folder.mkdir()
    return folders


def _archive(path: Path, members: dict[str, bytes], date: tuple[int, int, int, int, int, int] = JANUARY) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, date), content)
    return path


def _onnx(path: Path, values: list[float], kind: str = "Relu") -> Path:
    weight = numpy_helper.from_array(np.array(values, np.float32), "weight")
    nodes = [helper.make_node(kind, ["weight"], ["out"], name="only")]
    shown = helper.make_tensor_value_info("out", TensorProto.FLOAT, [len(values)])
    onnx.save(helper.make_model(helper.make_graph(nodes, "graph", [], [shown], [weight])), path)
    return path


def test_equal_bytes_differ_in_nothing(pair: tuple[Path, Path]) -> None:
    """Whatever the files' names and dates are."""
    first, second = (_archive(folder / "a.pt", {"data": b"1"}) for folder in pair)

    assert first_difference(first, second) == ""
    assert first_difference(*pair) == ""


@pytest.mark.parametrize(
    ("members", "date", "said"),
    [
        ({"a": b"1", "b": b"23"}, JANUARY, "member b: byte 1 is the first to differ (1 do); 2 and 2 bytes"),
        ({"b": b"22", "a": b"1"}, JANUARY, "the same members in another order"),
        ({"a": b"1"}, JANUARY, "member b is in one of the two alone"),
        ({"a": b"1", "b": b"22"}, JUNE, f"member a: dated {JANUARY} and {JUNE}"),
    ],
)
def test_an_archive_is_told_by_its_members(
    members: dict[str, bytes], date: tuple[int, int, int, int, int, int], said: str, pair: tuple[Path, Path]
) -> None:
    """Contents, order, what is there, and dates, which no reader of the members would see."""
    first = _archive(pair[0] / "x.ptl", {"a": b"1", "b": b"22"})
    second = _archive(pair[1] / "x.ptl", members, date)

    assert first_difference(first, second) == said


def test_arrays_are_told_by_their_values(pair: tuple[Path, Path]) -> None:
    """How many differ, and by how much."""
    for folder, last in zip(pair, (1.0, 1.5), strict=True):
        np.savez(folder / "x.npz", embedding=np.array([0.0, last], np.float32))

    assert first_difference(pair[0] / "x.npz", pair[1] / "x.npz") == (
        "member embedding.npy: 1 of 2 values differ, by at most 0.5"
    )


def test_an_onnx_file_is_told_by_tensor_and_node(pair: tuple[Path, Path]) -> None:
    """A weight by its name, a node by its place."""
    first = _onnx(pair[0] / "x.onnx", [1.0, 2.0])

    assert first_difference(first, _onnx(pair[1] / "x.onnx", [1.0, 2.25])) == (
        "tensor 'weight': 1 of 2 values differ, by at most 0.25"
    )
    assert first_difference(first, _onnx(pair[1] / "x.onnx", [1.0, 2.0], "Neg")) == (
        "node 0: Relu 'only' and Neg 'only'"
    )


def test_what_no_reader_opens_is_told_by_its_first_byte(pair: tuple[Path, Path]) -> None:
    """A damaged file is no reason to stop comparing."""
    for folder, content in zip(pair, (b"not onnx", b"not 0nnx at all"), strict=True):
        (folder / "x.onnx").write_bytes(content)

    assert first_difference(pair[0] / "x.onnx", pair[1] / "x.onnx") == (
        "byte 4 is the first to differ (1 do); 8 and 15 bytes"
    )


def test_a_folder_is_told_by_its_first_file(pair: tuple[Path, Path]) -> None:
    """As a Core ML package is: by the path inside, or by what only one of them holds."""
    for folder, content in zip(pair, (b"12", b"13"), strict=True):
        (folder / "weight.bin").write_bytes(content)

    assert first_difference(*pair) == "weight.bin: byte 1 is the first to differ (1 do); 2 and 2 bytes"

    (pair[0] / "Manifest.json").write_bytes(b"{}")
    assert first_difference(*pair) == "Manifest.json is in one of the two alone"
