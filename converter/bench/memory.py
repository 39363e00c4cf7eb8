"""How much memory this process holds, and the most that it ever held since it was asked to forget."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import psutil

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_FORGET_PEAK = "5"
"""Linux resets the peak of resident memory when this is written (proc_pid_clear_refs(5), since Linux 4.0)."""
SHARE = 0.5
"""Of the free memory, what all workers together may take."""
OVERHEAD_BYTES, TORCH_OVERHEAD_BYTES = 100 * 2**20, 550 * 2**20
"""What a process holds before it opens a file: 53 to 70 MiB with ONNX Runtime or LiteRT, 550 MiB with PyTorch, where
pages that processes share are counted in each."""
FILE_FACTOR = 3
"""Times its size, what an opened file takes: bytes, unpacked or repacked weights, activations. Files of 20 MB took up
to 2.3, PyTorch eager 2.9 times the weights of both towers; 2 MB files take 10 to 35 MiB in all."""


def forget_peak() -> None:
    """Let the peak begin at what is held now, where the system can do that."""
    with contextlib.suppress(OSError):
        _CLEAR.write_text(_FORGET_PEAK)


def held_bytes() -> int:
    """Resident bytes now."""
    return int(psutil.Process().memory_info().rss)


def peak_bytes() -> int | None:
    """The most resident bytes since `forget_peak`, or since the process began; None where the system does not tell."""
    if _STATUS.is_file():
        for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def expected_bytes(size_bytes: int, *, torch: bool = False) -> int:
    """What a worker with a file of that size will hold, on the safe side; `torch` where PyTorch runs it."""
    return (TORCH_OVERHEAD_BYTES if torch else OVERHEAD_BYTES) + FILE_FACTOR * size_bytes


def allowed_bytes() -> int:
    """What all workers together may hold: half of what is free on this machine, or in this container."""
    free = int(psutil.virtual_memory().available)
    limit, used = (_number(Path("/sys/fs/cgroup") / name) for name in ("memory.max", "memory.current"))
    if limit is not None and used is not None:
        free = min(free, max(0, limit - used))
    return int(SHARE * free)


def _number(path: Path) -> int | None:
    """What a control group's file says; None where there is none, or no limit."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
