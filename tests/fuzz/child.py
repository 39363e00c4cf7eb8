"""A process that feeds one reader: it says each input's number before it reads it, so that its death names the input.

Lines on standard output: `start N`, then `read N`, `refused N` or `traceback N <JSON text>`; `unread -1 <JSON
text>` where not even the seeds can be read.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import shutil
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import IO

from tests.fuzz.mutators import spoiled
from tests.fuzz.readers import Reader

ROOM_BYTES = 3 * 2**30
"""What a reader may ask for beside what its libraries took."""


def seeds_of(reader: Reader, work: Path) -> list[Path]:
    """The reader's seeds below `work`, made where they are not there: files, or packages."""
    folder = seed_folder(reader, work)
    if not folder.is_dir():
        making = folder.with_name(f"{folder.name}.{os.getpid()}")
        making.mkdir(parents=True)
        reader.seeds(making)
        with contextlib.suppress(OSError):
            making.rename(folder)
    return sorted(folder.iterdir())


def seed_folder(reader: Reader, work: Path) -> Path:
    """Readers with the same seeds share them."""
    name = getattr(reader.seeds, "__qualname__", "seeds").replace("<locals>", "of").replace(".", "_")
    return work / "seeds" / (reader.name if "_of_" in name else name)


def write_input(reader: Reader, found: list[Path], seed: int, number: int, folder: Path) -> Path:
    """Input `number` of the campaign `seed`, in `folder`; the same on every machine that has the same seeds."""
    random = Random(f"{seed}/{reader.name}/{number}")
    spoilable = [path for path in found if not reader.mutators or _suffix(path) in reader.mutators or path.is_dir()]
    chosen = random.choice(spoilable)
    for path in found:
        (shutil.copytree if path.is_dir() else shutil.copyfile)(path, folder / path.name)
    target = folder / chosen.name
    inner = random.choice(sorted(path for path in target.rglob("*") if path.is_file())) if target.is_dir() else target
    mutate = reader.mutators.get(_suffix(inner), spoiled)
    inner.write_bytes(mutate(inner.read_bytes(), random))
    return target


def _suffix(path: Path) -> str:
    return path.suffix.lower()


def main(reader: Reader, work: Path, seed: int, numbers: range) -> None:
    """Read every input of `numbers`."""
    said = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    _quiet()
    with tempfile.TemporaryDirectory(dir=work) as scratch:
        try:
            found = seeds_of(reader, work)
            _require_readable(reader, found, Path(scratch))
        except BaseException as error:
            said.write(f"unread -1 {json.dumps(repr(error))}\n")
            raise
        _bound_memory()
        for number in numbers:
            with _emptied(Path(scratch) / "input") as folder:
                path = write_input(reader, found, seed, number, folder)
                said.write(f"start {number}\n")
                _read(reader, path, number, said)


def _read(reader: Reader, path: Path, number: int, said: IO[str]) -> None:
    try:
        reader.read(path)
        said.write(f"read {number}\n")
    except reader.refusals:
        said.write(f"refused {number}\n")
    except BaseException as error:
        text = "".join(traceback.format_exception(error, limit=-6))[-3000:]
        said.write(f"traceback {number} {json.dumps(text)}\n")


def _require_readable(reader: Reader, found: list[Path], scratch: Path) -> None:
    """Spoiling what cannot be read would prove nothing. Libraries are loaded by this, before memory is bounded."""
    for path in found:
        with _emptied(scratch / "whole") as folder:
            for other in found:
                (shutil.copytree if other.is_dir() else shutil.copyfile)(other, folder / other.name)
            if not reader.mutators or _suffix(path) in reader.mutators or path.is_dir():
                reader.read(folder / path.name)


@contextlib.contextmanager
def _emptied(folder: Path) -> Iterator[Path]:
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _bound_memory() -> None:
    taken = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + ROOM_BYTES, taken + ROOM_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM_BYTES, ROOM_BYTES))


def _quiet() -> None:
    """Libraries talk on both streams; only our own lines are to be seen."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    if "MCCONVERT_FUZZ_LOUD" not in os.environ:
        os.dup2(nowhere, 2)


if __name__ == "__main__":
    module, name, place, seed_, first, count = sys.argv[1:]
    chosen_ = next(one for one in importlib.import_module(module).READERS if one.name == name)
    main(chosen_, Path(place), int(seed_), range(int(first), int(first) + int(count)))
