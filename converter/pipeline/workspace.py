"""The output folder of one model: locked while a run writes to it, and where finished files get their names."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from converter.errors import UsageError
from converter.files import half_written, make_tagged, place, remove
from converter.records import ModelSpec, Step

CACHE_VARIABLE = "MCCONVERT_CACHE"


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """`<out>/<model>/`, with the cache of steps in `<out>/.cache` or where MCCONVERT_CACHE says.

    `model` is `<id>_pixels` where the image tower's files take pixels.
    """

    out: Path
    model: str

    @property
    def folder(self) -> Path:
        """The model's folder."""
        return self.out / self.model

    @property
    def logs(self) -> Path:
        """One log a step: what third-party tools printed."""
        return self.folder / "logs"

    @property
    def manifest(self) -> Path:
        """The model's manifest."""
        return self.folder / "manifest.json"

    @property
    def tokenizer(self) -> Path:
        """The text tower's tokenizer."""
        return self.folder / "tokenizer.json"

    @property
    def cache_root(self) -> Path:
        """The store of finished steps."""
        elsewhere = os.environ.get(CACHE_VARIABLE)
        return Path(elsewhere) if elsewhere else self.out / ".cache"

    def path_of(self, step: Step) -> Path:
        """Where a step's file is for the user."""
        return self.folder / step.target / step.file_name

    def place(self, step: Step, source: Path) -> None:
        """Give a finished file its name; the pytorch step's own file stays among the reference files."""
        if step.target != "pytorch":
            place(source, self.path_of(step))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for one run; the lock goes with the process, however that ends.

        Raises:
            UsageError: another run holds it, or it cannot be written.
        """
        try:
            make_tagged(self.folder)
            lock = (self.folder / ".lock").open("a+")
        except OSError as error:
            where = f"{error.strerror or error}: {error.filename or self.folder}"
            message = f"cannot write to the output folder ({where}): give --out another one, or mend its rights"
            raise UsageError(message) from error
        with lock:
            _take(lock.fileno(), self.folder)
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            for path in half_written(self.folder):  # of a run that died: nobody else writes here now
                remove(path)
            yield


def holder(folder: Path) -> str | None:
    """The process that writes to a model's folder now; None when none does."""
    try:
        with (folder / ".lock").open(encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return lock.read().strip() or "unknown"
    except OSError:  # no lock, or none that we may read
        return None
    return None


def _take(handle: int, folder: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        pid = (folder / ".lock").read_text(encoding="utf-8").strip()
        owner = f" (process {pid})" if pid else ""
        message = f"another run{owner} is writing to {folder}: wait for it, or give --out another folder"
        raise UsageError(message) from error


def workspace_of(out: Path, spec: ModelSpec) -> Workspace:
    """The workspace of a model below the output folder, absolute."""
    folder = f"{spec.id}_pixels" if spec.preprocessing.inside_graph else spec.id
    return Workspace(out=out.expanduser().resolve(), model=folder)
