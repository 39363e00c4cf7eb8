"""Turn the action's inputs, given as MCCONVERT_* variables, into arguments, each ended by a zero byte for readarray.

No input is ever part of a shell's text: `MCCONVERT_ARGS` is split as a POSIX shell would, and nothing in it is run.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Mapping

ONCE = {"MODEL": "--model", "WEIGHTS": "--weights", "TOWER": "--tower", "JOBS": "--jobs"}
SEVERAL = {"TARGETS": "--target", "QUANTS": "--quant", "ALLOW": "--allow"}


def arguments(inputs: Mapping[str, str]) -> Iterator[str]:
    """The arguments that non-empty inputs stand for.

    Raises:
        ValueError: a quote in ARGS is not closed.
    """
    for name, option in ONCE.items():
        if value := inputs.get(f"MCCONVERT_{name}", "").strip():
            yield f"{option}={value}"
    for name, option in SEVERAL.items():
        yield from (f"{option}={value}" for value in inputs.get(f"MCCONVERT_{name}", "").replace(",", " ").split())
    yield from shlex.split(inputs.get("MCCONVERT_ARGS", ""))


if __name__ == "__main__":
    try:
        sys.stdout.write("".join(f"{one}\0" for one in arguments(os.environ)))
    except ValueError as mistake:
        sys.exit(f"the input 'args' cannot be split into arguments: {mistake}; quote it as for a shell")
