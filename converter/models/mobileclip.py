"""MobileCLIP and MobileCLIP2 as open_clip defines them, unmodified: eval mode, float32, no weights loaded, no network.

Weights come from `converter.models.checkpoint` or `converter.models.seeded`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from converter.errors import ConfigError, nearest
from converter.records import ModelSpec

if TYPE_CHECKING:
    from torch import nn

SOURCE_PREFIX = "open_clip:"

type Signature = frozenset[tuple[str, tuple[int, ...]]]
"""Name and shape of every tensor in a model's state."""


def build(spec: ModelSpec) -> nn.Module:
    """The model with open_clip's initial values, which are the same on every call.

    Raises:
        ConfigError: `spec.source` names no model of open_clip.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = _construct(spec)
    return model.float().eval()


def signature(spec: ModelSpec) -> Signature:
    """The names and shapes that a checkpoint of this model has, found without allocating any weight.

    Raises:
        ConfigError: `spec.source` names no model of open_clip.
    """
    import torch

    with torch.device("meta"):
        state = _construct(spec).state_dict()
    return frozenset((name, tuple(tensor.shape)) for name, tensor in state.items())


def architecture(spec: ModelSpec) -> str:
    """The name under which open_clip knows the model: "MobileCLIP-S1".

    Raises:
        ConfigError: `spec.source` does not start with "open_clip:".
    """
    if not spec.source.startswith(SOURCE_PREFIX):
        raise ConfigError([f"models.{spec.id}.source: '{spec.source}' should be '{SOURCE_PREFIX}<name>'"])
    return spec.source.removeprefix(SOURCE_PREFIX)


def _construct(spec: ModelSpec) -> nn.Module:
    name = architecture(spec)
    with _quiet():
        import open_clip
        from open_clip.model import CustomTextCLIP

        settings: dict[str, Any] | None = open_clip.get_model_config(name)
        if settings is None:
            known = [known for known in open_clip.list_models() if "MobileCLIP" in known]
            raise ConfigError([f"models.{spec.id}.source: open_clip has no '{name}'; {nearest(name, known)}"])
        # open_clip.create_model does no more than this for a custom text tower, but it copies tensors between devices,
        # which the meta device refuses, and it warns that no weights were loaded.
        return CustomTextCLIP(**{key: value for key, value in settings.items() if key != "custom_text"})


@contextmanager
def _quiet() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
