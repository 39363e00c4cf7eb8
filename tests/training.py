"""scripts/train_nano.py as a module, so that its tests need no process of their own."""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parents[1] / "scripts" / "train_nano.py"


@cache
def train_nano() -> Any:
    """The script, not run."""
    spec = importlib.util.spec_from_file_location(SCRIPT.stem, SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[SCRIPT.stem] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module
