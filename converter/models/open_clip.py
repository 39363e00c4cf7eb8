"""The models that open_clip defines: MobileCLIP and MobileCLIP2, OpenAI's CLIP, and OpenCLIP's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from converter.errors import ConfigError, nearest
from converter.records import ModelSpec

if TYPE_CHECKING:
    from torch import nn


def construct(name: str, spec: ModelSpec) -> nn.Module:
    """The model of that name in open_clip's list, "MobileCLIP-S1".

    open_clip.create_model does no more than this for a custom text tower, but it copies tensors between devices, which
    the meta device refuses, and it warns that no weights were loaded.

    Raises:
        ConfigError: open_clip has none of that name.
    """
    import open_clip
    from open_clip.model import CustomTextCLIP

    settings: dict[str, Any] | None = open_clip.get_model_config(name)
    if settings is None:
        hint = nearest(name, open_clip.list_models())
        raise ConfigError([f"models.{spec.id}.source: open_clip has no '{name}'; {hint}"])
    return CustomTextCLIP(**{key: value for key, value in settings.items() if key != "custom_text"})
