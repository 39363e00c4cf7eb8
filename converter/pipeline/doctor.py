"""What a run needs of this machine, checked one by one without running anything."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from converter.config import Config
from converter.errors import McconvertError
from converter.manifest import Manifest
from converter.pipeline.cache import Cache
from converter.pipeline.damage import cache_findings, folder_findings
from converter.pipeline.plugins import load_runtime, load_stage, missing, versions
from converter.records import Finding

MIN_FREE_BYTES = 8 * 2**30
MIN_MEMORY_BYTES = 6 * 2**30


def examine(
    config: Config, out: Path, cache: Cache, manifests: Mapping[Path, Manifest | str], *, deep: bool = False
) -> list[Finding]:
    """Python, memory, disk, each target's libraries and runtime, the cache, and what earlier runs wrote.

    `deep` hashes every byte; without it sizes are compared, and only what was touched since is hashed.
    """
    targets = (_target(name, config) for name in sorted(config.targets))
    written = folder_findings(out, cache, manifests, deep=deep)
    return [*_machine(out), *targets, *cache_findings(cache, deep=deep), *written]


def _machine(out: Path) -> Iterator[Finding]:
    import psutil

    version = platform.python_version()
    fits = sys.version_info >= (3, 12)
    yield Finding(name="python", seen=version, advice="" if fits else "Python 3.12 or later is needed")
    yield Finding(name="cores", seen=str(os.cpu_count()))
    memory = psutil.virtual_memory().available
    enough = memory >= MIN_MEMORY_BYTES
    yield Finding(
        name="free memory",
        seen=f"{memory / 2**30:.1f} GiB",
        advice="" if enough else "6 GiB are needed for MobileCLIP-S1; use --jobs 1 and close other programs",
    )
    place = next(path for path in (out.resolve(), *out.resolve().parents) if path.exists())
    free = shutil.disk_usage(place).free
    advice = (
        "" if free >= MIN_FREE_BYTES else "8 GiB are needed for both towers of MobileCLIP-S1: free some, or use --out"
    )
    yield Finding(name="free disk", seen=f"{free / 2**30:.1f} GiB below {place}", advice=advice)
    writable = os.access(place, os.W_OK)
    yield Finding(name="output", seen=str(out.resolve()), advice="" if writable else "it cannot be written: use --out")


def _target(name: str, config: Config) -> Finding:
    target = config.targets[name]
    try:
        stages = [load_stage(row.stage) for row in target.rows.values()]
        runtimes = [load_runtime(stage.FORMAT) for stage in stages]
    except McconvertError as error:
        return Finding(name=name, seen="its stage does not load", advice=str(error))
    requirements = [*(stage.REQUIRES for stage in stages), *(runtime.REQUIRES for runtime in runtimes)]
    needed = sorted({one for required in requirements for one in required})
    absent = missing(needed)
    if absent:
        seen = f"without {', '.join(absent)}"
        return Finding(name=name, seen=seen, advice=f"pip install 'mcconvert[{target.extra}]'")
    seen = ", ".join(f"{one} {version}" for one, version in versions(needed).items())
    return Finding(name=name, seen=seen)
