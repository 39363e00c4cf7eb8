"""Readers with every fault that a campaign is to find, and two without: the campaign is tried on them."""

from __future__ import annotations

import ctypes
import mmap
import os
import time
from pathlib import Path

from converter.errors import UsageError
from tests.fuzz.readers import Reader

WHOLE = b"a whole file of no format"


def _seed(folder: Path) -> None:
    (folder / "seed.bin").write_bytes(WHOLE)


def _careless(path: Path) -> None:
    if path.read_bytes() != WHOLE:
        {}["absent"]


def _native(path: Path) -> None:
    if path.read_bytes() != WHOLE:
        ctypes.string_at(0)


def _endless(path: Path) -> None:
    while path.read_bytes() != WHOLE:
        time.sleep(0.1)


def _greedy(path: Path) -> None:
    if path.read_bytes() != WHOLE:
        mmap.mmap(-1, 2**36).close()  # a MemoryError, or an OSError, once memory is bounded


def _leaving(path: Path) -> None:
    if path.read_bytes() != WHOLE:
        os._exit(0)


def _careful(path: Path) -> None:
    if path.read_bytes() != WHOLE:
        message = f"{path}: not what it was"
        raise UsageError(message)


READERS = (
    Reader(name="raises", seeds=_seed, read=_careless),
    Reader(name="segfaults", seeds=_seed, read=_native),
    Reader(name="segfaults in its own process", seeds=_seed, read=_native, own_process="it is there to die"),
    Reader(name="hangs", seeds=_seed, read=_endless, seconds=1.0),
    Reader(name="takes all memory", seeds=_seed, read=_greedy),
    Reader(name="leaves", seeds=_seed, read=_leaving),
    Reader(name="refuses", seeds=_seed, read=_careful),
    Reader(name="believes", seeds=_seed, read=lambda path: path.read_bytes()),
)
