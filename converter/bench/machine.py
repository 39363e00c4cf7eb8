"""What the figures of a benchmark hold for: processor, its integer instructions, threads, versions."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from converter.benchmarked import BenchMachine

INTEGER_FLAGS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm")
"""Of x86 and of ARM, as Linux calls them; without one of the last five, int8 is hardly faster than float32."""
LIBRARIES = ("ai-edge-litert", "ai-edge-quantizer", "onnx2tf", "onnxruntime")
RUNTIMES = ("torch", "onnxruntime", "ai-edge-litert", "coremltools", "numpy")
"""What executes files; numpy hands arrays to them."""
THIS_MACHINE = "this machine"
BUSY = 0.25
"""Load for each core from which on a run says that the machine was not idle."""


def describe(threads: int) -> str:
    """One line."""
    seen = _instructions()
    versions = ", ".join(f"{library} {version(library)}" for library in LIBRARIES)
    return (
        f"{_processor()} ({', '.join(seen) or 'no integer dot products known'}), {os.cpu_count()} cores, "
        f"{threads} threads; {versions}"
    )


def this_machine() -> BenchMachine:
    """The facts of the machine that runs this, and how busy it is at this moment."""
    import psutil

    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return BenchMachine(
        name=THIS_MACHINE, processor=_processor(), instructions=tuple(_instructions()), cores=len(allowed_cores()),
        memory_bytes=int(psutil.virtual_memory().total), system=f"{_system()} {platform.machine()}",
        python=platform.python_version(), libraries=tuple(_versions()), load_before=load, notes=tuple(_notes(load)),
    )  # fmt: skip


def allowed_cores() -> list[int]:
    """The processors that this process may use, by number."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _notes(load: float | None) -> Iterator[str]:
    cores = len(allowed_cores())
    if load is not None and load > BUSY * cores:
        yield (
            f"the machine was busy before the run: load {load:.1f} on {cores} cores. Turns are interleaved, so ratios "
            "hold; milliseconds, p95, throughput and loading are those of a busy machine"
        )
    if not hasattr(os, "sched_setaffinity"):
        yield "this system does not keep a process to chosen cores: threads are bounded by the runtimes alone"


def _system() -> str:
    """As people call it, and as configs/platforms.yaml does."""
    return {"Darwin": "macOS"}.get(platform.system(), platform.system())


def _versions() -> Iterator[str]:
    for library in RUNTIMES:
        try:
            yield f"{library} {version(library)}"
        except PackageNotFoundError:
            continue


def _processor() -> str:
    facts = _cpu_facts()
    model = facts.get("model name", platform.processor() or platform.machine())
    return model + (f", family {facts['cpu family']} model {facts['model']}" if "cpu family" in facts else "")


def _instructions() -> list[str]:
    facts = _cpu_facts()
    flags = set(facts.get("flags", facts.get("Features", "")).split())
    return [flag for flag in INTEGER_FLAGS if flag in flags]


def _cpu_facts() -> dict[str, str]:
    """Of the first processor that Linux lists; empty elsewhere."""
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return {}
    first = path.read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
