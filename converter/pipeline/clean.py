"""Remove what runs made, and nothing else: only folders that carry our tag, only names that we give."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable
from pathlib import Path

from converter.files import TAG
from converter.pipeline.cache import RANGES, SEARCH

OURS_IN_CACHE = ("steps", "staging", "last", RANGES, SEARCH, TAG)
OURS_IN_MODEL = (
    "logs", "reference", "manifest.json", "sbom.cdx.json", "provenance.json", "provenance.dsse.json",
    "provenance.sigstore.json", "SHA256SUMS", "matrix.svg", "matrix.json", ".lock", TAG,
)  # fmt: skip


def cleanable(out: Path, cache_root: Path, listed: Iterable[Path], *, models: bool, cache: bool) -> list[Path]:
    """Files and folders below the output folder that are ours. `listed` are the files that manifests name."""
    found: list[Path] = []
    if models and out.is_dir():
        found += [path for path in listed if path.exists()]
        folders = [folder for folder in sorted(out.iterdir()) if (folder / TAG).is_file() and folder != cache_root]
        found += [folder / name for folder in folders for name in OURS_IN_MODEL if (folder / name).exists()]
    if cache and (cache_root / TAG).is_file():
        found += [cache_root / name for name in OURS_IN_CACHE if (cache_root / name).exists()]
    return found


def remove(paths: Iterable[Path]) -> None:
    """Remove them, then the folders that are left empty."""
    parents = set()
    for path in paths:
        parents |= {path.parent, path.parent.parent}
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for parent in sorted(parents, key=lambda one: len(one.parts), reverse=True):
        with contextlib.suppress(OSError):  # it holds something that is not ours
            parent.rmdir()
