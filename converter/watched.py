"""Commands that open files of strangers without a step's process around them, run in a process that is watched.

A runtime may end its process over a file that was made to do so, whatever was checked before. The watching process
opens nothing, and says in our words what became of the other. Exports, `verify`, `explain` and `quantize` need none of
this: each step of theirs has a process of its own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence

from converter.errors import ConversionError

COMMANDS = ("embed", "classify", "search", "demo", "quantize-file", "bundle")
INSIDE = "MCCONVERT_WATCHED"
"""In the environment of the process that is watched."""


def is_to_be_watched(arguments: Sequence[str]) -> bool:
    """Whether a command line opens files in its own process, and that is not watched yet."""
    return bool(arguments) and arguments[0] in COMMANDS and INSIDE not in os.environ


def watch(arguments: Sequence[str]) -> int:
    """Run the command line in another process, on the same terminal; returns its exit code.

    Raises:
        ConversionError: it died of a signal that nobody sent it on purpose.
    """
    process = subprocess.Popen([sys.executable, "-m", "converter.cli", *arguments], env=os.environ | {INSIDE: "1"})
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both; the other has something to say, this one waits
    signal.signal(signal.SIGTERM, lambda number, _frame: process.send_signal(number))
    code = process.wait()
    if code >= 0:
        return code
    name = signal.Signals(-code).name
    if -code == signal.SIGKILL:
        message = f"{arguments[0]} was killed ({name}), most likely for want of memory: use a smaller --batch"
    else:
        message = (
            f"{arguments[0]} ended natively ({name}) inside the library that opened one of the files given, which is "
            "damaged or made to do this; see what 'mcconvert verify FOLDER' says of it, and export or copy it again"
        )
    raise ConversionError(message)
