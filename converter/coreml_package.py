"""Core ML packages: how coremltools is imported, and what lies where in an `.mlpackage`.

A stage writes such a package, a runtime reads it back. What is converted or compared is theirs.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SPEC_PATH = Path("Data/com.apple.CoreML/model.mlmodel")
WEIGHTS_PATH = Path("Data/com.apple.CoreML/weights/weight.bin")
MANIFEST_PATH = Path("Manifest.json")
TARGETS = {"iOS16": (7, "CoreML6"), "iOS17": (8, "CoreML7"), "iOS18": (9, "CoreML8")}
"""Deployment targets: (specification version, set of operations), as Core ML's specification pairs them."""
TARGET_KEY, TOWER_KEY, PRECISION_KEY = "mcconvert.deployment_target", "mcconvert.tower", "mcconvert.precision"
"""Names under which a package says what it was made as."""
ROUNDING_KEY = "mcconvert.rounding"
"""How int8 weights were rounded: `nearest` one by one, or `gptq` by what their layer computes."""
IMAGE_LAYOUT = "RGB image"
"""Layout of an input of Core ML's own image type, whose channels are in this order."""
CONVERSION_DATE = "com.github.apple.coremltools.conversion_date"


def import_coremltools() -> Any:
    """The coremltools module, in a process that cannot see tensorflow.

    coremltools imports tensorflow when it is installed. Measured with coremltools 9.0: loading a saved program then
    ends in a segmentation fault. It can go when coremltools imports its frontends on demand.

    Off a Mac it warns eight times that Core ML is not there, and of a PyTorch newer than itself: not said to users.
    """
    sys.modules.setdefault("tensorflow", None)  # type: ignore[arg-type]  # None makes `import tensorflow` fail
    with _warnings_of_the_import_held():
        import coremltools

    return coremltools


@contextlib.contextmanager
def _warnings_of_the_import_held() -> Iterator[None]:
    logger = logging.getLogger("coremltools")
    level = logger.level
    if sys.platform != "darwin":
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def normalise(package: Path) -> None:
    """Make the bytes of a saved package depend on the model alone.

    Replaces the random identifiers of the manifest by ones derived from the items' paths, drops the conversion date,
    writes the specification with its maps in order, and makes every file readable by everyone, as other files are.
    """
    _write_manifest(package / MANIFEST_PATH)
    _write_spec(package / SPEC_PATH)
    for path in package.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _write_manifest(path: Path) -> None:
    manifest = json.loads(path.read_text(encoding="utf-8"))
    names = {key: _identifier(item["path"]) for key, item in manifest["itemInfoEntries"].items()}
    manifest["itemInfoEntries"] = {names[key]: item for key, item in manifest["itemInfoEntries"].items()}
    manifest["rootModelIdentifier"] = names[manifest["rootModelIdentifier"]]
    path.write_text(json.dumps(manifest, indent=4, sort_keys=True) + "\n", encoding="utf-8")


def _identifier(item_path: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"mcconvert:{item_path}"))


def _write_spec(path: Path) -> None:
    proto = import_coremltools().proto
    spec = proto.Model_pb2.Model.FromString(path.read_bytes())
    spec.description.metadata.userDefined.pop(CONVERSION_DATE, None)
    path.write_bytes(spec.SerializeToString(deterministic=True))
