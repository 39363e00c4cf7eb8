"""Named arrays in .npz files, read by several rooms."""

from __future__ import annotations

import zipfile
import zlib
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
            return {name: content[name] for name in content.files}
    except (
        OSError,
        ValueError,
        EOFError,
        KeyError,
        AttributeError,
        TypeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:  # what numpy raises depends on where the file is broken
        raise ConversionError(refusal(error)) from error
