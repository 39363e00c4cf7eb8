"""configs/platforms.yaml, read."""

from __future__ import annotations

from collections.abc import Mapping

from converter.advised import Platform
from converter.config import configs_dir, read_yaml
from converter.errors import ConfigError
from converter.parsing import parse

PLATFORMS = "platforms.yaml"


def load_platforms() -> Mapping[str, Platform]:
    """Every platform by its name.

    Raises:
        ConfigError: the file has mistakes; all of them are named.
    """
    mistakes: list[str] = []
    tree = read_yaml(configs_dir() / PLATFORMS)
    found = {name: parse(Platform, value, f"platforms.{name}", mistakes) for name, value in tree.items()}
    if mistakes:
        raise ConfigError(mistakes)
    return found
