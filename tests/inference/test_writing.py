"""Files of vectors: what is in them, and that an existing one is replaced by a whole one only."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converter.errors import MissingDependencyError, UsageError
from converter.inference import Row
from converter.inference.writing import require_writable, write_rows
from tests.inference.conftest import use

ORIGIN = [{"name": "toy/onnx/fp32", "model": "toy"}, {"name": "toy/tflite/fp32", "model": "toy"}]


def rows(spaces: int = 1) -> list[Row]:
    generator = np.random.default_rng(1)
    return [
        Row(name=name, kind="image", vectors=list(generator.random((spaces, 4), dtype=np.float32)))
        for name in ("b.png", "a b\n.png", "ü.png")
    ]


def stacked(made: list[Row], space: int = 0) -> np.ndarray[Any, Any]:
    return np.stack([row.vectors[space] for row in made])


def test_npy_holds_the_vectors_and_a_sidecar_the_names(tmp_path: Path) -> None:
    """float32, in order; the sidecar says where they come from."""
    write_rows(tmp_path / "x.npy", rows(), ORIGIN[:1])

    written = np.load(tmp_path / "x.npy")
    sidecar = json.loads((tmp_path / "x.npy.json").read_bytes())
    assert written.dtype == np.float32
    assert np.array_equal(written, stacked(rows()))
    assert [row["name"] for row in sidecar["rows"]] == ["b.png", "a b\n.png", "ü.png"]
    assert sidecar["spaces"] == ORIGIN[:1]


def test_npz_holds_names_and_vectors_of_several_models(tmp_path: Path) -> None:
    """Without pickled objects."""
    write_rows(tmp_path / "x.npz", rows(2), ORIGIN)

    with np.load(tmp_path / "x.npz", allow_pickle=False) as written:
        assert list(written["names"]) == ["b.png", "a b\n.png", "ü.png"]
        assert list(written["kinds"]) == ["image"] * 3
        assert [json.loads(one)["name"] for one in written["spaces"]] == ["toy/onnx/fp32", "toy/tflite/fp32"]
        assert np.array_equal(written["embedding_1"], stacked(rows(2), 1))


def test_parquet_holds_a_row_an_input(tmp_path: Path) -> None:
    """Vectors as lists of one length, origin in the metadata."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is an extra: pip install 'mcconvert[parquet]'")
    write_rows(tmp_path / "x.parquet", rows(), ORIGIN[:1])

    table = parquet.read_table(tmp_path / "x.parquet")
    assert table.column_names == ["name", "kind", "embedding"]
    assert table["name"].to_pylist() == ["b.png", "a b\n.png", "ü.png"]
    assert np.array_equal(np.asarray(table["embedding"].to_pylist(), np.float32), stacked(rows()))
    assert json.loads(table.schema.metadata[b"mcconvert.spaces"]) == ORIGIN[:1]


def test_parquet_without_pyarrow_is_refused_before_any_work(
    pristine: Path, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line that says what to install; no model is loaded for nothing."""
    real = importlib.import_module

    def absent(name: str, package: str | None = None) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, package)

    monkeypatch.setattr("importlib.import_module", absent)
    with pytest.raises(MissingDependencyError, match=r"pip install 'mcconvert\[parquet\]'"):
        require_writable(tmp_path / "x.parquet", 1)
    done = use("embed", photographs, "--with", pristine, "--out", tmp_path / "x.parquet")

    assert done.code == 3
    assert "ONNX Runtime" not in done.err


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_an_existing_file_is_replaced_at_the_end(tmp_path: Path, suffix: str) -> None:
    """By a rename: nothing is left beside it, and a hard link keeps the earlier bytes."""
    path = tmp_path / f"x{suffix}"
    path.write_bytes(b"earlier")
    (tmp_path / "link").hardlink_to(path)

    write_rows(path, rows(), ORIGIN[:1])

    assert (tmp_path / "link").read_bytes() == b"earlier"
    assert path.read_bytes() != b"earlier"
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("name", "models", "words"),
    [("x.csv", 1, "ends in .npy, .npz, .parquet"), ("x", 1, "ends in"), ("x.npy", 2, "holds one array")],
)
def test_what_cannot_be_written_is_refused(tmp_path: Path, name: str, models: int, words: str) -> None:
    """Before anything is computed."""
    with pytest.raises(UsageError, match=words):
        require_writable(tmp_path / name, models)


def test_a_folder_of_that_name_is_refused(tmp_path: Path) -> None:
    """A rename over it would fail at the very end."""
    (tmp_path / "x.npy").mkdir()

    with pytest.raises(UsageError, match="expected a file"):
        require_writable(tmp_path / "x.npy", 1)
