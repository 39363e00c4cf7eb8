"""The directions of imports, held: which room may know which, and what the command may load."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "converter"
MAY_IMPORT = {
    "models": set(),
    "rewrites": set(),
    "stages": {"rewrites", "quantization"},
    "mil": set(),
    "runtimes": {"mil"},
    "quantization": {"mil"},
    "parity": {"runtimes"},
    "pipeline": {"models", "rewrites", "stages", "runtimes", "quantization", "parity"},
    "publishing": {"parity"},  # its judge: what is published was judged a moment ago
    "bundling": {"models", "parity", "publishing", "runtimes"},
    "report": set(),
    "bench": {"models", "parity", "pipeline", "publishing", "report", "runtimes"},
    "advice": {"bench"},  # its runs, and the ratio of their rounds
    "inference": {"models", "runtimes", "parity", "publishing"},
    "retrieval": {"inference", "models", "runtimes", "parity", "publishing"},
}
ROOMS = set(MAY_IMPORT)
HEAVY = (
    "torch", "tensorflow", "onnx", "onnxruntime", "coremltools", "open_clip", "timm", "onnx2tf", "cyclonedx",
    "cryptography", "sigstore", "jsonschema", "matplotlib", "jinja2", "faiss", "starlette", "uvicorn",
)  # fmt: skip


def _imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("converter."):
            found.add(node.module.split(".")[1])
    return found & ROOMS


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_rooms_import_only_what_they_may(room: str) -> None:
    """Stages never know parity or the pipeline; parity knows the contract of runtimes only."""
    for path in (PACKAGE / room).rglob("*.py"):
        assert _imports(path) - {room} <= MAY_IMPORT[room], path.name


def test_stages_do_not_import_each_other() -> None:
    """Each stage stands alone; what two share has a module of its own."""
    stages = {path.stem for path in (PACKAGE / "stages").glob("to_*.py")}
    for path in (PACKAGE / "stages").glob("to_*.py"):
        text = path.read_text(encoding="utf-8")

        assert not [name for name in stages if f"converter.stages.{name}" in text], path.name


def test_parity_takes_runners_as_arguments() -> None:
    """Parity imports the contract of a runner, never a runtime."""
    for path in (PACKAGE / "parity").glob("*.py"):
        assert "converter.runtimes." not in path.read_text(encoding="utf-8"), path.name


@pytest.mark.parametrize("module", ["converter.records", "converter.errors", "converter.cli", "converter.session"])
def test_light_modules_load_nothing_heavy(module: str) -> None:
    """Help, plans and warm runs must not wait for torch."""
    code = f"import sys, {module}; print([m for m in {HEAVY} if m in sys.modules])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_no_module_is_over_400_lines() -> None:
    """A longer file holds more than one idea."""
    assert not [path.name for path in PACKAGE.rglob("*.py") if len(path.read_text().splitlines()) > 400]
