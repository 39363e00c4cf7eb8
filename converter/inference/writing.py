"""Vectors to a file, whole or not at all, in the kind that its suffix says.

| suffix | what is in it |
|---|---|
| .npy | one (n, dim) float32 array; names and origin in a sidecar, `FILE.npy.json` |
| .npz | `names` and `kinds` (n,), `spaces` (m,), and `embedding` (n, dim) float32; of several models `embedding_0`... |
| .parquet | a row an input: `name`, `kind`, and `embedding`, a list of dim floats; of several models `embedding_0`... |
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from converter.errors import MissingDependencyError, UsageError, nearest
from converter.files import write_atomically
from converter.inference import Row

type Columns = Mapping[str, npt.NDArray[np.float32]]
type Origin = Sequence[Mapping[str, Any]]
"""A mapping a model: what made its vectors. Written into every kind of file."""

MISSING_PYARROW = "a .parquet file needs pyarrow: pip install 'mcconvert[parquet]', or give --out a .npz"


def require_writable(path: Path, models: int) -> None:
    """Refuse before anything is computed what could not be written afterwards.

    Raises:
        UsageError: the suffix is unknown, the path is a folder, or a .npy is to hold several models' vectors.
        MissingDependencyError: .parquet without pyarrow.
    """
    if path.suffix not in WRITERS or path.is_dir():
        message = f"--out {path}: expected a file that ends in {', '.join(WRITERS)}; {nearest(path.suffix, WRITERS)}"
        raise UsageError(message)
    if path.suffix == ".npy" and models > 1:
        message = f"--out {path}: a .npy holds one array, and there are {models} models; give a .npz, or --ensemble"
        raise UsageError(message)
    if path.suffix == ".parquet":
        _pyarrow()


def write_rows(path: Path, rows: Sequence[Row], origin: Origin) -> None:
    """Write beside the place, then rename, so that an existing file is replaced only by a whole one.

    Raises:
        MissingDependencyError: .parquet without pyarrow.
    """
    count = len(rows[0].vectors)
    names = ["embedding"] if count == 1 else [f"embedding_{index}" for index in range(count)]
    columns = {name: np.stack([row.vectors[index] for row in rows]) for index, name in enumerate(names)}
    WRITERS[path.suffix](path, rows, columns, origin)


def _write_npy(path: Path, rows: Sequence[Row], columns: Columns, origin: Origin) -> None:
    (array,) = columns.values()
    facts = {"spaces": origin, "rows": [{"name": row.name, "kind": row.kind} for row in rows]}
    sidecar = msgspec.json.format(msgspec.json.encode(facts), indent=2) + b"\n"
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_atomically(path, buffer.getvalue())
    write_atomically(path.with_name(f"{path.name}.json"), sidecar)


def _write_npz(path: Path, rows: Sequence[Row], columns: Columns, origin: Origin) -> None:
    buffer = io.BytesIO()
    words = {
        "names": np.asarray([row.name for row in rows], np.str_),
        "kinds": np.asarray([row.kind for row in rows], np.str_),
        "spaces": np.asarray([_json(one) for one in origin], np.str_),
    }
    np.savez(buffer, allow_pickle=False, **words, **columns)
    write_atomically(path, buffer.getvalue())


def _write_parquet(path: Path, rows: Sequence[Row], columns: Columns, origin: Origin) -> None:
    arrow, parquet = _pyarrow()
    table: dict[str, Any] = {"name": [row.name for row in rows], "kind": [row.kind for row in rows]}
    for name, array in columns.items():
        flat = arrow.array(np.ascontiguousarray(array).reshape(-1))
        table[name] = arrow.FixedSizeListArray.from_arrays(flat, array.shape[1])
    facts = {"mcconvert.spaces": _json(origin)}
    buffer = io.BytesIO()
    parquet.write_table(arrow.table(table).replace_schema_metadata(facts), buffer)
    write_atomically(path, buffer.getvalue())


def _pyarrow() -> tuple[Any, Any]:
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingDependencyError(MISSING_PYARROW) from error


def _json(facts: object) -> str:
    return msgspec.json.encode(facts).decode()


WRITERS: Mapping[str, Callable[[Path, Sequence[Row], Columns, Origin], None]] = {
    ".npy": _write_npy,
    ".npz": _write_npz,
    ".parquet": _write_parquet,
}
