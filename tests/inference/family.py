"""A family of models whose one model is the toy, so that the PyTorch side is built as any other model is."""

from __future__ import annotations

from typing import Any

from converter.records import ModelSpec
from tests.tiny import tiny_clip


def construct(name: str, spec: ModelSpec) -> Any:
    """The toy model, whatever its name."""
    return tiny_clip()
