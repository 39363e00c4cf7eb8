"""Ends a process by SIGKILL at a named instant: just before it changes the file system for the n-th time.

Python loads this by itself where its folder is on PYTHONPATH, in the run as in each step's process, so nothing in the
product knows of it. An audit hook sees every rename, link, removal, folder and file opened for writing.

    FAULTS_KILL=run:17          kill the run before its change number 17 (worker: the first step's process that has one)
    FAULTS_RECORD=run:FILE      write a line a change into FILE, to know what there is to choose from
"""

import os
import signal
import sys

CHANGES = ("os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate", "os.utime")


def _role() -> str:
    line = sys.orig_argv
    if "converter.pipeline.worker" in line:
        return "worker"
    return "run" if any(one.endswith("/mcconvert") for one in line) else "other"


def _changes(event: str, arguments: tuple[object, ...]) -> bool:
    if event != "open":
        return event in CHANGES
    path, _mode, flags = arguments
    writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    return bool(writes) and not str(path).startswith("/dev/")


def _install(kill_at: int, record: str) -> None:
    handle = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND) if record else -1
    count = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal count
        if not _changes(event, arguments):
            return
        count += 1
        if handle >= 0:
            os.write(handle, f"{count} {event} {' '.join(str(one) for one in arguments[:2])}\n".encode())
        if count == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def _wanted(variable: str) -> str:
    role, _, value = os.environ.get(variable, "").partition(":")
    return value if role and role == _role() else ""


if _wanted("FAULTS_KILL") or _wanted("FAULTS_RECORD"):
    _install(int(_wanted("FAULTS_KILL") or 0), _wanted("FAULTS_RECORD"))
