"""Named arrays in .npz files, read by several rooms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from converter.errors import ConversionError


def read_arrays(path: Path, refusal: Callable[[object], str]) -> dict[str, npt.NDArray[Any]]:
    """Every array of the file, by name; no pickle is ever loaded. `refusal(why)` words the error.

    Raises:
        ConversionError: the file is missing, truncated or not an .npz.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
    except Exception as error:  # what numpy raises depends on where the file is broken
        raise ConversionError(refusal(error)) from error
    foreign = [name for name, value in arrays.items() if not isinstance(value, np.ndarray)]
    if foreign:
        raise ConversionError(refusal(f"its member {foreign[0]!r} is no array"))
    return arrays
