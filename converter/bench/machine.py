"""What the figures of a benchmark hold for: processor, its integer instructions, threads, versions."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

INTEGER_FLAGS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm")
"""Of x86 and of ARM, as Linux calls them; without one of the last five, int8 is hardly faster than float32."""
LIBRARIES = ("ai-edge-litert", "ai-edge-quantizer", "onnx2tf", "onnxruntime")


def describe(threads: int) -> str:
    """One line."""
    facts = _cpu_facts()
    flags = set(facts.get("flags", facts.get("Features", "")).split())
    seen = [flag for flag in INTEGER_FLAGS if flag in flags]
    versions = ", ".join(f"{library} {version(library)}" for library in LIBRARIES)
    model = facts.get("model name", platform.processor() or platform.machine())
    family = f", family {facts['cpu family']} model {facts['model']}" if "cpu family" in facts else ""
    return (
        f"{model}{family} ({', '.join(seen) or 'no integer dot products known'}), {os.cpu_count()} cores, "
        f"{threads} threads; {versions}"
    )


def _cpu_facts() -> dict[str, str]:
    """Of the first processor that Linux lists; empty elsewhere."""
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return {}
    first = path.read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
