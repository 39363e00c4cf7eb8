"""TorchScript files: load one with a clear refusal, save one without what only its maker's machine can use.

Stages and runtimes of several formats start from such a file. What is done with the module is theirs.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from converter.errors import ConversionError

_DEPRECATIONS = (r"`torch\.jit\.\w+` is deprecated", r"Lite Interpreter is deprecated")
_VERSION_RECORDS = (".data/version", "version")
_WRITTEN_BY_WRITER = (*_VERSION_RECORDS, ".data/serialization_id")
_SOURCE_POSITIONS = ".debug_pkl"


@contextmanager
def deprecation_known() -> Iterator[None]:
    """Silence torch's advice to leave TorchScript for torch.export, and nothing else.

    TorchScript is what was asked for; the advice comes with every call (seen with torch 2.14).
    """
    with warnings.catch_warnings():
        for message in _DEPRECATIONS:
            warnings.filterwarnings("ignore", message=message, category=FutureWarning)
            warnings.filterwarnings("ignore", message=message, category=DeprecationWarning)
        yield


def load_module(path: str | Path) -> Any:
    """The module of a TorchScript file, on the CPU, in eval mode.

    Raises:
        ConversionError: there is no such file, or it is not a whole TorchScript file.
    """
    import torch

    require_file(path)
    jit: Any = torch.jit
    try:
        with deprecation_known():
            return jit.load(str(path), map_location="cpu").eval()
    except Exception as error:  # torch.jit.load raises whatever a broken file makes it trip over
        raise ConversionError(_not_readable(path, "TorchScript file", error)) from error


def load_mobile_module(path: str | Path) -> Any:
    """The module of a file for the lite interpreter.

    Raises:
        ConversionError: there is no such file, or it is not a whole file of the lite interpreter.
    """
    import torch.jit.mobile

    require_file(path)
    mobile: Any = torch.jit.mobile
    try:
        with deprecation_known():
            return mobile._load_for_lite_interpreter(str(path), map_location="cpu")
    except (RuntimeError, ValueError) as error:
        raise ConversionError(_not_readable(path, "file of the TorchScript lite interpreter", error)) from error


def require_file(path: str | Path) -> None:
    """Raises ConversionError unless there is a file at `path`."""
    if not Path(path).is_file():
        message = f"{path}: no such file; the step that makes it has to run first"
        raise ConversionError(message)


def strip_source_positions(path: Path) -> None:
    """Rewrite a TorchScript archive in place, without its `.debug_pkl` records.

    These hold the path of every Python line that the trace went through, on the machine that traced it: they leak its
    folders, make the bytes depend on them, and serve only to word a runtime error. The archive's inner folder, which
    torch names after the file, becomes `archive`, so that the bytes do not depend on the file's name either.
    """
    import torch

    reader = torch._C.PyTorchFileReader(str(path))
    buffer = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(buffer)
    writer.set_min_version(_format_version(reader))
    for name in reader.get_all_records():
        if name not in _WRITTEN_BY_WRITER and not name.endswith(_SOURCE_POSITIONS):
            content = reader.get_record(name)
            writer.write_record(name, content, len(content))
    writer.write_end_of_file()
    path.write_bytes(buffer.getvalue())


def _format_version(reader: Any) -> int:
    name = next(name for name in _VERSION_RECORDS if reader.has_record(name))
    return int(reader.get_record(name))


def _not_readable(path: str | Path, expected: str, error: Exception) -> str:
    size_bytes = Path(path).stat().st_size
    seen = str(error).strip().partition("\n")[0]
    return (
        f"{path}: not a whole {expected} ({size_bytes} bytes; torch says: {seen}). "
        "If a run wrote it, run again with --force; if it is yours, check that it was saved in this format"
    )
