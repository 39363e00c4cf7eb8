"""Model specs that several tests of the room share."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from converter.config import load_models
from converter.records import ModelSpec


@pytest.fixture(scope="session")
def specs() -> Mapping[str, ModelSpec]:
    """Every model of configs/models, by id."""
    return load_models()


@pytest.fixture(scope="session")
def spec(specs: Mapping[str, ModelSpec]) -> ModelSpec:
    """The default model."""
    return specs["mobileclip_s1"]
