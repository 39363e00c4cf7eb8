"""Publish a release in a process of its own, which may be killed: `python child.py ADDRESS FOLDER VERSION [EVENT]`.

With EVENT, it kills itself just before the n-th change of the file system (a rename, a link, a file opened to be
written), as a power cut would.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

EVENTS = ("os.rename", "os.link", "os.symlink", "os.chmod", "os.mkdir", "os.remove")


def die_at(number: int) -> None:
    """Count what changes the file system from now on."""
    seen = 0

    def hook(event: str, details: tuple[Any, ...]) -> None:
        nonlocal seen
        if event in EVENTS or (event == "open" and isinstance(details[1], str) and details[1][:1] in ("w", "a", "x")):
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def main(address: str, folder: str, version: str, event: str = "0") -> None:
    """Gather the folder's files as they are and publish them."""
    sys.path.insert(0, str(Path(__file__).parents[3]))
    from converter.publishing.opening import open_address
    from tests.publishing.destinations.releases import make_release, publish

    files = {one.relative_to(folder).as_posix(): one.read_bytes() for one in Path(folder).rglob("*") if one.is_file()}
    release = make_release(Path(folder), files)
    if int(event):
        die_at(int(event))
    with open_address(address, release.model) as destination:
        print(os.getpid(), flush=True)
        sys.stdin.readline()
        print("carried", *publish(destination, version, release), sep="\n", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
