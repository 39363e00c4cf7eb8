"""Calibration data: the samples whose activations set the ranges of a full-integer file, as the converter wants them.

The file is an .npz written beside the reference: `pixels` (n, size, size, 3) uint8 with `mean` and `std`, or `tokens`
(n, 77) int32. It is read with numpy alone. That none of its samples is a parity sample is held where it is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from converter.arrays import read_arrays
from converter.errors import ConversionError
from converter.records import Recipe

type Sample = dict[str, npt.NDArray[Any]]


def load_calibration(path: str | Path, count: int = 0) -> Iterator[Sample]:
    """The first `count` samples (0, or where there are fewer: all), one at a time, normalised as the model was trained.

    Images come as {"image": (1, size, size, 3) float32 NHWC}, texts as {"tokens": (1, 77) int32}. Where the file says
    `inside_graph`, images are uint8 pixels: the graph normalises them.

    Raises:
        ConversionError: the file is missing or foreign, or holds no sample.
    """
    arrays = read_arrays(Path(path), lambda why: _foreign(Path(path), why))
    rows = _rows(Path(path), arrays)
    if not len(rows):
        raise ConversionError(_foreign(Path(path), "it holds not one sample"))
    return _samples(rows[: count or None], arrays)


def calibration_of(recipe: Recipe) -> Iterator[Sample]:
    """The samples that a recipe names, in an order that may be cut anywhere; who counts them says where they are few.

    Raises:
        ConversionError: the recipe names none, or as for `load_calibration`.
    """
    if recipe.calibration_path is None:
        message = (
            f"recipe '{recipe.name}' needs calibration data, for ranges or to round weights by, but it names none; "
            "give it a sample_set"
        )
        raise ConversionError(message)
    return load_calibration(recipe.calibration_path, recipe.samples)


def _rows(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """The stored samples: (n, 77) int32 tokens or (n, size, size, 3) uint8 pixels."""
    for name, dtype, rank, needed in (("tokens", np.int32, 2, ()), ("pixels", np.uint8, 4, ("mean", "std"))):
        rows = arrays.get(name)
        if rows is not None and rows.dtype == dtype and rows.ndim == rank and all(other in arrays for other in needed):
            return rows
    raise ConversionError(_foreign(path, f"its arrays are {sorted(arrays) or 'none'}"))


def _samples(rows: npt.NDArray[Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Iterator[Sample]:
    if rows.ndim == 2:
        yield from ({"tokens": row[None]} for row in rows)
        return
    if bool(arrays.get("inside_graph", False)):
        yield from ({"image": row[None]} for row in rows)
        return
    mean, std = (np.asarray(arrays[name], np.float32) for name in ("mean", "std"))
    for row in rows:
        yield {"image": ((row.astype(np.float32) / np.float32(255.0) - mean) / std)[None]}


def _foreign(path: Path, why: object) -> str:
    return (
        f"{path}: not a file of calibration samples ({why}); expected pixels with mean and std, or tokens, "
        "as the reference step writes them"
    )
